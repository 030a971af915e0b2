"""The load on a site, and what is seen of its server meanwhile."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import process_time, sleep
from typing import ClassVar

import pytest

from benchmarks.__main__ import main
from benchmarks.asgi import Watch
from benchmarks.load import load, served

SLOW = 0.05  # seconds


class Pages(BaseHTTPRequestHandler):
    """A slow page, one that is missing, and one that hangs up; connections stay open otherwise."""

    protocol_version = "HTTP/1.1"
    cookies: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        if self.path == "/gone/":
            self.close_connection = True
            return
        if self.path == "/slow/":
            sleep(SLOW)
        self.cookies.add(self.headers["Cookie"])
        self.send_response(404 if self.path == "/missing/" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_each_connection_asks_for_pages_with_its_cookie(site: str) -> None:
    Pages.cookies.clear()
    found = load(f"{site}/slow/", ["a=1", "b=2"], 0.5)
    assert 0 < found.per_second <= 2 / SLOW
    assert found.p99_ms >= SLOW * 1000
    assert Pages.cookies == {"a=1", "b=2"}


def test_an_answer_that_is_no_page_ends_the_load(site: str) -> None:
    with pytest.raises(RuntimeError, match="Not a page"):
        asyncio.run(served(f"{site}/missing/", [""], 0.1))


def test_a_site_that_hangs_up_ends_the_load(site: str) -> None:
    with pytest.raises(ConnectionError, match="closed the connection"):
        asyncio.run(served(f"{site}/gone/", [""], 0.1))


def test_threads_are_counted_after_they_have_gone_and_the_time_of_a_processor_is_measured() -> None:
    with Watch(os.getpid()) as watch:
        over, end = threading.Event(), process_time() + 0.3
        threads = [threading.Thread(target=over.wait) for _ in range(5)]
        for each in threads:
            each.start()
        while process_time() < end or watch.threads <= len(threads):
            pass
        over.set()
        for each in threads:
            each.join()
    assert watch.threads > len(threads)
    assert watch.cpu_seconds > 0.25


@pytest.mark.long
@pytest.mark.xdist_group("load")
def test_async_pages_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    main(["asgi", "--quick", "--store", "IN_MEMORY"])
    shown = capsys.readouterr().out
    rows = re.findall(r"\| In-Memory, (LocMem|file engine|no sessions) \| (read|save) \|", shown)
    assert len(set(rows)) == 6
    assert shown.count("(1.50) |") == 4
