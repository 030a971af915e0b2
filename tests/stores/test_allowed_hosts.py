"""ALLOWED_STORE_HOSTS: nothing is connected that the settings do not allow, whoever names it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from time import monotonic
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from sessionpersist.configuration import probing
from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores import allowed_hosts, build_store, connecting, open_store
from sessionpersist.stores.allowed_hosts import NOT_ALLOWED, check_host
from sessionpersist.stores.base import now_ms
from sessionpersist.stores.breaker import FAULTS
from sessionpersist.stores.reachability import check_reachable, check_speaks_tls
from sessionpersist.stores.settings import MongoSettings, RedisSettings, StoreSettings
from tests.admin.support import TEST, create_staff, typed
from tests.servers import MongoDB, require
from tests.servers.places import free_port
from tests.stores.contract import a_key
from tests.stores.parallel import join_lookups

pytestmark = pytest.mark.xdist_group("hanging")

ELSEWHERE = "127.0.0.2"  # an address of this machine, as all of 127.0.0.0/8


@contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A server that says nothing, and knows whether somebody has connected to it."""
    with closing(socket.create_server((host, 0))) as server:
        server.settimeout(0)
        yield server


def was_called(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "entries"),
    [
        *((host, None) for host in ("anything.example.org", "127.0.0.1")),
        *(
            ("redis.example.org", [entry])
            for entry in ("redis.example.org", "REDIS.Example.org.", ".example.org")
        ),
        *((host, [".example.org"]) for host in ("example.org", "a.b.example.org", "A.EXAMPLE.ORG.")),
        *(
            ("127.0.0.1", [entry])
            for entry in ("127.0.0.1", "127.0.0.0/8", "127.0.0.9/8", "::/0", "0.0.0.0/0")[:3]
        ),
        *((host, ["127.0.0.0/8"]) for host in ("localhost", "127.1", "2130706433", "::ffff:127.0.0.1")),
        *((host, ["::1", "fe80::/10"]) for host in ("::1", "fe80::7")),
        ("127.0.0.1", ["redis.example.org", "10.0.0.0/8", "127.0.0.1"]),
    ],
)
def test_host_that_is_named_or_leads_only_to_allowed_addresses_is_allowed(
    settings: Settings, host: str, entries: list[str] | None
) -> None:
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": entries}
    check_host(host, 6379, 2.0)


@pytest.mark.parametrize(
    ("host", "entries"),
    [
        ("127.0.0.1", []),
        *(
            (host, ["redis.example.org"])
            for host in ("example.org", "a.redis.example.org", "redis.example.orgs")
        ),
        *((host, [".example.org"]) for host in ("badexample.org", "example.org.evil.net", "org")),
        *((host, ["10.0.0.0/8"]) for host in ("127.0.0.1", "localhost", "127.1", "::1", "::ffff:127.0.0.1")),
        *((host, ["10.0.0.0/8"]) for host in ("no-such-host.invalid", "x" * 64 + ".org", "10.0.0.0/8", "")),
        ("127.0.0.1", ["localhost"]),
    ],
)
def test_any_other_host_is_refused_with_one_sentence_resolved_or_not(
    settings: Settings, host: str, entries: list[str]
) -> None:
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": entries}
    with pytest.raises(StoreMisconfigured) as caught:
        check_host(host, 6379, 2.0)
    assert (str(caught.value), caught.value.field) == (NOT_ALLOWED, "host")


def test_name_with_one_address_outside_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": ["127.0.0.1"]}
    monkeypatch.setattr(allowed_hosts, "resolve", lambda *args: [answer("127.0.0.1"), answer(ELSEWHERE)])
    with pytest.raises(StoreMisconfigured):
        check_host("redis.example.org", 6379, 2.0)


def answer(address: str, port: int = 0) -> tuple[Any, ...]:
    """What getaddrinfo says of it."""
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


def settings_of(store: str, host: str, port: int) -> StoreSettings:
    if store == "REDIS":
        return RedisSettings(host=host, port=port)
    return MongoSettings(host=host, port=port, database="app")


@pytest.mark.parametrize("store", ["REDIS", "MONGODB"])
def test_saved_store_that_is_no_longer_allowed_is_not_opened(settings: Settings, store: str) -> None:
    with listening() as server:
        saved = settings_of(store, "127.0.0.1", server.getsockname()[1])
        open_store(saved)  # as it was allowed: it stays open in this process
        settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": ["redis.example.org"]}
        for opened in (open_store, build_store):
            with pytest.raises(StoreMisconfigured) as caught:
                opened(saved)
            assert (str(caught.value), caught.value.field) == (NOT_ALLOWED, "host")
        (step,) = probing.probe(saved)
        assert (step.ok, step.field, step.message) == (False, "host", NOT_ALLOWED)
        assert probing.identify(saved) == ""
        assert not was_called(server)


@pytest.mark.django_db
@pytest.mark.parametrize("store", ["REDIS", "MONGODB"])
def test_port_that_is_closed_one_that_is_silent_and_a_name_that_leads_nowhere_look_alike(
    settings: Settings, store: str
) -> None:
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": ["10.0.0.0/8", "redis.example.org"]}
    client, prefix = Client(), store.lower()
    client.force_login(create_staff("grace", "view_loginconfiguration", "change_loginconfiguration"))
    with listening() as server:
        answers = []
        for host, port in [
            ("127.0.0.1", server.getsockname()[1]),
            ("127.0.0.1", free_port()),
            ("no-such-host.invalid", 6379),
        ]:
            fields = {f"{prefix}_host": host, f"{prefix}_port": str(port), "mongodb_database": "app"}
            data = typed(persistence_type=store, **fields)
            response = client.post(TEST, data, headers={"accept": "application/json"}).json()
            answers.append((response["steps"], response["errors"]))
        assert not was_called(server)
    said = {f"{prefix}_host": [{"message": NOT_ALLOWED, "code": ""}]}
    assert answers == [([], said)] * 3


@pytest.mark.django_db
def test_form_that_tries_nothing_refuses_it_too(settings: Settings) -> None:
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": [".example.org"]}
    data = typed(persistence_type="REDIS", redis_host="redis.example.com")
    assert LoginConfigurationForm(data, probe=False).errors == {"redis_host": [NOT_ALLOWED]}
    assert LoginConfigurationForm(data | {"redis_host": "redis.example.org"}, probe=False).is_valid()


NAME = "store.example"


@pytest.fixture
def leads_to(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the name lead to an address, and the next time it is asked for to the next one; to the last for ever."""
    real = socket.getaddrinfo

    def set_up(*addresses: str) -> None:
        answers = list(addresses)

        def look_up(host: Any, *rest: Any, **options: Any) -> Any:
            if host == NAME and not options.get("flags", 0) & socket.AI_NUMERICHOST:
                host = answers.pop(0) if len(answers) > 1 else answers[0]
            return real(host, *rest, **options)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return set_up


@pytest.mark.parametrize("store", ["REDIS", "MONGODB"])
def test_name_that_leads_elsewhere_as_the_driver_connects_gets_no_login(
    settings: Settings, leads_to: Callable[..., None], store: str
) -> None:
    """Nor a connection: it would tell that something listens there."""
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": [ELSEWHERE]}
    leads_to("127.0.0.1")
    with listening() as server:
        with closing(build_store(settings_of(store, NAME, server.getsockname()[1]))) as built:
            with pytest.raises(StoreMisconfigured) as caught:
                built.get(a_key())
            assert (str(caught.value), caught.value.field) == (NOT_ALLOWED, "host")
        assert not was_called(server)


def test_probe_connects_to_the_very_addresses_that_it_has_checked(
    settings: Settings, leads_to: Callable[..., None]
) -> None:
    """Whoever has the name server can answer twice: the second time with an address of the inner network."""
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": [ELSEWHERE]}
    leads_to(ELSEWHERE, "127.0.0.1")
    with listening() as inner:
        (_, resolve), (_, connect) = check_reachable(NAME, inner.getsockname()[1], 2.0)
        assert resolve() == ELSEWHERE
        with pytest.raises(StoreUnavailable, match="Nothing listens"):
            connect()
        assert not was_called(inner)


def test_probe_of_a_name_that_leads_elsewhere_connects_nothing(
    settings: Settings, leads_to: Callable[..., None]
) -> None:
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": [ELSEWHERE]}
    leads_to("127.0.0.1")
    with listening() as inner:
        (step,) = probing.probe(settings_of("REDIS", NAME, inner.getsockname()[1]))
        assert (step.name, step.field, step.message) == ("Resolve host name", "host", NOT_ALLOWED)
        assert not was_called(inner)


def test_a_look_for_tls_connects_nothing_that_is_not_allowed(
    settings: Settings, leads_to: Callable[..., None]
) -> None:
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": [ELSEWHERE]}
    leads_to("127.0.0.1")
    with listening() as inner:
        check_speaks_tls(NAME, inner.getsockname()[1], 0.5)
        assert not was_called(inner)


@pytest.fixture
def silent_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A name server that says nothing."""
    over, real = threading.Event(), socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **options: Any) -> Any:
        if host == NAME and not options.get("flags", 0) & socket.AI_NUMERICHOST:
            over.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return real(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield
    over.set()
    join_lookups()


@pytest.mark.parametrize("store", ["REDIS", "MONGODB"])
def test_silent_name_server_opens_the_circuit_and_is_not_told_as_a_host_that_is_not_allowed(
    settings: Settings, silent_names: None, store: str
) -> None:
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": ["10.0.0.0/8"], "TIMEOUT_SECONDS": 0.3}
    begun = monotonic()
    opened = open_store(settings_of(store, NAME, 6379))
    assert monotonic() - begun < 0.2
    for _ in range(FAULTS):
        with pytest.raises(StoreUnavailable, match="in time") as caught:
            opened.get(a_key())
        assert not isinstance(caught.value, StoreMisconfigured)
    with pytest.raises(StoreUnavailable, match="being given a moment"):
        opened.get(a_key())


@pytest.mark.parametrize("store", ["REDIS", "MONGODB"])
def test_name_that_does_not_resolve_says_so_as_a_saved_store_is_used(settings: Settings, store: str) -> None:
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": ["10.0.0.0/8"]}
    with pytest.raises(StoreUnavailable, match="does not resolve"):
        open_store(settings_of(store, "no-such-host.invalid", 6379)).get(a_key())


def test_a_look_for_tls_gives_a_silent_name_server_up_in_time(silent_names: None) -> None:
    begun = monotonic()
    check_speaks_tls(NAME, 6379, 0.3)
    assert monotonic() - begun < 2.0


def test_silent_first_address_leaves_time_for_the_second() -> None:
    with full() as silent, listening() as server:
        found = [answer(*each.getsockname()) for each in (silent, server)]
        connecting.connect_to(found, monotonic() + 1.0).close()
        assert was_called(server)


@contextmanager
def full() -> Iterator[socket.socket]:
    """A server that takes no more connections, and tells nobody."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as server, ExitStack() as callers:
        for _ in range(4):
            caller = callers.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(server.getsockname())
        yield server


class Member(MongoDB):
    """A replica set of one, without users: it is told by an address of its own choice where it is."""

    def _command(self) -> list[str]:
        command = [
            each for each in super()._command() if each != "--auth" and not each.startswith("--bind_ip")
        ]
        return [*command, "--replSet=rs", f"--bind_ip={self.host},{ELSEWHERE}"]

    def _set_up(self) -> None:
        self.announce(self.host)

    def announce(self, host: str, *others: dict[str, Any]) -> None:
        """Have the set say that it is at this host, and at others."""
        members = [{"_id": 0, "host": f"{host}:{self.port}"}, *others]
        with self._client() as client:
            version = now_ms() // 1000 % 100_000_000
            config = {"_id": "rs", "version": version, "members": members}
            try:
                client.admin.command("replSetReconfig", config, force=True)
            except Exception:
                client.admin.command("replSetInitiate", config | {"version": 1})
            self._wait(lambda: self._is_primary(client))

    def _client(self, *seconds: float, **login: Any) -> Any:
        return super()._client(*seconds, directConnection=True, **login)

    @staticmethod
    def _is_primary(client: Any) -> None:
        if not client.admin.command("hello")["isWritablePrimary"]:
            raise RuntimeError("not yet")


@pytest.fixture(scope="module")
def member() -> Iterator[Member]:
    require(MongoDB)
    with Member() as server:
        yield server


def announced(member: Member) -> StoreSettings:
    return MongoSettings(host=member.host, port=member.port, database="app")


@pytest.mark.parametrize("entries", [None, ["127.0.0.1"]])
def test_member_that_a_replica_set_announces_hears_nothing_where_it_is_not_allowed(
    settings: Settings, member: Member, entries: list[str] | None
) -> None:
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": entries, "TIMEOUT_SECONDS": 5.0}
    with listening(ELSEWHERE) as other:
        silent = {"_id": 1, "host": f"{ELSEWHERE}:{other.getsockname()[1]}", "votes": 0, "priority": 0}
        member.announce(member.host, silent)
        with closing(build_store(announced(member))) as store:
            assert store.get(a_key()) is None
            client = store._sessions.database.client  # type: ignore[attr-defined]
            heard = hears_of_us(other, until=lambda: NOT_ALLOWED in errors_of(client))
    assert heard == (entries is None)


def hears_of_us(server: socket.socket, until: Callable[[], bool]) -> bool:
    """Whether our client greets that server, which the members of the set do, too; or the client has given up."""
    server.settimeout(0.2)
    give_up = monotonic() + 10
    while not until():
        assert monotonic() < give_up
        with suppress(TimeoutError), closing(server.accept()[0]) as caller:
            caller.settimeout(0.2)
            if b"sessionpersist" in caller.recv(4096):
                return True
    return False


def errors_of(client: Any) -> str:
    """What the driver has met at each server that it knows of."""
    return " ".join(str(each.error) for each in client.topology_description.server_descriptions().values())


def test_replica_set_that_says_it_is_elsewhere_is_refused(settings: Settings, member: Member) -> None:
    member.announce(ELSEWHERE)
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": ["127.0.0.1"]}
    with closing(build_store(announced(member))) as store:
        with pytest.raises(StoreUnavailable) as caught:
            store.get(a_key())
        assert (str(caught.value), caught.value.field) == (NOT_ALLOWED, "host")
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": ["127.0.0.1", ELSEWHERE]}
    with closing(build_store(announced(member))) as store:
        assert store.get(a_key()) is None
