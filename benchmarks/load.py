"""Load on a site: connections that stay open, each of which asks for the next page as soon as it has the last one."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
REQUEST = "GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n"


class Served(NamedTuple):
    """What a site did in a while: pages a second, and the 99th percentile of their times in milliseconds."""

    per_second: float
    p99_ms: float


def load(url: str, cookies: Sequence[str], seconds: float) -> Served:
    """Ask for one page again and again, on a connection for each cookie. Raises CalledProcessError where an answer is
    not a 200."""
    # In a process of its own: what it costs is to be measured by nobody.
    command = [sys.executable, "-m", "benchmarks.load", url, str(seconds), *cookies]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    per_second, p99 = done.stdout.split()
    return Served(float(per_second), float(p99))


async def served(url: str, cookies: Sequence[str], seconds: float) -> Served:
    """Do the same in this process. Raises RuntimeError where an answer is not a 200, and ConnectionError."""
    address, loop = urlsplit(url), asyncio.get_running_loop()
    assert address.hostname
    assert address.port
    begun, browsers = time.perf_counter(), list[Browser]()
    for cookie in cookies:
        request = REQUEST.format(path=address.path, host=address.netloc, cookie=cookie).encode()
        made = partial(Browser, request, begun + seconds)
        browsers.append((await loop.create_connection(made, address.hostname, address.port))[1])
    await asyncio.gather(*(each.done for each in browsers))
    taken = time.perf_counter() - begun  # which is longer than was asked for by the last pages
    times = sorted(time for each in browsers for time in each.times)
    return Served(len(times) / taken, times[int(len(times) * 0.99)] * 1000)


class Browser(asyncio.Protocol):
    """One connection. ``times`` are those of its pages, in seconds; ``done`` is when the last one is there."""

    def __init__(self, request: bytes, end: float) -> None:
        self._request, self._end = request, end
        self.times: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._received, self._begun = b"", time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank:
            return
        length = LENGTH.search(head)
        if not length or not head.startswith(b"HTTP/1.1 200 "):
            self._fail(RuntimeError(f"Not a page: {self._received!r}"))
        elif len(body) >= int(length[1]):
            self._note(time.perf_counter())

    def _note(self, now: float) -> None:
        self.times.append(now - self._begun)
        if now < self._end:
            self._ask()
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionError("The site has closed the connection."))

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self._transport.close()


if __name__ == "__main__":
    print(*asyncio.run(served(sys.argv[1], sys.argv[3:], float(sys.argv[2]))))
