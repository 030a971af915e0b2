"""A probe shows TLS as a step of its own, before anybody logs in."""

from __future__ import annotations

import secrets
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sessionpersist.stores import probe
from sessionpersist.stores.base import Probed
from sessionpersist.stores.probe import Step
from tests.servers import Redis
from tests.servers.certificates import make_certificates
from tests.stores.places import mongo_store, redis_store

pytestmark = pytest.mark.xdist_group("tls")

STORES: dict[str, Any] = {
    "REDIS": lambda **own: redis_store(Redis, **own),
    "MONGODB": lambda **own: mongo_store(**own),
}


def steps(store: Probed) -> dict[str, Step]:
    with closing(store):
        return {each.name: each for each in probe.run(store) if not each.warning}


@pytest.mark.parametrize("kind", STORES)
class TestTheHandshake:
    def test_is_a_step_before_the_login(self, kind: str) -> None:
        found = steps(STORES[kind](tls=True))
        names = list(found)
        assert names.index("Connect") < names.index("TLS") < names.index("Authenticate")
        assert (found["TLS"].ok, found["TLS"].message) == (True, "TLSv1.3")

    def test_works_where_the_password_is_wrong(self, kind: str) -> None:
        found = steps(STORES[kind](tls=True, password=secrets.token_hex()))
        assert found["TLS"].ok
        assert (found["Authenticate"].ok, found["Authenticate"].field) == (False, "password")

    def test_fails_where_the_certificate_is_not_trusted_and_nobody_logs_in(
        self, kind: str, tmp_path: Path
    ) -> None:
        other = str(make_certificates(tmp_path).ca_file)
        *_, last = steps(STORES[kind](tls=True, ca_file=other)).values()
        assert (last.name, last.ok, last.field) == ("TLS", False, "tls")
        assert "not trusted" in last.message

    def test_fails_where_the_server_speaks_none(self, kind: str) -> None:
        plain = STORES[kind]()
        port = plain.settings.port
        *_, last = steps(STORES[kind](tls=True, port=port)).values()
        assert (last.name, last.ok) == ("TLS", False)

    def test_is_no_step_without_tls(self, kind: str) -> None:
        assert "TLS" not in steps(STORES[kind]())
