"""A session as bytes: what ``SESSION_SERIALIZER`` makes of it.

Django's serializer, which most projects have, is JSON by the standard library. Its bytes are made here in less time: by
``orjson`` where that is installed (the extra ``fast``). Where the two could differ, the standard library does it, so
any node reads and writes what any other does, with the extra or without.
"""

from __future__ import annotations

import json
import marshal
import re
from typing import Any

from django.conf import settings
from django.core.signing import JSONSerializer
from django.utils.module_loading import import_string


def _orjson() -> Any:
    """Return the module; None where the extra is not installed, or in a subinterpreter, in which it does not run."""
    try:
        import orjson
    except ImportError:
        return None
    return orjson


orjson = _orjson()
STRICT = orjson and (
    orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
)
# json.dumps() and json.loads() make such ones, or find them, each time.
ENCODER, DECODER = json.JSONEncoder(separators=(",", ":")), json.JSONDecoder()

# Small floats have an exponent for Python (1e-05), and none, or one of one digit, for orjson.
SMALL, SMALLER = b"0.0000", re.compile(rb"e-\d[],}]")
DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
LONG = b"0" * 19  # digits: such a number may be beyond 64 bits, and become a float
# The one character of ASCII that JSON need not escape, and Python does.
DELETE, DELETE_ESCAPED = b"\x7f", b"\\u007f"


_chosen: type[Any] | None = None


def chosen() -> type[Any]:
    """Return SESSION_SERIALIZER, which Django would look up for each session."""
    global _chosen
    if _chosen is None:
        _chosen = import_string(settings.SESSION_SERIALIZER)
    return _chosen


def reset() -> None:
    """A test has chosen another one."""
    global _chosen
    _chosen = None


def dumps(serializer: type[Any], data: Any) -> bytes:
    """Return what ``serializer`` makes of a session, or of the roster of a user. Raises what it raises."""
    if serializer is not JSONSerializer:
        return bytes(serializer().dumps(data))
    made = None if orjson is None else _dumped(data)
    return ENCODER.encode(data).encode("latin-1") if made is None else made


def loads(serializer: type[Any], plain: bytes) -> Any:
    """Return what ``serializer`` reads in these bytes. Raises what it raises."""
    if serializer is not JSONSerializer:
        return serializer().loads(plain)
    if orjson is not None and plain.isascii() and LONG not in plain.translate(DIGITS):
        try:
            return orjson.loads(plain)
        except ValueError:
            pass  # such as NaN and half of a surrogate pair, which Python reads
    return DECODER.decode(plain.decode("latin-1"))


def _dumped(data: Any) -> bytes | None:
    """Return what the standard library would make of it; None where that is not certain.

    Only the exact types of JSON, and tuples, get as far as this: orjson also takes UUIDs and enumerations, which
    ``marshal`` refuses, and that takes sets, which orjson refuses.
    """
    try:
        made = orjson.dumps(data, option=STRICT)
        marshal.dumps(data)
    except (TypeError, ValueError):
        return None
    has_nan = b"null" in made and orjson.loads(made) != data
    if SMALL in made or SMALLER.search(made) or has_nan:
        return None
    escaped = made if made.isascii() else _escaped(made)
    return escaped and escaped.replace(DELETE, DELETE_ESCAPED)


def _escaped(made: bytes) -> bytes | None:
    """Write what is beyond ASCII as the standard library does; None where there are backslashes in the texts, which
    could be taken for those of an escape, or characters that take two escapes."""
    if b"\\\\" in made:
        return None
    escaped = made.decode().encode("ascii", "backslashreplace")
    return None if b"\\U" in escaped else escaped.replace(b"\\x", b"\\u00")
