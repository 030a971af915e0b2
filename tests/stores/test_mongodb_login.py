"""How the MONGODB store logs in: by password in either mechanism, by certificate, by what is exchanged meanwhile."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores import certificates, probe
from sessionpersist.stores.credentials import Credentials
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.mongodb.store import MongoStore
from tests.servers import MongoDB, require, shared
from tests.servers.certificates import Certificates, make_certificates
from tests.stores.contract import a_key, a_record
from tests.stores.places import mongo_settings, mongo_store

pytestmark = pytest.mark.xdist_group("tls")


@pytest.fixture
def server() -> MongoDB:
    require(MongoDB, tls=True)
    return shared(MongoDB, tls=True)


@pytest.fixture
def files(server: MongoDB, tmp_path: Path) -> Certificates:
    """Those of a client, in a folder of this test's own."""
    made = server.certificates
    assert made is not None
    return made._replace(
        client_certificate=Path(shutil.copy(made.client_certificate, tmp_path)),
        client_key=Path(shutil.copy(made.client_key, tmp_path)),
    )


@pytest.fixture
def user(server: MongoDB, files: Certificates) -> Iterator[str]:
    """A user who is called like the client's certificate."""
    with server._client(username=server.admin_username, password=server.admin_password) as client:
        role = {"role": "readWrite", "db": server.database}
        client["$external"].command("createUser", files.client_name, roles=[role])
        yield files.client_name
        client["$external"].command("dropUser", files.client_name)


def by_certificate(files: Certificates, **changes: Any) -> MongoStore:
    settings = {
        "username": "",
        "password": "",
        "mechanism": "MONGODB-X509",
        "auth_source": "",
        "client_certificate": str(files.client_certificate),
        "client_key": str(files.client_key),
    }
    return mongo_store(tls=True, timeout=2, **settings | changes)


def authority_of(server: MongoDB) -> bytes:
    assert server.ca_file is not None
    return server.ca_file.read_bytes()


def lose_connections(store: MongoStore) -> None:
    """Close them: whatever comes next makes others."""
    topology: Any = store._client.database().client._topology
    for server in topology._servers.values():
        server.pool.reset_without_pause()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
def test_a_password_in_either_mechanism(mechanism: str) -> None:
    with closing(mongo_store(mechanism=mechanism)) as store:
        assert store.create(key := a_key(), record := a_record())
        assert store.get(key) == record


@pytest.mark.parametrize("named", [False, True], ids=["by its subject", "by name"])
def test_a_certificate_with_its_key_apart(files: Certificates, user: str, named: bool) -> None:
    store = by_certificate(files, username=user if named else "")
    with closing(store):
        steps = probe.run(store, prepare=True)
    assert [step for step in steps if not step.ok] == []
    assert "Read the certificates" in [step.name for step in steps]


def test_a_certificate_with_its_key_in_one_file(files: Certificates, user: str) -> None:
    with files.client_certificate.open("ab") as both:
        both.write(files.client_key.read_bytes())
    files.client_certificate.chmod(0o600)
    with closing(by_certificate(files, client_key="")) as store:
        assert store.get(a_key()) is None


def test_a_certificate_that_no_user_is_called_after(files: Certificates) -> None:
    with closing(by_certificate(files)) as store, pytest.raises(StoreUnavailable) as caught:
        store.get(a_key())
    assert caught.value.field == "client_certificate"
    assert "$external" in str(caught.value)


def test_a_certificate_of_another_authority(files: Certificates, user: str, tmp_path: Path) -> None:
    (folder := tmp_path / "other").mkdir()
    with closing(by_certificate(make_certificates(folder))) as store:
        step = probe.run(store)[-1]
    assert (step.ok, step.field) == (False, "client_certificate")
    assert "does not accept" in step.message


def test_an_authority_on_the_page_counts_instead_of_that_of_the_settings(
    server: MongoDB, tmp_path: Path
) -> None:
    with closing(mongo_store(tls=True, timeout=1, ca_file=str(server.ca_file))) as store:
        assert store.get(a_key()) is None
    other = make_certificates(tmp_path).ca_file
    store = mongo_store(tls=True, timeout=1, ca_file=str(other))
    with closing(store), pytest.raises(StoreUnavailable) as caught:
        store.get(a_key())
    assert caught.value.field == "tls"


def test_a_server_that_wants_a_certificate_is_told_as_that() -> None:
    require(MongoDB, tls=True)

    class Strict(MongoDB):
        def _command(self) -> list[str]:
            return [each for each in super()._command() if each != "--tlsAllowConnectionsWithoutCertificates"]

        def _client(self, *seconds: float, **login: Any) -> Any:
            files = self.certificates
            assert files is not None
            together = self.folder / "client-both.pem"
            together.write_bytes(files.client_certificate.read_bytes() + files.client_key.read_bytes())
            return super()._client(*seconds, tlsCertificateKeyFile=str(together), **login)

    with Strict(tls=True) as server:
        without = MongoStore(mongo_settings(server), server.password, 2, "tests", str(server.ca_file))
        with closing(without):
            step = probe.run(without)[-1]
    assert (step.ok, step.field) == (False, "client_certificate")
    assert "seems to want" in step.message


def test_connections_that_are_made_at_a_time_do_not_read_into_one_context(
    files: Certificates, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL is not made for that: it takes the key for that of another certificate, or ends the process."""
    contexts: list[ssl.SSLContext] = []
    load = certificates.Certificates.load_own

    def watched(self: certificates.Certificates, context: ssl.SSLContext) -> None:
        contexts.append(context)
        load(self, context)

    monkeypatch.setattr(certificates.Certificates, "load_own", watched)
    with closing(by_certificate(files)) as store, ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            assert not any(threads.map(store.get, [a_key() for _ in range(8)]))
            lose_connections(store)
    assert len(contexts) > 5
    assert len(set(map(id, contexts))) == len(contexts)


class TestExchanged:
    """A certificate is replaced, a password is changed, while the site runs."""

    def test_a_key_that_can_no_longer_be_read_is_told_on_its_field(
        self, files: Certificates, user: str
    ) -> None:
        with closing(by_certificate(files)) as store:
            assert store.get(a_key()) is None
            store.close()
            files.client_key.write_bytes(b"")
            with pytest.raises(StoreUnavailable) as caught:
                store.get(a_key())
            assert caught.value.field == "client_key"

    def test_a_new_connection_shows_the_new_certificate(self, files: Certificates, user: str) -> None:
        right = files.client_certificate.read_bytes(), files.client_key.read_bytes()
        with closing(by_certificate(files)) as store:
            files.client_key.write_bytes(b"")
            with pytest.raises(StoreUnavailable):
                store.get(a_key())
            files.client_certificate.write_bytes(right[0])
            files.client_key.write_bytes(right[1])
            assert store.get(a_key()) is None

    def test_an_authority_that_was_taken_out_of_the_file_is_trusted_no_more(
        self, server: MongoDB, tmp_path: Path
    ) -> None:
        (trusted := tmp_path / "trusted.pem").write_bytes(ours := authority_of(server))
        with closing(mongo_store(tls=True, timeout=2, ca_file=str(trusted))) as store:
            assert store.get(a_key()) is None
            trusted.write_bytes(make_certificates(tmp_path).ca_file.read_bytes())
            lose_connections(store)
            with pytest.raises(StoreUnavailable) as caught:
                store.get(a_key())
            assert caught.value.field == "tls"
            trusted.write_bytes(ours)
            assert store.get(a_key()) is None

    def test_a_login_that_was_exchanged_is_asked_for_again_and_nobody_notices(self, tmp_path: Path) -> None:
        require(MongoDB)
        server = shared(MongoDB)
        if server.external:
            pytest.skip("needs users of its own")
        file = tmp_path / "password"
        with server._client(username=server.admin_username, password=server.admin_password) as admin:
            role = {"role": "readWrite", "db": server.database}
            file.write_text("the first")
            admin.admin.command("createUser", "rotated", pwd="the first", roles=[role])
            settings = replace(mongo_settings(server), auth_source="admin")
            store = MongoStore(settings, Credentials("rotated", f"file:{file}"), 2, "tests")
            guarded = GuardedStore(store, "MONGODB")
            guarded.create(key := a_key(), record := a_record())
            admin.admin.command("updateUser", "rotated", pwd="the second")
            file.write_text("the second")
            with closing(guarded):
                assert guarded.get(key) == record
                store.close()  # as if a connection more were needed
                file.write_text("the third")
                with pytest.raises(StoreUnavailable) as caught:
                    guarded.get(key)
                file.write_text("the second")
                assert guarded.get(key) == record
            admin.admin.command("dropUser", "rotated")
        assert caught.value.field == "password"
        assert "the third" not in f"{caught.value} {caught.value.__cause__!r}"
