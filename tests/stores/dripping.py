"""A server that sends its answers a byte at a time: a relay before a real one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from benchmarks.relay import CHUNK, Address, Relay

PAUSE = 0.2  # seconds between two bytes


class DrippingRelay(Relay):
    """Passes everything on; while ``drips`` is set, what the server says a byte at a time."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.drips = False
        self.delays: list[float] = []  # seconds before each of the next answers
        self._over = threading.Event()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        super().__exit__(kind, error, trace)

    def _answer(self, server: socket.socket, client: socket.socket, turns: Any) -> None:
        with suppress(OSError), server:
            while data := server.recv(CHUNK):
                turns.client_spoke = False
                self._over.wait(self.delays.pop(0) if self.delays else 0)
                for piece in self._pieces(data):
                    client.sendall(piece)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        for number in range(len(data)):
            if not self.drips or self._over.is_set():
                yield data[number:]
                return
            yield data[number : number + 1]
            self._over.wait(PAUSE)


@contextmanager
def dripping(server: Address) -> Iterator[DrippingRelay]:
    """Have a server's clients go through such a relay meanwhile."""
    port = server.port
    with DrippingRelay(server.host, port) as relay:
        server.port = relay.port
        try:
            yield relay
        finally:
            server.port = port
