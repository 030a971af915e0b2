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
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from project import demo, demo_stores
from tests.load.operator import PAGE, Person
from tests.servers import Server, Valkey, require
from tests.servers.places import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0  # six servers and a node, on a busy machine
SERVED_SECONDS = 60.0
MOVED_SECONDS = 180.0  # a handover that goes on by itself takes half a minute where nobody else is at work


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
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process, said
    finally:
        assert process.stdin is not None
        process.stdin.close()
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


@pytest.mark.long  # the tests of those stores have their primaries killed
@pytest.mark.xdist_group("demo")
@pytest.mark.parametrize(
    ("name", "store"),
    [
        ("sentinel", "REDIS at “main” of "),
        ("cluster", "REDIS Cluster at "),
        ("replica-set", "MONGODB at "),
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


def test_the_tour_needs_two_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--tour", "--ports", str(free_port())]) == 1
    assert "The tour needs two nodes" in capsys.readouterr().err


class Browser(Person):
    """A person whose browser has one cookie for all nodes, as they differ by their ports only."""

    def __init__(self, url: str) -> None:
        super().__init__([url])

    def on(self, url: str) -> Browser:
        """The same browser at another node."""
        other = Browser(url)
        other._opener = self._opener
        return other

    def choose(self, kind: str, own_password: str, **fields: str) -> None:
        """Choose a store on the page, as a member of staff."""
        typed = {f"{kind.lower()}_{name}": value for name, value in fields.items()}
        form = "loginconfiguration_form"
        text = self._send(PAGE, form, persistence_type=kind, your_password=own_password, **typed)
        assert "Saved." in text, re.findall(r'class="error.*', text)

    def press(self, page: str, button: str) -> str:
        """Press a button of a page that is in a form of its own."""
        (form,) = [each for each in re.findall(r"<form.*?</form>", page, re.DOTALL) if button in each]
        (action,) = re.findall(r'action="([^"]+)"', form)
        values = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
        return self.open(action, urllib.parse.urlencode(values).encode())


class Guest:
    """One who follows the tour: reads each step, does what it says, and presses Enter."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path) -> None:
        self.process, self.said = process, said
        self.step = 0

    def read(self) -> str:
        """Return the text of the next step."""
        self.step += 1
        wait_for(f"\nStep {self.step} of ", self.said, self.process, START_SECONDS)
        text = wait_for("Press Enter", self.said, self.process, 5)
        return text.split(f"\nStep {self.step} of ")[1]

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()


def until(is_so: Callable[[], bool], seconds: float = SERVED_SECONDS) -> None:
    give_up = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.2)


def status_of(person: Person, path: str = "/") -> int:
    try:
        person.open(path)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 200


@pytest.mark.long
def test_who_follows_the_tour_sees_at_each_step_what_it_says(tmp_path: Path) -> None:
    for cls in demo_stores.SINGLE:
        require(cls)
    first, second = free_port(), free_port()
    urls = [f"http://127.0.0.1:{port}" for port in (first, second)]
    with running("--tour", "--ports", str(first), str(second), folder=tmp_path) as (process, said):
        guest = Guest(process, said)

        text = guest.read()  # log in
        (account,) = re.findall(rf"{urls[0]}/login/ and log in as (\S+) with the password (\S+)", text)
        ada = Browser(urls[0])
        ada.log_in(*account)
        assert [visits(ada.open("/")) for _ in range(2)] == [1, 2]
        assert 'id="node">node-1<' in (page := ada.open("/"))
        assert f'href="{urls[1]}/"' in page
        guest.go_on()

        text = guest.read()  # switch
        (redis,) = re.findall(r"host (\S+), port (\d+), password (\S+)", text)
        ada.choose("REDIS", account[1], **dict(zip(("host", "port", "password"), redis, strict=True)))
        until(lambda: 'id="store">REDIS<' in ada.open("/"))
        assert visits(ada.open("/")) > 3
        guest.go_on()

        assert f"{urls[1]}/" in guest.read()  # the other node
        elsewhere = ada.on(urls[1])
        until(lambda: 'id="store">REDIS<' in elsewhere.open("/"))
        before = visits(ada.open("/"))
        assert visits(elsewhere.open("/")) == before + 1
        guest.go_on()

        assert f"{urls[1]}/login/" in guest.read()  # a second browser
        eve = Browser(urls[1])
        eve.log_in(*account)
        sessions = ada.open("/account/sessions/")
        assert len(re.findall("Log out there", sessions)) == 1
        ada.press(sessions, "Log out there")
        assert "You are not logged in" in eve.open("/")
        guest.go_on()

        guest.read()  # an outage
        until(lambda: {status_of(ada), status_of(elsewhere)} == {503})
        guest.go_on()

        guest.read()  # recovery
        until(lambda: status_of(ada) == status_of(elsewhere) == 200)
        assert "You are logged in" in elsewhere.open("/")
        count = visits(ada.open("/"))
        guest.go_on()

        assert "“reports”" in guest.read()  # a store that keeps its data
        ada.choose("JDBC", account[1], database="reports")
        until(lambda: 'id="store">JDBC<' in ada.open("/") and 'id="store">JDBC<' in elsewhere.open("/"))
        until(lambda: 'id="moving"' not in ada.open("/") + elsewhere.open("/"), MOVED_SECONDS)
        guest.go_on()

        guest.read()  # leave it behind
        for person in (ada, elsewhere):
            assert visits(person.open("/")) > count
        guest.go_on()
        wait_for("That was the tour.", said, process, 10)
    assert process.returncode == 0
