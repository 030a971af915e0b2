"""Round trips, counted on the wire and as long as on a network: a relay between a client and its server that watches
who speaks."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

CHUNK = 1 << 16  # bytes
# PyMongo's monitor asks the server how it is, on a connection and a thread of its own, and so does every handshake.
MONITOR = (b"hello", b"ismaster", b"isMaster")
HEAD = 300  # bytes of a message in which the name of a MongoDB command is found


class Address(Protocol):
    """A server that listens somewhere."""

    host: str
    port: int


class Relay:
    """Passes everything on. ``trips`` counts how often a client spoke after the server did, or as the first: what it
    sends without waiting for an answer is one round trip, however much it is. Each of them takes ``delay`` seconds
    longer."""

    def __init__(self, host: str, port: int, delay: float = 0.0) -> None:
        self._target, self._delay = (host, port), delay
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port = int(self._listener.getsockname()[1])
        self.trips = 0

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._listener, *self._sockets):
            with suppress(OSError):  # gone already
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def wait_until_clients_are_gone(self) -> None:
        """Wait until what they have sent last, such as that they leave, has been counted."""
        for thread in self._threads[1:]:  # the first is the one that waits for clients
            thread.join(5)

    def _begin(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                turns = _Turns()
                self._begin(self._ask, client, server, turns)
                self._begin(self._answer, server, client, turns)

    def _ask(self, client: socket.socket, server: socket.socket, turns: _Turns) -> None:
        with suppress(OSError), client:
            while data := client.recv(CHUNK):
                # Before it is passed on: who has an answer finds its question counted.
                if not turns.client_spoke and not any(word in data[:HEAD] for word in MONITOR):
                    with self._lock:
                        self.trips += 1
                turns.client_spoke = True
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _answer(self, server: socket.socket, client: socket.socket, turns: _Turns) -> None:
        with suppress(OSError), server:
            while data := server.recv(CHUNK):
                if turns.client_spoke and self._delay:
                    time.sleep(self._delay)
                turns.client_spoke = False
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@dataclass
class _Turns:
    """Of one connection: whether its client spoke last."""

    client_spoke: bool = False


@contextmanager
def relayed(server: Address, delay: float = 0.0) -> Iterator[Relay]:
    """Have a server's clients go through a relay meanwhile; each round trip takes ``delay`` seconds longer."""
    port = server.port
    with Relay(server.host, port, delay) as relay:
        server.port = relay.port
        try:
            yield relay
        finally:
            server.port = port
