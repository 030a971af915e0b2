"""The question about known vulnerabilities, put to a service that answers what no real one would on demand."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from project.audit import Release, main, pinned
from tests.servers.places import LOOPBACK, free_port

LOCKED = """\
# made by a command
Django==5.2.19 \\
    --hash=sha256:00
    # via -r requirements.txt
tzdata==2026.6 ; sys_platform == 'win32' \\
    --hash=sha256:00
"""
CLEAN: list[dict[str, Any]] = [{}, {}]
VULNERABLE = [{"vulns": [{"id": "GHSA-1"}, {"id": "PYSEC-1"}]}, {}]

Ask = Callable[..., int]


@contextmanager
def service(answer: bytes, status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """An address that gives this answer, and the questions that came."""
    questions: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            questions.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: Any) -> None: ...  # noqa: A002

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{LOOPBACK}:{server.server_port}/", questions
        server.shutdown()


@contextmanager
def dripping() -> Iterator[str]:
    """An address that sends its answer a byte at a time and never comes to the end."""
    over = Event()

    def drip(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, suppress(OSError):
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not over.wait(0.05):
                client.sendall(b" ")

    with socket.create_server((LOOPBACK, 0)) as listener:
        thread = Thread(target=drip, args=[listener])
        thread.start()
        yield f"http://{LOOPBACK}:{listener.getsockname()[1]}/"
        over.set()
        thread.join()


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Ask an address about two releases, and return the exit code."""
    file = tmp_path / "requirements.lock"
    file.write_text(LOCKED)
    return lambda address, *options: main([str(file), "--service", address, *options])


def results(each: list[dict[str, Any]]) -> bytes:
    return json.dumps({"results": each}).encode()


def test_every_release_is_found_in_the_list_that_pins_it() -> None:
    assert pinned(LOCKED) == [Release("Django", "5.2.19"), Release("tzdata", "2026.6")]


def test_without_a_known_vulnerability_the_check_passes(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    with service(results(CLEAN)) as (address, questions):
        assert ask(address) == 0
    assert capsys.readouterr().out == "known vulnerabilities: none in 2 releases\n"
    asked = [(each["package"], each["version"]) for each in questions[0]["queries"]]
    assert asked == [
        ({"ecosystem": "PyPI", "name": "Django"}, "5.2.19"),
        ({"ecosystem": "PyPI", "name": "tzdata"}, "2026.6"),
    ]


def test_a_known_vulnerability_fails_the_check_by_name(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    with service(results(VULNERABLE)) as (address, _):
        assert ask(address, "--ignore", "PYSEC-1") == 1
    assert capsys.readouterr().out == (
        "Django 5.2.19 has known vulnerabilities: https://osv.dev/vulnerability/GHSA-1\n"
    )


def test_vulnerabilities_that_are_ignored_do_not_fail_the_check(ask: Ask) -> None:
    with service(results(VULNERABLE)) as (address, _):
        assert ask(address, "--ignore", "PYSEC-1", "--ignore", "GHSA-1") == 0


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"<h1>Log in to this network</h1>", 200),
        (results([{}]), 200),  # for one release of two
        (b'{"results": null}', 200),
        (b'{"results": [{"vulns": [{}]}, {}]}', 200),
        (b"[]", 200),
        (results(VULNERABLE), 403),
        (b"\xff", 200),
    ],
)
def test_an_answer_that_is_none_is_reported_and_fails_nothing(
    ask: Ask, capsys: pytest.CaptureFixture[str], answer: bytes, status: int
) -> None:
    with service(answer, status) as (address, _):
        assert ask(address) == 0
    assert capsys.readouterr().out.startswith("known vulnerabilities: not checked, because http")


def test_a_service_that_cannot_be_reached_is_reported_and_fails_nothing(
    ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(f"http://{LOOPBACK}:{free_port()}/") == 0
    assert "cannot be asked: [Errno 111] Connection refused." in capsys.readouterr().out


def test_a_service_that_drips_is_given_up_at_the_deadline(
    ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    with dripping() as address:
        started = time.monotonic()
        assert ask(address, "--seconds", "0.5") == 0
        assert time.monotonic() - started < 3
    assert "did not answer within 0.5 seconds." in capsys.readouterr().out
