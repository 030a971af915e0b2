"""``make demo``: what it says of arguments that it can't use, and that a person can do what it says."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from project import demo, demo_stores
from tests.load.operator import Person
from tests.servers import Server, Valkey, require
from tests.servers.places import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0  # six servers and a node, on a busy machine
SERVED_SECONDS = 30.0


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The demo takes SIGTERM for Ctrl-C; this process does not."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("port", ["99999", "65536", "0", "-1", "many", "8001.5", ""])
def test_what_is_not_a_port_is_one_sentence(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--ports", "8001", port]) == 1
    told = capsys.readouterr()
    assert told.err == f"\n“{port}” is not a port: choose numbers from 1 to 65535 with --ports.\n"
    assert told.out == ""


def test_a_port_in_use_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert demo.main(["--ports", str(port)]) == 1
    assert capsys.readouterr().err.startswith(f"\nPort {port} is in use: ")


def test_the_same_port_twice_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--ports", "8001", "8001"]) == 1
    assert "Each node needs a port of its own." in capsys.readouterr().err


def test_one_store_of_several_servers_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo.main(["--cluster", "--sentinel"])
    assert "--sentinel: not allowed with argument --cluster" in capsys.readouterr().err


@contextmanager
def running(*arguments: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The demo as a person starts it, and the file that has what it says."""
    said = folder / "said.txt"
    with said.open("wb") as out:
        command = [sys.executable, "-u", "-m", "project.demo", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process, said
    finally:
        process.terminate()
        process.wait(60)


def wait_for(text: str, said: Path, process: subprocess.Popen[bytes], seconds: float) -> str:
    """Return what was said, once it has this text."""
    give_up = time.monotonic() + seconds
    while text not in said.read_text():
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < give_up, said.read_text()
        time.sleep(0.1)
    return said.read_text()


def page_once_served(person: Person) -> str:
    """Visit until there is an answer. Raises HTTPError where there is another failure than a 503 before it."""
    give_up = time.monotonic() + SERVED_SECONDS
    while True:
        try:
            return person.open("/")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 503 or time.monotonic() > give_up:
                raise
        time.sleep(0.1)


def visits(page: str) -> int:
    return int(re.findall(r'id="visits">(\d+)<', page)[0])


LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("name", "store"),
    [
        ("sentinel", "REDIS at “main” of "),
        pytest.param("cluster", "REDIS Cluster at ", marks=LONG),
        pytest.param("replica-set", "MONGODB at ", marks=LONG),
    ],
)
def test_who_kills_a_primary_as_told_stays_logged_in(name: str, store: str, tmp_path: Path) -> None:
    for cls in (*demo_stores.SINGLE, demo_stores.SEVERAL[name][0]):
        require(cls)
    port = free_port()
    with running(f"--{name}", "--ports", str(port), folder=tmp_path) as (process, said):
        told = wait_for("Ctrl-C stops everything", said, process, START_SECONDS)
        (account,) = re.findall(r"User name +(admin)\n +Password +(\S+)", told)
        person = Person([f"http://127.0.0.1:{port}"])
        person.log_in(*account)
        page = person.open("/")
        assert visits(page) == 1
        assert f'id="store-detail">{store}' in page
        address, pid = re.findall(r"  (\S+) +kill -9 (\d+)  primary", told)[0]
        os.kill(int(pid), signal.SIGKILL)
        wait_for(f"{address} is down.", said, process, 10)
        assert visits(page_once_served(person)) == 2
        assert visits(page_once_served(person)) == 3
    assert said.read_text().endswith("\nStopped.\n")
    assert process.returncode == 0


def test_a_server_that_was_killed_comes_back_after_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require(Valkey)
    ended: dict[Server, float] = {}
    with Valkey() as server:
        server.kill()
        demo.bring_back(server, ended)
        assert not server.running
        monkeypatch.setattr(demo, "AWAY_SECONDS", 0.0)
        demo.bring_back(server, ended)
        server.ping()
        assert ended == {}
        at = f"{server.host}:{server.port}"
        pid = server.processes()[0]
        assert capsys.readouterr().out == f"{at} is down.\n{at} is back. To kill it again: kill -9 {pid}\n"
