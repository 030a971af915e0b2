"""REDIS with a certificate of the client's, and with passwords that change while the site runs."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.base import Probed
from sessionpersist.stores.credentials import Credentials
from sessionpersist.stores.probe import run
from sessionpersist.stores.redis.store import RedisStore
from sessionpersist.stores.settings import RedisSettings
from tests.servers import Redis, Valkey, require
from tests.servers.certificates import Certificates, make_certificates
from tests.stores.contract import a_key, a_record

TOKENS: list[str] = []


def token() -> tuple[str, str]:
    """What a provider of a cloud gives."""
    return "default", TOKENS[-1]


class Strict(Redis):
    """Wants a certificate of each client."""

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"tls-auth-clients": "yes"}

    def ping(self) -> None:
        self._own().get(a_key())

    def _own(self, **changes: Any) -> RedisStore:
        assert self.certificates is not None
        files = {
            "ca_file": str(self.certificates.ca_file),
            "client_certificate": str(self.certificates.client_certificate),
            "client_key": str(self.certificates.client_key),
        }
        settings = RedisSettings(host=self.host, port=self.port, tls=True, **(files | changes))
        return RedisStore(settings, self.password, 2, "tests")


def test_a_client_certificate_opens_a_server_that_wants_one() -> None:
    require(Redis, tls=True)
    with Strict(tls=True) as server:
        store = server._own()
        steps = run(store)
        assert [step for step in steps if not step.ok] == []
        assert steps[0].name == "Certificates"
        store.close()
        without = server._own(client_certificate="", client_key="")
        with pytest.raises(StoreUnavailable, match="wants a client certificate") as caught:
            without.get(a_key())
        assert caught.value.field in ("client_certificate", "tls")  # it may hang up before we have read why


def test_a_server_that_hangs_up_after_the_handshake_may_want_one(tmp_path: Path) -> None:
    """What it says of its wish is lost with the connection, where the client was writing at that time."""
    certificates = make_certificates(tmp_path)
    with hangs_up(certificates) as port:
        settings = RedisSettings(host="127.0.0.1", port=port, tls=True, ca_file=str(certificates.ca_file))
        store = RedisStore(settings, "", 2, "tests")
        with pytest.raises(StoreUnavailable, match="wants a client certificate") as caught:
            store.get(a_key())
        store.close()
    assert caught.value.field == "tls"


@contextmanager
def hangs_up(certificates: Certificates) -> Iterator[int]:
    """A server that resets each connection over which something was sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_file)

    def serve() -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                plain, _ = listener.accept()
                with context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(1)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread, which a close does not
            thread.join()


def test_a_certificate_that_cannot_be_used_is_told_at_its_field(tmp_path: Path) -> None:
    require(Redis, tls=True)
    with Strict(tls=True) as server:
        for field in ("ca_file", "client_certificate", "client_key"):
            store = server._own(**{field: str(tmp_path / "nowhere.pem")})
            assert failed(store).field == field
        assert server.certificates is not None
        server.certificates.client_key.chmod(0o644)
        assert failed(server._own()).field == "client_key"


def failed(store: Probed) -> Any:
    [step] = [step for step in run(store) if not step.ok]
    store.close()
    return step


@pytest.fixture
def server() -> Any:
    require(Valkey)
    with Valkey() as server:
        yield server


def change_password(server: Valkey, password: str) -> None:
    """As a rotation does: the old one is refused from then on, and who is there has to log in again."""
    with server.connect() as client:
        client.config_set("requirepass", password)
    server.password = password
    with server.connect() as client:
        client.client_kill_filter(_type="normal", skipme=True)


def test_a_password_in_a_file_is_read_again_when_it_has_changed(server: Valkey, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(server.password)
    settings = RedisSettings(host=server.host, port=server.port, password=f"file:{file}")
    store = RedisStore(settings, Credentials("", settings.password), 2, "tests")
    key, record = a_key(), a_record()
    assert store.create(key, record)
    change_password(server, "another")
    with pytest.raises(StoreUnavailable):
        store.get(key)  # the connection was closed; the file still has the old one
    with pytest.raises(StoreUnavailable, match="refused") as caught:
        store.get(key)
    assert caught.value.field == "password"
    file.write_text("another\n")
    assert store.get(key) == record
    store.close()


def late_token() -> tuple[str, str]:
    """The last one at first, which has run out."""
    return "default", TOKENS.pop(0)


def test_a_provider_is_asked_once_more_where_a_login_is_refused(server: Valkey) -> None:
    """Its token may have run out between the asking and the login."""
    TOKENS[:] = ["run-out", server.password]
    settings = RedisSettings(host=server.host, port=server.port)
    store = RedisStore(settings, Credentials("", "", f"{__name__}.late_token"), 2, "tests")
    assert store.create(a_key(), a_record())
    assert TOKENS == []
    store.close()


def test_what_a_provider_gives_is_in_no_text(server: Valkey) -> None:
    TOKENS[:] = ["hush-hush-token"]
    settings = RedisSettings(host=server.host, port=server.port)
    store = RedisStore(settings, Credentials("", "", f"{__name__}.token"), 2, "tests")
    with pytest.raises(StoreUnavailable, match="refused the user name or the password") as caught:
        store.get(a_key())
    assert "hush" not in f"{caught.value} {caught.value.__cause__!r} {vars(store)}"
    store.close()
