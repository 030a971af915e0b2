"""Servers that misbehave as no real one can be made to: they say what a test tells them to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import hiredis

Talk = Callable[[socket.socket], None]
Answer = bytes | Callable[[list[bytes]], bytes]


@contextmanager
def serving(talk: Talk, host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A server on the loopback, which has that talk with each caller; yields its port."""
    ours: list[socket.socket] = []
    with socket.create_server((host, port)) as listener:

        def serve() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                ours.append(caller)
                threading.Thread(target=_talk, args=(talk, caller), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for each in ours:
                each.close()


def _talk(talk: Talk, caller: socket.socket) -> None:
    with caller, contextlib.suppress(OSError):
        talk(caller)


def redis_that_answers(answer: Answer) -> Talk:
    """A REDIS server that lets everybody in and then gives this answer to each command."""

    def talk(caller: socket.socket) -> None:
        for command in commands(caller):
            name = command[0].upper()
            if name in {b"AUTH", b"CLIENT", b"SELECT"}:
                caller.sendall(b"+OK\r\n")
            elif name == b"HELLO":
                caller.sendall(b"%1\r\n$5\r\nproto\r\n:3\r\n")
            else:
                caller.sendall(answer(command) if callable(answer) else answer)

    return talk


def commands(caller: socket.socket) -> Iterator[list[bytes]]:
    """What a REDIS client asks."""
    reader = hiredis.Reader()
    while received := caller.recv(65536):
        reader.feed(received)
        while (command := reader.gets()) is not False:
            yield command
