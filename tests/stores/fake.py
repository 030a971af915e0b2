"""Servers that misbehave as no real one can be made to: they say what a test tells them to."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import bson
import hiredis

OP_MSG = 2013

Talk = Callable[[socket.socket], None]
Document = dict[str, Any]
Answer = bytes | Callable[[list[bytes]], bytes]


@contextmanager
def serving(talk: Talk, host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A server on the loopback, which has that talk with each caller; yields its port."""
    ours: list[socket.socket] = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:

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


def mongo_that_answers(answer: Callable[[int, Document], Document | bytes], **greeting: Any) -> Talk:
    """A MONGODB server that greets everybody and then gives this answer to each message, which is told its number and
    the command in it. Bytes are sent as they are."""
    hello = {
        "ok": 1.0,
        "ismaster": True,
        "isWritablePrimary": True,
        "helloOk": True,
        "maxBsonObjectSize": 16 * 1024 * 1024,
        "maxWriteBatchSize": 100_000,
        "logicalSessionTimeoutMinutes": 30,
        "minWireVersion": 0,
        "maxWireVersion": 17,
        **greeting,
    }

    def talk(caller: socket.socket) -> None:
        greeted = False
        while (asked := _asked(caller)) is not None:
            number, kind, command = asked
            if not greeted or (
                next(iter(command)) in {"hello", "ismaster"} and "topologyVersion" not in command
            ):
                greeted = True
                caller.sendall(mongo_message(number, hello, kind))
                continue
            said = answer(number, command)
            caller.sendall(said if isinstance(said, bytes) else mongo_message(number, said, kind))

    return talk


def mongo_message(answers: int, document: Document | bytes, kind: int = OP_MSG) -> bytes:
    """A message with one document, in answer to another message."""
    content = document if isinstance(document, bytes) else bson.encode(document)
    if kind == OP_MSG:
        body, kind = struct.pack("<iB", 0, 0) + content, OP_MSG
    else:
        body, kind = struct.pack("<iqii", 8, 0, 0, 1) + content, 1
    return struct.pack("<iiii", 16 + len(body), 1, answers, kind) + body


def _asked(caller: socket.socket) -> tuple[int, int, Document] | None:
    head = caller.recv(16, socket.MSG_WAITALL)
    if len(head) < 16:
        return None
    length, number, _, kind = struct.unpack("<iiii", head)
    body = caller.recv(length - 16, socket.MSG_WAITALL)
    start = 5 if kind == OP_MSG else body.index(b"\0", 4) + 9  # else an old driver's greeting
    size = int.from_bytes(body[start : start + 4], "little")
    return number, kind, bson.decode(body[start : start + size])
