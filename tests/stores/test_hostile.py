"""Servers that drip, promise, push and babble: a verb ends in time, in bounded memory, in a way that its caller knows.

The drivers are the real ones; no real server can be made to behave like this.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import bson
import pytest
from bson import Code, Decimal128, MinKey, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis._parsers import _RESP2Parser

from sessionpersist.exceptions import SessionTooLarge, StoreUnavailable
from sessionpersist.stores import connecting, probe
from sessionpersist.stores.base import MAX_PAYLOAD_BYTES, Outcome, Probed, Record, Rotation, Saving
from sessionpersist.stores.mongodb.store import MongoStore, document_of
from sessionpersist.stores.redis import wire
from sessionpersist.stores.redis.store import RedisStore, pack
from sessionpersist.stores.settings import MongoSettings, RedisSettings
from tests.servers import Valkey, require
from tests.sizes import examples
from tests.stores.contract import a_key, a_record
from tests.stores.fake import Talk, commands, mongo_message, mongo_that_answers, redis_that_answers, serving
from tests.stores.parallel import in_threads, join_lookups
from tests.stores.places import redis_store

pytestmark = pytest.mark.xdist_group("hanging")

TIMEOUT = 0.5  # seconds
SLACK = 0.5  # seconds that a busy machine may add
DRIP = 0.1  # seconds between two bytes
OP_MSG, OP_COMPRESSED, ZLIB = 2013, 2012, 2  # in the protocol of MongoDB


def redis_at(port: int, timeout: float = TIMEOUT, **changes: Any) -> RedisStore:
    return RedisStore(RedisSettings(host="127.0.0.1", port=port, **changes), "secret", timeout, "tests")


def mongo_at(port: int, timeout: float = TIMEOUT, **changes: Any) -> MongoStore:
    settings = MongoSettings(database="sessions", host="127.0.0.1", port=port, **changes)
    return MongoStore(settings, "secret", timeout, "tests")


@contextmanager
def given_up_in_time() -> Iterator[None]:
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="in time"):
        yield
    assert TIMEOUT / 2 < time.monotonic() - begun < TIMEOUT + SLACK


def dripping(data: bytes) -> Iterator[bytes]:
    for each in itertools.chain(data, itertools.repeat(ord("x"))):
        time.sleep(DRIP)
        yield bytes([each])


class TestDeadlineOfRedis:
    @pytest.mark.parametrize("verb", ["get", "create", "touch", "scan"])
    @pytest.mark.parametrize(
        "answer", [b"$1000\r\n", b"+OK", b"*3\r\n$1\r\nx\r\n", b">2\r\n+MIGRATING\r\n:1"]
    )
    def test_an_answer_that_drips_is_given_up_in_time(self, answer: bytes, verb: str) -> None:
        def talk(caller: socket.socket) -> None:
            for command in commands(caller):
                if command[0] in {b"AUTH", b"CLIENT"}:
                    caller.sendall(b"+OK\r\n")
                    continue
                for each in dripping(answer):
                    caller.sendall(each)

        with serving(talk) as port:
            store = redis_at(port)
            with given_up_in_time():
                every_verb(store)[verb]()
            store.close()

    def test_a_login_that_drips_is_given_up_in_time(self) -> None:
        def talk(caller: socket.socket) -> None:
            for each in dripping(b"+"):
                caller.sendall(each)

        with serving(talk) as port, given_up_in_time():
            redis_at(port).get(a_key())

    def test_a_login_and_an_answer_share_the_time(self) -> None:
        """Each takes less than the whole of it."""

        def talk(caller: socket.socket) -> None:
            for command in commands(caller):
                if command[0] != b"CLIENT":
                    time.sleep(0.6 * TIMEOUT)
                caller.sendall(b"$-1\r\n" if command[0] == b"GETRANGE" else b"+OK\r\n")

        with serving(talk) as port, given_up_in_time():
            redis_at(port).get(a_key())

    def test_both_commands_of_a_verb_share_the_time(self) -> None:
        """Of a key that is taken it is asked whether what is there has expired."""

        def slowly(command: list[bytes]) -> bytes:
            time.sleep(0.6 * TIMEOUT)
            return b"$-1\r\n" if command[0] == b"SET" else b":0\r\n"

        with serving(redis_that_answers(slowly)) as port, given_up_in_time():
            redis_at(port).create(a_key(), a_record())

    def test_a_request_that_nobody_reads_is_given_up_in_time(self) -> None:
        def talk(caller: socket.socket) -> None:
            for _ in range(3):
                caller.recv(4096)
                caller.sendall(b"+OK\r\n")
            time.sleep(5)

        with serving(talk) as port, given_up_in_time():
            redis_at(port).create(a_key(), a_record(bytes(MAX_PAYLOAD_BYTES)))

    def test_a_tls_handshake_that_never_comes_is_given_up_in_time(self) -> None:
        with serving(lambda caller: time.sleep(5)) as port:
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable) as raised:
                redis_at(port, tls=True).get(a_key())
            assert time.monotonic() - begun < TIMEOUT + SLACK
        assert raised.value.field == "tls"

    def test_a_push_message_makes_nobody_more_patient(self) -> None:
        pushed = b">4\r\n+MIGRATING\r\n:1\r\n:30\r\n+x\r\n"
        begun = time.monotonic()
        with serving(redis_that_answers(pushed)) as port, suppress(StoreUnavailable):
            redis_at(port).get(a_key())
        assert time.monotonic() - begun < TIMEOUT + SLACK

    def test_a_push_message_sends_no_password_elsewhere(self) -> None:
        called, moving = threading.Event(), b">4\r\n+MOVING\r\n:1\r\n:1\r\n+127.0.0.2:%d\r\n$-1\r\n"
        answer = redis_that_answers(lambda command: moving % port)
        with (
            serving(answer) as port,
            serving(lambda caller: called.set(), "127.0.0.2", port),
            contextlib.closing(redis_at(port)) as store,
        ):
            for _ in range(3):
                store.get(a_key())
                store.close()
            assert not called.wait(0.2)


class TestDeadlineOfMongo:
    @pytest.mark.parametrize("verb", ["get", "create", "touch", "scan"])
    @pytest.mark.parametrize("begun", [False, True])
    def test_an_answer_that_drips_is_given_up_in_time(self, begun: bool, verb: str) -> None:
        def talk(caller: socket.socket) -> None:
            def dripped(number: int, command: dict[str, Any]) -> bytes:
                if begun:
                    caller.sendall(struct.pack("<iiii", 5000, 1, number, 2013))
                for each in dripping(b""):
                    caller.sendall(each)
                return b""

            mongo_that_answers(dripped)(caller)

        with serving(talk) as port, contextlib.closing(mongo_at(port)) as store:
            store._prepared = True
            with given_up_in_time():
                every_verb(store)[verb]()

    def test_a_greeting_that_drips_is_given_up_in_time(self) -> None:
        def talk(caller: socket.socket) -> None:
            for each in dripping(b""):
                caller.sendall(each)

        with serving(talk) as port, contextlib.closing(mongo_at(port)) as store, given_up_in_time():
            store.get(a_key())

    def test_what_a_verb_asks_one_after_the_other_shares_the_time(self) -> None:
        def slowly(number: int, command: dict[str, Any]) -> dict[str, Any]:
            time.sleep(0.6 * TIMEOUT)
            return found_nothing(number, command)

        with (
            serving(mongo_that_answers(slowly)) as port,
            contextlib.closing(mongo_at(port)) as store,
            given_up_in_time(),
        ):
            store.replace(a_key(), a_record(), 7)

    @pytest.mark.parametrize("verb", ["create", "replace", "rotate"])
    def test_a_request_that_nobody_reads_is_given_up_in_time(self, verb: str) -> None:
        """On a connection that was made for it, past what the driver does before it asks."""

        def talk(caller: socket.socket) -> None:
            mongo_that_answers(found_nothing)(deaf_to_much(caller))

        large = a_record(bytes(MAX_PAYLOAD_BYTES))
        with serving(talk) as port, contextlib.closing(mongo_at(port)) as store:
            store._prepared = True
            store.get(a_key())  # from now on the server is known to be alone
            client: Any = store._database().client
            with client._conn_for_writes(None, "find"), given_up_in_time():
                if verb == "create":
                    store.create(a_key(), large)
                elif verb == "replace":
                    store.replace(a_key(), large, 7)
                else:
                    store.rotate(a_key(), 7, a_key(), large)


def found_nothing(number: int, command: dict[str, Any]) -> dict[str, Any]:
    return {"ok": 1.0, "n": 0, "nModified": 0, "cursor": {"id": 0, "ns": "a.b", "firstBatch": []}}


def deaf_to_much(caller: socket.socket) -> Any:
    """Return what reads as the socket does, and for a while nothing that is long. The kernel keeps little of it."""
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    class Deaf:
        sendall = caller.sendall

        def recv(self, size: int, flags: int) -> bytes:
            if size < 100_000:
                return caller.recv(size, flags)
            time.sleep(5)
            raise OSError("deaf")

    return Deaf()


class TestSizeOfAnAnswerOfMongo:
    """The driver reserves the memory as soon as it has read how long an answer will be."""

    PROMISED = 512 * 1024 * 1024

    @pytest.fixture
    def in_bounded_memory(self) -> Iterator[None]:
        tracemalloc.start(1)
        try:
            yield
            assert tracemalloc.get_traced_memory()[1] < self.PROMISED / 4
        finally:
            tracemalloc.stop()

    def promising(self, **greeting: Any) -> Talk:
        def promise(number: int, command: dict[str, Any]) -> bytes:
            return struct.pack("<iiii", self.PROMISED, 1, number, 2013)

        return mongo_that_answers(promise, maxMessageSizeBytes=2**31 - 1, **greeting)

    def test_a_server_that_promises_much_is_not_believed(self, in_bounded_memory: None) -> None:
        with (
            serving(self.promising()) as port,
            contextlib.closing(mongo_at(port)) as store,
            pytest.raises(StoreUnavailable, match="no MONGODB server gives"),
        ):
            store.get(a_key())

    def test_nor_as_the_driver_logs_in(self, in_bounded_memory: None) -> None:
        with (
            serving(self.promising()) as port,
            contextlib.closing(mongo_at(port, username="app")) as store,
            pytest.raises(StoreUnavailable),
        ):
            store.get(a_key())

    def test_nor_is_one_that_packs_much_into_little(self, in_bounded_memory: None) -> None:
        """A compressed answer, though the driver has not offered to take any."""
        packing = zlib.compressobj(level=1)
        begun = packing.compress(bytes(1024 * 1024)) + packing.flush(zlib.Z_FULL_FLUSH)
        again = packing.compress(bytes(1024 * 1024)) + packing.flush(zlib.Z_FULL_FLUSH)
        packed = begun + again * (self.PROMISED // 1024**2 - 1)  # each of which stands for itself

        def compressed(number: int, command: dict[str, Any]) -> bytes:
            head = struct.pack("<iiii", 25 + len(packed), 1, number, OP_COMPRESSED)
            return head + struct.pack("<iiB", OP_MSG, 1000, ZLIB) + packed

        with (
            serving(mongo_that_answers(compressed)) as port,
            contextlib.closing(mongo_at(port, timeout=10)) as store,
            pytest.raises(StoreUnavailable, match="no MONGODB server gives"),
        ):
            store.get(a_key())

    def test_nor_as_the_driver_watches_the_server(self, in_bounded_memory: None) -> None:
        watched = threading.Event()
        version = {"processId": bson.ObjectId(), "counter": bson.Int64(1)}

        def promise(number: int, command: dict[str, Any]) -> dict[str, Any] | bytes:
            if "topologyVersion" not in command:
                return {"ok": 1.0, "cursor": {"id": 0, "firstBatch": []}}
            watched.set()
            return struct.pack("<iiii", self.PROMISED, 1, number, 2013)

        talk = mongo_that_answers(promise, maxMessageSizeBytes=2**31 - 1, topologyVersion=version)
        with serving(talk) as port, contextlib.closing(mongo_at(port, timeout=2)) as store:
            assert store.get(a_key()) is None
            assert watched.wait(5)
            time.sleep(0.3)  # for the driver's thread to reserve what it will


class TestNames:
    @pytest.fixture
    def silent(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
        """A name server that says nothing; the names that it was asked for."""
        answers, asked, real = threading.Event(), [], socket.getaddrinfo

        def look_up(host: Any, *rest: Any, **options: Any) -> Any:
            if "flags" not in options and host == "silent.example":
                asked.append(host)
                answers.wait(20)
                raise socket.gaierror(-2, "no such name")
            return real(host, *rest, **options)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        yield asked
        answers.set()
        join_lookups()

    def test_a_name_server_that_is_silent_is_given_up_in_time(self, silent: list[str]) -> None:
        store = RedisStore(RedisSettings(host="silent.example"), "", TIMEOUT, "tests")
        with given_up_in_time():
            store.get(a_key())

    def test_mongodb_gives_it_up_in_time(self, silent: list[str]) -> None:
        store = MongoStore(MongoSettings(database="sessions", host="silent.example"), "", TIMEOUT, "tests")
        with given_up_in_time():
            store.get(a_key())
        store.close()

    def test_a_probe_gives_it_up_in_time(self, silent: list[str]) -> None:
        store = RedisStore(RedisSettings(host="silent.example"), "", TIMEOUT, "tests")
        begun = time.monotonic()
        (step,) = probe.run(store)
        assert time.monotonic() - begun < TIMEOUT + SLACK
        assert (step.ok, step.field) == (False, "host")
        assert "name server did not answer" in step.message

    def test_it_holds_one_thread_for_a_name_however_many_ask(self, silent: list[str]) -> None:
        def ask() -> None:
            with suppress(TimeoutError):
                connecting.resolve("silent.example", 1, time.monotonic() + TIMEOUT)

        in_threads([ask] * 8)
        ask()
        assert silent == ["silent.example"]

    def test_a_name_that_resolves_leads_to_the_server(self) -> None:
        with serving(redis_that_answers(b"$-1\r\n")) as port:
            store = RedisStore(RedisSettings(host="localhost", port=port), "", 2, "tests")
            assert store.get(a_key()) is None
            store.close()


@pytest.mark.parametrize("hiredis", [True, False], ids=["hiredis", "without hiredis"])
@pytest.mark.parametrize("verb", ["get", "touch", "create_many"])
def test_a_redis_that_answers_twice_at_once_gives_nobody_the_answer_to_anothers_question(
    verb: str, hiredis: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell which of them is to what: none is believed, and that connection asks nothing more."""
    if not hiredis:
        monkeypatch.setattr(wire, "pack_command", None)
        monkeypatch.setattr(wire, "Parser", _RESP2Parser)
    own = {each: a_record(each.encode()) for each in (a_key(), a_key())}
    callers = []

    def talk(caller: socket.socket) -> None:
        callers.append(caller)
        times = itertools.chain([2], itertools.repeat(1)) if len(callers) == 1 else itertools.repeat(1)

        def answer(command: list[bytes]) -> bytes:
            if command[0] != b"GETRANGE":
                return b":1\r\n" * next(times)
            value = pack(own[command[1].decode().rpartition(":")[2]])
            return b"$%d\r\n%b\r\n" % (len(value), value) * next(times)

        redis_that_answers(answer)(caller)

    with serving(talk) as port, contextlib.closing(redis_at(port)) as store:
        with pytest.raises(StoreUnavailable, match="no REDIS server gives"):
            store.get(next(iter(own))) if verb == "get" else every_verb(store)[verb]()
        for key, record in reversed(own.items()):
            assert store.get(key) == record
    assert len(callers) == 2


class TestSizeOfAnAnswerOfRedis:
    def sent_before_the_end(self, head: bytes, verb: Callable[[Probed], object]) -> int:
        """How many bytes a server with a lot to say could send."""
        sent = [0]

        def talk(caller: socket.socket) -> None:
            block = b"$1\r\nx\r\n" * 10_000
            for command in commands(caller):
                if command[0] in {b"AUTH", b"CLIENT"}:
                    caller.sendall(b"+OK\r\n")
                    continue
                caller.sendall(head)
                while True:
                    sent[0] += caller.send(block)

        with serving(talk) as port:
            store = redis_at(port, timeout=5)
            with pytest.raises(StoreUnavailable, match="no REDIS server gives"):
                verb(store)
            store.close()
        return sent[0]

    @pytest.mark.parametrize(
        ("head", "verb", "most"),
        [
            (b"$2147483640\r\n", lambda store: store.get(a_key()), MAX_PAYLOAD_BYTES),
            (b"*2000000\r\n", lambda store: store.get(a_key()), MAX_PAYLOAD_BYTES),
            (b"$2147483640\r\n", lambda store: store.place(), 0),
            (b"$2147483640\r\n", lambda store: store.create(a_key(), a_record()), 0),
            (b"$2147483640\r\n", lambda store: store.count(), 0),
            (b"*100\r\n$2147483640\r\n", lambda store: store.get_many([a_key()] * 100), 10 * 1024 * 1024),
        ],
        ids=["get", "get of a list", "place", "create", "count", "get_many"],
    )
    def test_an_answer_that_does_not_end_is_cut_off(
        self, head: bytes, verb: Callable[[Probed], object], most: int
    ) -> None:
        kernel = 12 * 1024 * 1024  # what the buffers of both sockets may take
        assert self.sent_before_the_end(head, verb) < most + kernel

    def test_large_records_are_read_a_few_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        require(Valkey)
        store = redis_store(Valkey, prefix=f"large-{a_key()[:8]}")
        records = {a_key(): a_record(bytes(MAX_PAYLOAD_BYTES), life=10_000) for _ in range(4)}
        records |= {a_key(): a_record() for _ in range(150)}
        store.create_many(records)
        pages: list[list[bytes]] = []
        together = store._together

        def noted(*asked: Any, **options: Any) -> Any:
            pages.append(together(*asked, **options))
            return pages[-1]

        monkeypatch.setattr(store, "_together", noted)
        assert dict(store.scan()) == records
        assert max(sum(map(len, page)) for page in pages) < MAX_PAYLOAD_BYTES + 3 * 1024 * 1024
        assert store.get_many(records.keys()) == records
        store.delete_many({key: record.version for key, record in records.items()})
        store.close()


def one_of(*answers: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from(answers)


LENGTHS = st.one_of(
    st.integers(-2, 120), one_of(b"2147483647", b"4294967295", b"99999999999999999999", b"-5", b"x", b"")
).map(lambda each: each if isinstance(each, bytes) else str(each).encode())
VALUES = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda whole, at, other: whole[:at] + other + whole[at + len(other) :],
        one_of(pack(a_record(life=10**9)), pack(a_record(user_id="größe", life=10**9))),
        st.integers(0, 40),
        st.binary(max_size=4),
    ),
)
SIMPLE = st.one_of(
    VALUES.map(lambda value: b"$%d\r\n%b\r\n" % (len(value), value)),
    st.builds(lambda length, value: b"$" + length + b"\r\n" + value + b"\r\n", LENGTHS, VALUES),
    st.builds(
        lambda kind, value: kind + value.replace(b"\r\n", b"") + b"\r\n",
        one_of(b"+", b"-", b":", b",", b"("),
        VALUES,
    ),
    st.builds(
        lambda code: b"-" + code + b" x\r\n",
        one_of(
            b"MOVED", b"ASK", b"LOADING", b"NOSCRIPT", b"WRONGTYPE", b"READONLY", b"NOAUTH", b"OOM", b"ERR"
        ),
    ),
    one_of(
        b"+OK\r\n",
        b"$-1\r\n",
        b"_\r\n",
        b"#t\r\n",
        b":0\r\n",
        b":1\r\n",
        b":2\r\n",
        b"$1\r\n0\r\n",
        b"*0\r\n",
    ),
)
NESTED = st.recursive(
    SIMPLE,
    lambda inner: st.builds(
        lambda kind, items, more: kind + b"%d\r\n" % (len(items) + more) + b"".join(items),
        one_of(b"*", b"~", b">", b"%"),
        st.lists(inner, max_size=4),
        st.sampled_from([0, 0, 0, 1, -1]),
    ),
    max_leaves=8,
)
ANSWERS = st.one_of(
    st.binary(max_size=100), NESTED, st.builds(lambda whole, at: whole[:at], NESTED, st.integers(0, 30))
)


class TestAnyAnswerOfRedis:
    """A server can say anything."""

    said: ClassVar[bytes] = b""

    @pytest.fixture(scope="class")
    @classmethod
    def port(cls) -> Iterator[int]:
        def talk(caller: socket.socket) -> None:
            for command in commands(caller):
                if command[0] in {b"AUTH", b"CLIENT"}:
                    caller.sendall(b"+OK\r\n")
                    continue
                caller.sendall(cls.said)
                if not cls.said.startswith(b"-NOSCRIPT"):  # after which the text of the script comes
                    return

        with serving(talk) as port:
            yield port

    @settings(max_examples=examples(1.5), deadline=None, suppress_health_check=list(HealthCheck))
    @given(said=ANSWERS)
    @example(said=b"*2\r\n$1\r\n0\r\n*1\r\n:5\r\n")
    @example(said=b">1\r\n+x\r\n" * 3000)
    @example(said=b"-WRONGTYPE\r\n")
    @example(said=b"%1\r\n-MOVED x\r\n-MOVED x\r\n")  # hiredis 3.5 took the process down
    @example(said=b"*1\r\n" * 3000)
    def test_comes_out_as_something_that_a_caller_knows(self, port: int, said: bytes) -> None:
        type(self).said = said
        store = redis_at(port)
        comes_out_well(store)
        store.close()


WHOLE = document_of(a_record(life=10**9))
ODD = [
    DatetimeMS(2**62),
    DatetimeMS(-1),
    Decimal128("1"),
    Timestamp(1, 1),
    MinKey(),
    Code("x"),
    1.5,
    None,
    True,
]
FIELDS = st.recursive(
    st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.text(max_size=5),
        st.binary(max_size=5),
        st.sampled_from(ODD),
        st.just(WHOLE),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["_id", "id", "n", "firstBatch", "code", "index"]), inner, max_size=4
        ),
    ),
    max_leaves=6,
)
RECORDS = st.builds(
    lambda key, changes: {"_id": key, **WHOLE, **changes},
    st.one_of(st.sampled_from(["", "a", "place", "f" * 64]), FIELDS),
    st.dictionaries(st.sampled_from(list(WHOLE)), FIELDS, max_size=2),
)
WORDS = [
    "n",
    "nModified",
    "cursor",
    "errmsg",
    "code",
    "codeName",
    "writeErrors",
    "writeConcernError",
    "errorLabels",
]
REPLIES = st.one_of(
    st.dictionaries(st.sampled_from(WORDS), FIELDS, max_size=4),
    st.lists(st.one_of(FIELDS, RECORDS), max_size=3).map(
        lambda batch: {"cursor": {"id": 0, "firstBatch": batch}}
    ),
    st.lists(FIELDS, max_size=2).map(lambda faults: {"n": 0, "writeErrors": faults}),
)


# What an old driver leaves to the garbage collector where such an answer was not for it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestAnyAnswerOfMongo:
    said: ClassVar[Callable[[int], bytes]]

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls) -> Iterator[MongoStore]:
        with (
            serving(mongo_that_answers(lambda number, command: cls.said(number))) as port,
            contextlib.closing(mongo_at(port, timeout=2)) as store,
        ):
            yield store

    @settings(max_examples=examples(1.2), deadline=None, suppress_health_check=list(HealthCheck))
    @given(reply=REPLIES, ok=st.sampled_from([1.0, 1, True, 0, 0.0, None, "no", b""]))
    @example(reply={"cursor": {"firstBatch": [7]}}, ok=1)
    @example(reply={"writeErrors": [{"index": 99, "code": 11000}], "n": 0}, ok=1)
    def test_comes_out_as_something_that_a_caller_knows(
        self, store: MongoStore, reply: dict[str, Any], ok: object
    ) -> None:
        document = bson.encode({"ok": ok, **reply})
        type(self).said = staticmethod(lambda number: mongo_message(number, document))
        comes_out_well(store)

    @settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.binary(max_size=40), length=st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)))
    def test_even_if_it_is_no_document(self, data: bytes, length: int | None) -> None:
        """The driver waits for half a second before it asks such a server again."""

        def said(number: int, command: dict[str, Any]) -> bytes:
            message = mongo_message(number, data)
            return message if length is None else struct.pack("<i", length) + message[4:]

        with serving(mongo_that_answers(said)) as port:
            store = mongo_at(port, timeout=0.2)
            comes_out_well(store, {"get", "end", "scan"})
            store.close()


def comes_out_well(store: Probed, verbs: Collection[str] = ()) -> None:
    for name, verb in every_verb(store).items():
        if verbs and name not in verbs:
            continue
        with suppress(StoreUnavailable, SessionTooLarge):
            answer = verb()
            assert may_be(name, answer), (name, answer)


def every_verb(store: Probed) -> dict[str, Callable[[], object]]:
    key, record = a_key(), a_record()
    return {
        "get": lambda: store.get(key),
        "create": lambda: store.create(key, record),
        "replace": lambda: store.replace(key, record, record.version),
        "touch": lambda: store.touch(key, record.expires_at),
        "delete": lambda: store.delete(key),
        "end": lambda: store.end(key, record.expires_at),
        "rotate": lambda: store.rotate(key, record.version, a_key(), record),
        "end_and_replace": lambda: store.end_and_replace(
            {a_key(): 1}, record.expires_at, key, record, record.version
        ),
        "save_both": lambda: store.save_both(
            Saving(key, record, record.version), Saving(a_key(), record, record.version)
        ),
        "scan": lambda: list(itertools.islice(store.scan(), 500)),
        "count": lambda: store.count(at_most=5),
        "get_many": lambda: store.get_many([key, a_key()]),
        "create_many": lambda: store.create_many({key: record}),
        "delete_many": lambda: store.delete_many({key: record.version}),
        "prepare": store.prepare,
        "place": store.place,
        "missing": store.missing,
        "warnings": lambda: list(store.warnings()),
    }


def may_be(name: str, answer: object) -> bool:
    if name in {"get", "end", "prepare", "place", "missing"} and answer is None:
        return True
    kinds: dict[str, type | tuple[type, ...]] = {
        "get": Record, "replace": Outcome, "rotate": Rotation, "end_and_replace": Outcome,
        "save_both": tuple,
        "count": int, "place": str, "missing": str, "scan": list,
        "get_many": dict, "create_many": set, "delete_many": set, "warnings": list,
    }  # fmt: skip
    return isinstance(answer, kinds.get(name, bool))
