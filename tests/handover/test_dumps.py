"""A site that was emptied and loaded from its own dump goes on as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.load.clients import Browser
from tests.load.site import Node, Site
from tests.load.stores import fields_on
from tests.servers import Valkey, shared

NATURAL = ["--natural-primary", "--natural-foreign"]


@pytest.mark.parametrize(
    ("form", "options"),
    [
        pytest.param("json", [], id="json"),
        pytest.param("xml", NATURAL, id="xml with natural keys"),
        pytest.param("json", NATURAL, id="json with natural keys", marks=pytest.mark.long),
        pytest.param("xml", [], id="xml", marks=pytest.mark.long),
    ],
)
def test_users_are_still_logged_in_and_the_store_still_works(
    tmp_path: Path, form: str, options: list[str]
) -> None:
    site = Site(tmp_path, KEY_PREFIX=tmp_path.name, REFRESH_SECONDS=0.2, ACTIVATION_SECONDS=0)
    site.migrate()
    site.configure(**fields_on(Valkey))
    dump = tmp_path / f"site.{form}"
    with Node(site, "a", workers=1) as node:
        ada = Browser([node.url])
        ada.post("/login/ada/")
        assert ada.get("/visit/").body["visits"] == 1
    excluded = ["--exclude=contenttypes", "--exclude=auth.permission"]
    site.manage("dumpdata", f"--output={dump}", f"--format={form}", *excluded, *options)
    assert shared(Valkey).password not in dump.read_text()
    site.manage("flush", "--no-input")
    site.manage("loaddata", str(dump))
    with Node(site, "a", workers=1) as node:
        ada.urls = [node.url]
        answer = ada.get("/visit/")
        assert (answer.body.get("user"), answer.body.get("visits")) == ("ada", 2)
        bob = Browser([node.url])
        bob.post("/login/bob/")
        assert bob.get("/visit/").body["visits"] == 1
    assert site.manage("check", "--database=default").startswith("System check identified no issues")
