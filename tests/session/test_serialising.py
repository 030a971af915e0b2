"""Sessions are serialised faster than by Django's JSON serializer, and to the same bytes; with orjson and without."""

from __future__ import annotations

import datetime
import enum
import json
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from django.core.signing import JSONSerializer
from django.utils.functional import lazystr
from hypothesis import example, given
from hypothesis import strategies as st

from sessionpersist.session import serialising
from tests.engine.serializers import PickleSerializer
from tests.engine.support import patiently

# Halves of surrogate pairs, too, which Python writes and reads.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
NUMBERS = st.integers() | st.integers(-(2**65), 2**65) | st.floats()
KEYS = TEXTS | st.integers() | st.booleans() | st.none() | st.floats()
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)
SESSIONS = st.dictionaries(TEXTS, VALUES, max_size=5)
NUMERALS = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@pytest.fixture(params=["orjson", "the standard library"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to serialise, one after the other."""
    if request.param == "the standard library":
        monkeypatch.setattr(serialising, "orjson", None)
    return str(request.param)


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


class Point(NamedTuple):
    x: int
    y: float


@dataclass
class Card:
    suit: str


def dumped(data: Any) -> bytes | str:
    """What Django's serializer makes of it, or the type of its error."""
    try:
        return JSONSerializer().dumps(data)
    except Exception as error:
        return type(error).__name__


def ours(data: Any) -> bytes | str:
    """The same by this app."""
    try:
        return serialising.dumps(JSONSerializer, data)
    except Exception as error:
        return type(error).__name__


@patiently
@given(SESSIONS)
@example({"a": 0.00001, "b": 1e16, "c": 1.5e-300, "d": -0.0, "e": 5e-324, "f": 1e22})
@example({"a": 1e-7})
@example({"a": [-2.5e-9]})
@example({"a": None, "b": float("nan")})
@example({"a": None, "b": (1, 2)})
@example({"a": "\x7f\\\x7f", "\x7fé": "\U0001f600 \u2028"})
@example({"a\x7f": "\\\x7f"})
@example({"é": "\\xe9"})
@example({"é": "Ж\u2028", "e": "\xff\x80"})
@example({"a": 2**64, "b": 2**64 - 1, "c": -(2**63) - 1})
def test_bytes_are_those_of_djangos_serializer(data: dict[str, Any]) -> None:
    assert ours(data) == dumped(data)


@patiently
@given(SESSIONS)
@example({"a": 2**64, "b": 10**18, "c": 10**19, "d": -(10**19), "e": float("inf"), "f": "\ud800"})
def test_what_was_written_is_read_as_djangos_serializer_reads_it(data: dict[str, Any]) -> None:
    plain = JSONSerializer().dumps(data)
    assert repr(serialising.loads(JSONSerializer, plain)) == repr(JSONSerializer().loads(plain))


@patiently
@given(NUMERALS)
@example("1e400")
@example("-0")
@example("18446744073709551616")
def test_numbers_that_others_wrote_are_read_as_djangos_serializer_reads_them(numeral: str) -> None:
    plain = b'{"n":%s}' % numeral.encode()
    assert repr(serialising.loads(JSONSerializer, plain)) == repr(JSONSerializer().loads(plain))


REFUSED = {
    "uuid": uuid.UUID(int=1),
    "enumeration": Colour.RED,
    "date": datetime.date(2026, 1, 2),
    "moment": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "decimal": Decimal("1.5"),
    "dataclass": Card("hearts"),
    "bytes": b"bytes",
    "set": {1},
    "lazy text": lazystr("text"),
    "tuple as a key": {(1, 2): 3},
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_what_djangos_serializer_refuses_is_refused(value: object, way: str) -> None:
    with pytest.raises(TypeError):
        serialising.dumps(JSONSerializer, {"nested": [{"value": value}]})


SPECIAL = {
    "text enumeration": Word.RED,
    "number enumeration": Number.ONE,
    "subclass of str": Text("text"),
    "subclass of dict": OrderedDict(b=1, a=2),
    "named tuple": Point(1, 2.5),
    "keys": {1: "int", 1.5: "float", None: "none", False: "bool"},
    "lowest and highest": [-(2**63), 2**63, 2**64 - 1],
}


@pytest.mark.parametrize("value", SPECIAL.values(), ids=SPECIAL)
def test_what_orjson_refuses_and_djangos_serializer_takes_is_taken(value: object, way: str) -> None:
    assert ours({"nested": [value]}) == dumped({"nested": [value]})


def test_a_session_in_itself_is_refused_as_djangos_serializer_refuses_it(way: str) -> None:
    data: dict[str, Any] = {}
    data["self"] = data
    with pytest.raises(ValueError, match="Circular"):
        serialising.dumps(JSONSerializer, data)


def test_a_deep_session_is_written_and_read(way: str) -> None:
    data: dict[str, Any] = {}
    for _ in range(300):
        data = {"deeper": data}
    plain = serialising.dumps(JSONSerializer, data)
    assert serialising.loads(JSONSerializer, plain) == data


@pytest.mark.parametrize("plain", [b"", b"{", b"[1,]", b'{"a":\x00}', b'"\x01"', b"\xff", b"{} {}"])
def test_what_is_no_json_is_refused(plain: bytes, way: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        serialising.loads(JSONSerializer, plain)


@pytest.mark.parametrize("charset", ["latin-1", "utf-8"])
def test_letters_beyond_ascii_are_read_as_djangos_serializer_reads_them(charset: str, way: str) -> None:
    """As Latin-1. Neither writes any, so these bytes are a project's own."""
    plain = '{"name":"Zoë"}'.encode(charset)
    assert serialising.loads(JSONSerializer, plain) == JSONSerializer().loads(plain)


def test_another_serializer_does_it_itself(way: str) -> None:
    plain = serialising.dumps(PickleSerializer, {"when": datetime.date(2026, 1, 2)})
    assert serialising.loads(PickleSerializer, plain) == {"when": datetime.date(2026, 1, 2)}


class Compact(JSONSerializer):
    """A project's own, which must be asked."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps({"wrapped": obj}).encode()


def test_a_subclass_of_djangos_serializer_is_another_one(way: str) -> None:
    assert serialising.dumps(Compact, {"a": 1}) == b'{"wrapped": {"a": 1}}'


@pytest.mark.parametrize(
    "data", [{"cart": [{"sku": "1", "price": 2.5}]}, {"name": "Żółć"}, {"coupon": None}], ids=repr
)
def test_an_ordinary_session_is_left_to_orjson(data: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = dumped(data)
    assert isinstance(plain, bytes)
    monkeypatch.setattr(serialising, "ENCODER", None)
    monkeypatch.setattr(serialising, "DECODER", None)
    assert serialising.dumps(JSONSerializer, data) == plain
    assert serialising.loads(JSONSerializer, plain) == data
