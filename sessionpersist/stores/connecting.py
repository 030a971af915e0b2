"""From a name to an open TCP connection, by a deadline: a name server can be silent, and a name have many addresses."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from sessionpersist import forks
from sessionpersist.awaiting import in_loop, result_of, writable
from sessionpersist.threads import begin_thread, settle

T = TypeVar("T")
AddressInfo = tuple[Any, ...]

# What is being looked up right now. A name server that is silent holds one thread for each name, however many ask.
_lookups: dict[tuple[str, int], Future[list[AddressInfo]]] = {}
_lock = threading.Lock()


def resolve(host: str, port: int, give_up: float) -> list[AddressInfo]:
    """Return what ``socket.getaddrinfo`` does, by that time of the monotonic clock; TimeoutError after it."""
    return numeric(host, port) or result_of(_lookup(host, port), left(give_up))


def numeric(host: str, port: int) -> list[AddressInfo]:
    """Return the address that is written as the host; nothing where that is a name."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        return []


def connect(host: str, port: int, give_up: float, check: Callable[[str, list[str]], None]) -> socket.socket:
    """Return a connection to a host. ``check`` gets its name and all its addresses before any of them is connected, and
    raises where that may not be."""
    found = resolve(host, port, give_up)
    check(host, ip_addresses(found))
    return connect_to(found, give_up)


def ip_addresses(found: Sequence[AddressInfo]) -> list[str]:
    """Return the addresses that ``resolve`` has found, as text."""
    return [str(each[4][0]) for each in found]


def connect_to(found: Sequence[AddressInfo], give_up: float) -> socket.socket:
    """Return a connection to the first of the addresses that takes it. Each of them gets its share of the time that is
    left: the first may be silent."""
    error: OSError = OSError("the name has no address")
    for tried, (family, kind, protocol, _, address) in enumerate(found):
        seconds = left(give_up) / (len(found) - tried)
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as failure:  # a machine without IPv6
            error = failure
            continue
        try:
            _connect(sock, address, seconds)
        except OSError as failure:
            sock.close()
            error = failure
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise error


def _connect(sock: socket.socket, address: Any, seconds: float) -> None:
    if not in_loop():
        sock.settimeout(seconds)
        sock.connect(address)
        return
    sock.setblocking(False)
    number = sock.connect_ex(address)
    if number == errno.EINPROGRESS:
        writable(sock, monotonic() + seconds)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))  # of the class that it has in a thread


def aside(call: Callable[[], T], give_up: float, throw_away: Callable[[T], None]) -> T:
    """Call what connects in a way that nobody can cut short, in a thread of its own, and return what it returns.
    TimeoutError at that time of the monotonic clock; what comes later is thrown away. Raises NoThread."""
    future: Future[T] = Future()
    context = copy_context()

    def too_late(late: Future[T]) -> None:
        if late.exception() is None:
            throw_away(late.result())

    begin_thread("sessionpersist-connect", partial(settle, future, partial(context.run, call)))
    try:
        return result_of(future, max(0.0, give_up - monotonic()))
    except TimeoutError:
        if future.done():  # just now, or this is what it has raised
            return future.result()
        future.add_done_callback(too_late)
        raise
    except BaseException:  # interrupted, or this is what it has raised
        future.add_done_callback(too_late)
        raise


def apart(call: Callable[[], T], give_up: float, throw_away: Callable[[T], None] = lambda _: None) -> T:
    """Call what holds up its thread and needs no connection of Django's, and return what it returns. For a coroutine
    that is ``aside``: Django's thread may be busy for long with what others have it do."""
    return aside(call, give_up, throw_away) if in_loop() else call()


def left(give_up: float) -> float:
    """How many seconds are left until then; TimeoutError where none are."""
    seconds = give_up - monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def _lookup(host: str, port: int) -> Future[list[AddressInfo]]:
    with _lock:
        running = _lookups.get((host, port))
        if running is None:
            running = Future()
            begin_thread("sessionpersist-resolve", partial(settle, running, partial(_look_up, host, port)))
            _lookups[host, port] = running
        return running


def _look_up(host: str, port: int) -> list[AddressInfo]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    finally:
        with _lock:
            _lookups.pop((host, port), None)


def _forget() -> None:
    """In a forked child, where no thread looks anything up."""
    global _lock
    _lock = threading.Lock()
    _lookups.clear()


forks.in_child(forks.Layer.CONNECTIONS, _forget)
