"""A fake server that says the same to everybody, for what no real one says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

Answer = bytes | Callable[[bytes], bytes]


class Answering:
    """Answers whatever it is sent with ``answer``; with ``greets`` it says it first. ``hangs_up`` after the first."""

    def __init__(self, answer: Answer, *, greets: bool = False, hangs_up: bool = False) -> None:
        self.answer, self.greets, self.hangs_up = answer, greets, hangs_up
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self.greets:
                self._say(connection, b"")
            while not self.hangs_up or not self.greets:
                if not (asked := connection.recv(65536)):
                    return
                self._say(connection, asked)
                if self.hangs_up:
                    break
            connection.close()
        except OSError:
            return  # the other side has hung up

    def _say(self, connection: socket.socket, asked: bytes) -> None:
        connection.sendall(self.answer if isinstance(self.answer, bytes) else self.answer(asked))
