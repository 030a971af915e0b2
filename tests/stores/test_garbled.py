"""Whatever comes over the line of a database: an answer of the contract, or one of our own exceptions, and in time."""

from __future__ import annotations

import random
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from django.db import connections, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoDbBlocker

from benchmarks.relay import CHUNK, Relay
from sessionpersist.exceptions import SessionTooLarge, StoreUnavailable
from sessionpersist.stores.base import Outcome, Record, now_ms
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.settings import DatabaseSettings
from tests.servers import MariaDB, Postgres, require, shared
from tests.sizes import examples
from tests.stores.contract import MINUTE, a_key, a_record
from tests.stores.databases import added_database
from tests.stores.dripping import dripping

pytestmark = pytest.mark.xdist_group("hanging")

TIMEOUT, PATIENT = 0.4, 10.0  # seconds; the second where nothing is garbled
SLACK = 2.0

Garble = Callable[[random.Random, bytes], bytes]


def flipped(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def cut_short(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data))]


def made_up(chance: random.Random, data: bytes) -> bytes:
    return chance.randbytes(chance.randint(1, 200))


def repeated(chance: random.Random, data: bytes) -> bytes:
    return data + data[chance.randrange(len(data)) :]


GARBLES: list[Garble] = [flipped, cut_short, made_up, repeated]


class GarblingRelay(Relay):
    """Passes everything on; where there is a ``garble``, what the server says not quite as it was said."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.garble: Garble | None = None
        self.chance = random.Random()

    def _answer(self, server: socket.socket, client: socket.socket, turns: Any) -> None:
        with suppress(OSError), server:
            while data := server.recv(CHUNK):
                turns.client_spoke = False
                client.sendall(self.garble(self.chance, data) if self.garble else data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=[Postgres, MariaDB], ids=lambda cls: cls.title)
def server(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> Iterator[Any]:
    require(request.param)
    with django_db_blocker.unblock():
        yield shared(request.param)


@pytest.fixture
def garbled(server: Any) -> Iterator[tuple[DatabaseStore, GarblingRelay]]:
    url = server.create_database(name := f"garbled_{secrets.token_hex(4)}")
    with added_database("direct", url):
        DatabaseStore(DatabaseSettings(database="direct"), timeout=5).prepare()
    with GarblingRelay(server.host, server.port) as relay:
        port, server.port = server.port, relay.port
        try:
            with added_database("garbled", server.url_for(name)):
                yield DatabaseStore(DatabaseSettings(database="garbled"), TIMEOUT), relay
        finally:
            server.port = port


@settings(
    max_examples=examples(0.5),
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), garble=st.sampled_from(GARBLES), connected=st.booleans())
def test_garbled_answers_are_answers_of_the_contract_or_our_own_exceptions(
    garbled: tuple[DatabaseStore, GarblingRelay], seed: int, garble: Garble, connected: bool
) -> None:
    store, relay = garbled
    patient = DatabaseStore(DatabaseSettings(database="garbled"), PATIENT)
    relay.garble = None
    key, record = a_key(), a_record()
    patient.create(key, record)
    if not connected:
        connections["garbled"].close()
    relay.chance, relay.garble = random.Random(seed), garble
    verbs: list[tuple[Callable[[], Any], Any]] = [
        (lambda: store.get(key), Record | None),
        (lambda: store.touch(key, now_ms() + 2 * MINUTE), bool),
        (lambda: store.replace(key, a_record(), record.version), Outcome),
        (lambda: list(store.scan()), list),
        (lambda: store.delete(key), bool),
    ]
    for verb, kind in random.Random(seed).sample(verbs, 2):
        begun = time.monotonic()
        with suppress(StoreUnavailable, SessionTooLarge):
            assert isinstance(verb(), kind)
        assert time.monotonic() - begun < 2 * TIMEOUT + SLACK
    relay.garble = None
    connections["garbled"].close()
    patient.get(key)  # and nothing of it is left
    assert not connections["garbled"].in_atomic_block


class Interrupted(Exception):
    """What a signal handler raises, such as that of a task queue's time limit."""


@pytest.mark.parametrize("atomic", [False, True], ids=["by itself", "in a transaction"])
def test_who_is_interrupted_while_waiting_leaves_no_answer_behind(server: Any, atomic: bool) -> None:
    def interrupt(*arguments: Any) -> None:
        raise Interrupted

    name = f"interrupted_{secrets.token_hex(4)}"
    url = server.create_database(name)
    with added_database("direct", url):
        DatabaseStore(DatabaseSettings(database="direct"), timeout=5).prepare()
    with dripping(server) as relay, added_database("interrupted", server.url_for(name)):
        store = DatabaseStore(DatabaseSettings(database="interrupted"), timeout=3)
        records = {a_key(): a_record(str(number).encode()) for number in range(2)}
        store.create_many(records)
        first, second = records
        handler = signal.signal(signal.SIGALRM, interrupt)
        try:
            with transaction.atomic(using="interrupted") if atomic else nullcontext():
                store.get(second)
                relay.delays = [1.0]
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                with pytest.raises(Interrupted):
                    store.get(first)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
        assert store.get(second) == records[second]
        assert not connections["interrupted"].in_atomic_block
