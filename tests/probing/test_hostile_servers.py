"""Whatever a server says, a probe ends in steps with printable texts, and raises nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_django import DjangoDbBlocker, Settings

from sessionpersist.configuration import probing
from sessionpersist.stores.probe import Step
from sessionpersist.stores.settings import DatabaseSettings, MongoSettings, RedisSettings
from sessionpersist.stores.texts import LONGEST_TEXT
from tests.engine.support import patiently
from tests.probing.answering import Answering
from tests.sizes import examples
from tests.stores.databases import added_database

pytestmark = pytest.mark.xdist_group("hanging")

PASSWORD = "a-password-that-no-text-shows"
TIMEOUT = 0.3  # seconds

REDIS = {
    "nothing": b"",
    "zeros": b"\0" * 100,
    "http": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "a tls alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "pong to all": b"+PONG\r\n",
    "ok to all": b"+OK\r\n",
    "null": b"$-1\r\n",
    "no array": b"*-1\r\n",
    "a text": b"$5\r\nhello\r\n",
    "a long promise": b"$2147483647\r\nx",
    "a negative promise": b"$-7\r\n",
    "a number": b":9223372036854775807\r\n",
    "a number that is too large": b":99999999999999999999999\r\n",
    "no number": b":abc\r\n",
    "a map": b"%1\r\n+a\r\n+b\r\n",
    "a set": b"~2\r\n+a\r\n+b\r\n",
    "a push": b">2\r\n+message\r\n+b\r\n",
    "a push without end": b">1000\r\n+x\r\n",
    "a null": b"_\r\n",
    "a truth": b"#t\r\n",
    "no truth": b"#x\r\n",
    "not a number": b",nan\r\n",
    "a big number": b"(12345678901234567890123\r\n",
    "an error without a word": b"-\r\n",
    "an error of one word": b"-ERR\r\n",
    "an error that moved": b"-MOVED\r\n",
    "an error that moved nowhere": b"-MOVED 1 nowhere\r\n",
    "an error that asks": b"-ASK x y\r\n",
    "loading": b"-LOADING\r\n",
    "no authentication": b"-NOAUTH \x1b]0;title\x07\r\n",
    "an error in no encoding": b"-ERR \xff\xfe\x80\r\n",
    "an error of many letters": b"-ERR " + b"x" * 100_000 + b"\r\n",
    "deeply nested": b"*1\r\n" * 10_000,
    "many numbers": b"*3\r\n:1\r\n:2\r\n:3\r\n",
    "ends in the midst": b"*3\r\n$5\r\nhel",
}

MONGO: dict[str, dict[str, Any]] = {
    "nothing": {},
    "ok is a text": {"ok": "yes"},
    "ok is null": {"ok": None},
    "ok alone": {"ok": 1},
    "a code alone": {"ok": 0, "code": "x"},
    "an error with escapes": {"ok": 0, "errmsg": "\x1b]0;title\x07\r\n\u202e", "code": 2},
    "an error that is a number": {"ok": 0, "errmsg": 7, "code": None},
    "wire versions are texts": {"ok": 1, "ismaster": True, "maxWireVersion": "x", "minWireVersion": None},
    "wire version of tomorrow": {"ok": 1, "ismaster": True, "maxWireVersion": 1000, "minWireVersion": 999},
    "a size that is a text": {"ok": 1, "ismaster": True, "maxWireVersion": 21, "maxBsonObjectSize": "x"},
    "a set of hosts that is a number": {"ok": 1, "setName": "a", "hosts": 5, "maxWireVersion": 21},
    "a set without hosts": {"ok": 1, "setName": "a", "secondary": True, "maxWireVersion": 21, "hosts": []},
    "a primary without a cursor": {
        "ok": 1,
        "isWritablePrimary": True,
        "ismaster": True,
        "maxWireVersion": 21,
    },
    "a cursor of nothing": {
        "ok": 1,
        "isWritablePrimary": True,
        "ismaster": True,
        "maxWireVersion": 21,
        "cursor": None,
        "n": "x",
        "nModified": None,
    },
    "a cursor of foreign documents": {
        "ok": 1,
        "isWritablePrimary": True,
        "ismaster": True,
        "maxWireVersion": 21,
        "cursor": {"id": 0, "ns": "a.b", "firstBatch": [{"_id": 7}, {}]},
        "n": 1,
        "nModified": 1,
    },
}


@pytest.fixture(autouse=True)
def impatient(settings: Settings, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    settings.SESSIONPERSIST = {"TIMEOUT_SECONDS": TIMEOUT}
    with django_db_blocker.unblock():
        yield


# PyMongo's monitor dies of some answers; whoever waits for it gives up in time.
its_own_threads = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def op_msg(document: dict[str, Any]) -> Any:
    """What answers each request of a MongoDB driver with this document."""

    def answer(asked: bytes) -> bytes:
        if len(asked) < 16:
            return b""
        (request,) = struct.unpack_from("<i", asked, 4)
        body = struct.pack("<IB", 0, 0) + bson.encode(document)
        return struct.pack("<iiii", 16 + len(body), 1, request, 2013) + body

    return answer


def is_told(steps: list[Step]) -> None:
    """The last step failed, and what there is to read is printable and hides the password."""
    assert not steps[-1].ok
    for step in steps:
        for text in (step.message, step.detail):
            assert text.isprintable()
            assert len(text) <= LONGEST_TEXT
            assert PASSWORD not in text


def probe_redis(server: Answering) -> list[Step]:
    return probing.probe(RedisSettings(host="127.0.0.1", port=server.port, password=PASSWORD), prepare=True)


def probe_mongo(server: Answering) -> list[Step]:
    where = MongoSettings(host="127.0.0.1", port=server.port, database="app")
    return probing.probe(where, prepare=True)


def probe_database(server: Answering, scheme: str) -> list[Step]:
    with added_database("fake", f"{scheme}://app:{PASSWORD}@127.0.0.1:{server.port}/app") as alias:
        return probing.probe(DatabaseSettings(database=alias), prepare=True)


@pytest.mark.parametrize("hangs_up", [False, True], ids=["stays", "hangs up"])
@pytest.mark.parametrize("said", REDIS.values(), ids=REDIS.keys())
def test_a_fake_redis_is_a_step_that_failed(said: bytes, hangs_up: bool) -> None:
    with Answering(said, hangs_up=hangs_up) as server:
        is_told(probe_redis(server))


@its_own_threads
@pytest.mark.parametrize("document", MONGO.values(), ids=MONGO.keys())
def test_a_fake_mongodb_is_a_step_that_failed(document: dict[str, Any]) -> None:
    with Answering(op_msg(document)) as server:
        is_told(probe_mongo(server))


POSTGRESQL = {
    "nothing": b"",
    "no tls, then nothing": b"N",
    "an error without end": b"E\x00\x00\x00\x10SFATAL\x00C28P01\x00",
    "an error with escapes": b"E\x00\x00\x00\x1eSFATAL\x00C28P01\x00M\x1b]0;x\x07yz\x00\x00",
    "an unknown way to log in": b"R\x00\x00\x00\x08\x00\x00\x00\x63",
    "logged in, and then nothing": b"R\x00\x00\x00\x08\x00\x00\x00\x00",
    "logged in and ready, with any answer": b"R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I",
    "http": REDIS["http"],
    "zeros": b"\0" * 100,
}


@pytest.mark.parametrize("said", POSTGRESQL.values(), ids=POSTGRESQL.keys())
def test_a_fake_postgresql_is_a_step_that_failed(said: bytes) -> None:
    with Answering(said) as server:
        is_told(probe_database(server, "postgres"))


def packet(content: bytes, number: int = 0) -> bytes:
    return len(content).to_bytes(3, "little") + bytes([number]) + content


GREETING = b"\x0a8.0.0\0" + b"\x01\0\0\0" + b"saltsalt\0" + b"\xff\xff\x21\x02\0\xff\xff\x15" + b"\0" * 10
MARIADB = {
    "nothing": b"",
    "an empty packet": packet(b""),
    "a version without end": packet(b"\x0a8.0.0"),
    "half a greeting": packet(GREETING[:12]),
    "an old protocol": packet(b"\x09x"),
    "an error": packet(b"\xff\x15\x04#28000Access \x1b]0;x\x07 denied"),
    "an error without a code": packet(b"\xff"),
    "a greeting, then nonsense": packet(GREETING + b"saltsaltsalt\0mysql_native_password\0")
    + packet(b"\x7f", 2),
    "a packet without end": b"\xff\xff\xff\x00abc",
    "http": REDIS["http"],
    "zeros": b"\0" * 100,
}


@pytest.mark.parametrize("said", MARIADB.values(), ids=MARIADB.keys())
def test_a_fake_mariadb_is_a_step_that_failed(said: bytes) -> None:
    with Answering(said, greets=True) as server:
        is_told(probe_database(server, "mysql"))


NOISE = st.binary(max_size=200)
REPLY = st.builds(
    lambda kind, body, end: kind + body + end,
    st.sampled_from([b"+", b"-", b":", b"$", b"*", b"%", b"~", b">", b"#", b",", b"(", b"!", b"=", b"_"]),
    st.sampled_from([b"1", b"0", b"-1", b"7", b"OK", b"ERR x", b"\xff", b"MOVED 1 a:1", b""]),
    st.sampled_from([b"\r\n", b"\r\nx\r\n", b"\r\n+a\r\n", b""]),
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)
NAMES = [
    "ok",
    "code",
    "errmsg",
    "cursor",
    "n",
    "hosts",
    "setName",
    "maxWireVersion",
    "ismaster",
    "writeErrors",
]
few = settings(patiently, max_examples=examples())


@few
@given(st.lists(REPLY, max_size=4).map(b"".join) | NOISE)
def test_a_redis_that_says_anything_is_a_step_that_failed(said: bytes) -> None:
    with Answering(said, hangs_up=True) as server:
        is_told(probe_redis(server))


@its_own_threads
@settings(patiently, max_examples=examples(0.2))  # each takes the whole time-out
@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_a_mongodb_that_says_anything_is_a_step_that_failed(document: dict[str, Any]) -> None:
    with Answering(op_msg({"ismaster": True, "maxWireVersion": 21, **document})) as server:
        is_told(probe_mongo(server))


@few
@given(NOISE)
def test_a_mariadb_that_says_anything_is_a_step_that_failed(said: bytes) -> None:
    with Answering(packet(said), greets=True, hangs_up=True) as server:
        is_told(probe_database(server, "mysql"))
