"""What ``make demo`` says of arguments that it can't use, before it starts anything."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator

import pytest

from project import demo


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
