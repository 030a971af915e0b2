"""How a record is written in the In-Memory store: a head of fixed size, the user's id, the payload."""

from __future__ import annotations

import struct

from sessionpersist.exceptions import ForeignRecord
from sessionpersist.stores.base import (
    ENDED,
    LONGEST_USER_ID,
    MAX_PAYLOAD_BYTES,
    Record,
    validated,
)
from sessionpersist.stores.sql import values_of

FORMAT = 1
HEAD = struct.Struct("<BHqqq")  # format, bytes of the user's id, version, created_at, expires_at
EXPIRY = struct.Struct("<q")
EXPIRY_AT = HEAD.size - EXPIRY.size
LONGEST_USER = 4 * LONGEST_USER_ID  # bytes, in UTF-8
LONGEST = HEAD.size + LONGEST_USER + MAX_PAYLOAD_BYTES  # bytes


def encoded(record: Record) -> bytes:
    """Return the bytes that stand for a record. Raises struct.error for a number beyond 64 bits."""
    payload, version, created_at, expires_at, user_id = values_of(record)
    user = user_id.encode()
    return HEAD.pack(FORMAT, len(user), version, created_at, expires_at) + user + payload


def decoded(value: bytes) -> Record:
    """Return the record that bytes stand for. Raises ForeignRecord."""
    head = head_of(value)
    if head is None:
        raise ForeignRecord("What was read is not a record.")
    version, created_at, expires_at, begin = head
    user_id = str(value[HEAD.size : begin], "utf-8", "replace") if begin > HEAD.size else ""
    return validated(value[begin:], version, created_at, expires_at, user_id[:LONGEST_USER_ID])


def head_of(value: bytes | memoryview) -> tuple[int, int, int, int] | None:
    """Return version, created_at, expires_at and where the payload begins; None for what is not a record."""
    if len(value) < HEAD.size:
        return None
    form, letters, version, created_at, expires_at = HEAD.unpack_from(value)
    begin = HEAD.size + letters
    longest = 1 if version == ENDED else MAX_PAYLOAD_BYTES  # an ended record has a reason
    sound = form == FORMAT and letters <= LONGEST_USER and 0 <= len(value) - begin <= longest
    if sound and min(version, created_at, expires_at) >= 0:
        return version, created_at, expires_at, begin
    return None


def is_live(head: tuple[int, int, int, int] | None, now: int) -> bool:
    """Return whether a session is there: not expired, not ended."""
    return head is not None and head[2] > now and head[0] != ENDED


def with_expiry(value: memoryview, expires_at: int) -> bytes:
    """Return the same record with another expiry."""
    return bytes(value[:EXPIRY_AT]) + EXPIRY.pack(expires_at) + bytes(value[HEAD.size :])
