"""A site under uvicorn, whose sessions are in one store after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.load import stores
from tests.load.clients import Browser
from tests.load.site import AsgiNode, Site
from tests.servers import MongoDB, Postgres, Valkey, require, shared

REFRESH = 0.2  # seconds
SWITCHES_WITHIN = 30.0  # seconds, on a busy machine


class LiveNode(AsgiNode):
    application, pages = "tests.aio.live.sockets:application", "tests.aio.live.pages"


@dataclass
class Live:
    """``server`` is a Valkey of this site alone, which a test may kill; ``fields`` choose a store, by its type."""

    site: Site
    node: LiveNode
    server: Valkey
    fields: dict[str, dict[str, Any]]
    saved: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.node.url

    def browser(self, user: str = "", way: str = "loop") -> Browser:
        """Return a browser, in which somebody has logged in."""
        browser = Browser([self.url])
        if user:
            answer = browser.post(f"/{way}/login/{user}/")
            assert answer.body == {"user": user}, answer
        return browser

    def use(self, kind: str, **more: Any) -> None:
        """Have the sessions in that store, and wait until the node has heard of it."""
        wanted = self.fields[kind] | {"max_sessions": -1} | more
        if wanted == self.saved:
            return
        self.site.configure(**wanted)
        self.saved = wanted
        self.wait_for(self.node)

    def wait_for(self, node: LiveNode) -> None:
        """Wait until a node has heard of what was saved."""
        browser, deadline = Browser([node.url]), time.monotonic() + SWITCHES_WITHIN
        told = {"type": self.saved["persistence_type"], "max_sessions": self.saved["max_sessions"]}
        while browser.get("/store/").body != told:
            assert time.monotonic() < deadline, node.log.read_text()
            time.sleep(REFRESH)


@contextmanager
def started(folder: Path) -> Iterator[Live]:
    for kind in (Valkey, Postgres, MongoDB):
        require(kind)
    database = shared(Postgres).create_database(f"test_asgi_{time.monotonic_ns()}")
    settings = {"REFRESH_SECONDS": REFRESH, "ACTIVATION_SECONDS": 0, "TIMEOUT_SECONDS": 10}
    site = Site(folder, {stores.ALIAS: database}, KEY_PREFIX=folder.name, **settings)
    site.migrate()
    with Valkey() as server, LiveNode(site, "node") as node:
        fields = {
            "IN_MEMORY": {"persistence_type": "IN_MEMORY"},
            "REDIS": stores.fields(server),
            "MONGODB": stores.fields_on(MongoDB),
            "JDBC": stores.fields_on(Postgres),
        }
        yield Live(site, node, server, fields)
