"""What the bytes in a store give away (nothing) and what becomes of bytes that somebody changed (no session)."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from django.conf import settings as django_settings
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from sessionpersist.exceptions import SessionTooLarge
from sessionpersist.session import sealing
from sessionpersist.session.sealing import beside
from sessionpersist.stores.base import LIMIT, MAX_PAYLOAD_BYTES, new_version, restamped, revision_of
from tests.engine.support import patiently
from tests.sizes import quick_and_long

KEY = "0123456789abcdefghijklmnopqrstuv"
PLAIN = b'{"cat":"tabby","_auth_user_id":"42"}'
LONG = b'{"cat":"' + b"tabby " * 4000 + b'"}'
FIRST_RELEASE = (
    "0111904fcf9cdede59d7b4ef255817a4475c82c5215487ec5122ea1271ed2785d6f5a2908883a3b8b132533718"
    "79ef67674701ed27ff0d2bb32b283e9ba71e320885c47bc3"
)
BOTH = pytest.mark.parametrize("plain", [PLAIN, LONG], ids=["plain", "compressed"])


def plain_of(opened: sealing.Opened | None) -> bytes | None:
    return opened and opened[0]


@pytest.mark.parametrize("size", [0, 1, 270, 1024, 1025, 100_000])
def test_sealed_content_opens_with_its_key(size: int) -> None:
    plain = os.urandom(size // 2) + b"a" * (size - size // 2)
    assert plain_of(sealing.Sealer(KEY).unseal(sealing.Sealer(KEY).seal(plain))) == plain


@patiently
@given(st.binary(max_size=3000), st.text(min_size=1))
def test_any_content_opens_with_any_key(plain: bytes, key: str) -> None:
    assert plain_of(sealing.Sealer(key).unseal(sealing.Sealer(key).seal(plain))) == plain


def test_format_is_a_format_byte_a_key_id_a_nonce_and_the_sealed_content() -> None:
    payload = sealing.Sealer(KEY).seal(PLAIN)
    assert payload[:1] == b"\x01"
    assert (
        payload[1:5] == sealing.Sealer("another key").seal(PLAIN)[1:5]
    )  # of the secret key, not of the session
    assert len(payload) == 1 + 4 + 12 + len(PLAIN) + 16


def test_content_is_compressed_from_16_kibibytes_on_below_which_its_length_would_tell_of_it() -> None:
    assert sealing.Sealer(KEY).seal(b"a" * 16 * 1024)[:1] == b"\x01"
    compressed = sealing.Sealer(KEY).seal(b"a" * (16 * 1024 + 1))
    assert compressed[:1] == b"\x02"
    assert len(compressed) < 200


def sealed_as_it_is(plain: bytes, form: bytes) -> bytes:
    """What somebody who knows all the keys could have written."""
    sealer, master = sealing.Sealer(KEY), sealing._master(django_settings.SECRET_KEY)
    header, nonce = form + master.key_id, os.urandom(sealing.NONCE)
    return header + nonce + sealer._cipher(master).encrypt(nonce, plain, header)


def test_largest_session_opens_again() -> None:
    plain = b"a" * MAX_PAYLOAD_BYTES
    payload = sealing.Sealer(KEY).seal(plain)
    assert len(payload) < 100_000
    assert plain_of(sealing.Sealer(KEY).unseal(payload)) == plain


def test_session_that_only_compression_makes_small_is_too_large() -> None:
    with pytest.raises(SessionTooLarge, match="7,340,033"):
        sealing.Sealer(KEY).seal(b"a" * (MAX_PAYLOAD_BYTES + 1))


@pytest.mark.parametrize("size", quick_and_long(80_000_000, 400_000_000))
def test_decompression_stops_where_a_session_is_too_large(size: int) -> None:
    """A bomb of 400 MB takes a few kilobytes in a store, and costs the limit, not what it promises."""
    bomb = sealed_as_it_is(zlib.compress(b"A" * size, 1), sealing.ALONE["zlib"])
    assert len(bomb) < MAX_PAYLOAD_BYTES
    tracemalloc.start()
    try:
        assert sealing.Sealer(KEY).unseal(bomb) is None
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_PAYLOAD_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "damage",
    [lambda whole: b"not compressed", lambda whole: whole[:-1], lambda whole: whole[:10], lambda whole: b""],
    ids=["foreign", "one byte short", "a beginning", "nothing"],
)
def test_damaged_bytes_within_a_valid_seal_are_no_session(damage: Callable[[bytes], bytes]) -> None:
    payload = sealed_as_it_is(damage(zlib.compress(LONG, 1)), sealing.ALONE["zlib"])
    assert sealing.Sealer(KEY).unseal(payload) is None


def test_same_content_is_never_the_same_payload() -> None:
    assert len({sealing.Sealer(KEY).seal(PLAIN) for _ in range(20)}) == 20


@BOTH
def test_payload_contains_neither_content_nor_session_key(plain: bytes) -> None:
    payload = sealing.Sealer(KEY).seal(plain)
    for secret in (b"tabby", b"_auth_user_id", KEY.encode(), KEY.encode().hex().encode()):
        assert secret not in payload


@BOTH
def test_any_changed_byte_makes_it_no_session(plain: bytes) -> None:
    payload = sealing.Sealer(KEY).seal(plain)
    for place in range(len(payload)):
        for flip in (0x01, 0x03, 0x80, 0xFF):
            changed = bytearray(payload)
            changed[place] ^= flip
            assert sealing.Sealer(KEY).unseal(bytes(changed)) is None, f"byte {place} changed by {flip:#x}"


@BOTH
def test_payload_cut_at_any_length_is_no_session(plain: bytes) -> None:
    payload = sealing.Sealer(KEY).seal(plain)
    for length in range(len(payload)):
        assert sealing.Sealer(KEY).unseal(payload[:length]) is None
    assert sealing.Sealer(KEY).unseal(payload + b"\x00") is None


@patiently
@given(st.binary(max_size=200))
def test_any_bytes_are_no_session(payload: bytes) -> None:
    assert sealing.Sealer(KEY).unseal(payload) is None


@pytest.mark.parametrize("form", [b"\x00", b"\x03", b"{", b"\xff"])
def test_unknown_format_is_no_session(form: bytes) -> None:
    assert sealing.Sealer(KEY).unseal(form + sealing.Sealer(KEY).seal(PLAIN)[1:]) is None


def test_payload_of_another_row_does_not_open() -> None:
    payload = sealing.Sealer(KEY).seal(PLAIN)
    assert sealing.Sealer(KEY[:-1] + "x").unseal(payload) is None
    assert sealing.Sealer(KEY.upper()).unseal(payload) is None


def test_secret_key_alone_opens_nothing() -> None:
    """A thief with the store and the site's secret key knows the stored key, not the session key."""
    assert sealing.Sealer(sealing.stored_key(KEY)).unseal(sealing.Sealer(KEY).seal(PLAIN)) is None


def test_rotated_secret_key_opens_through_the_fallbacks_and_seals_with_the_new_one(
    settings: Settings,
) -> None:
    old = sealing.Sealer(KEY).seal(PLAIN)
    settings.SECRET_KEY_FALLBACKS = ["even older", settings.SECRET_KEY]
    settings.SECRET_KEY = "the new secret key"
    assert plain_of(sealing.Sealer(KEY).unseal(old)) == PLAIN
    new = sealing.Sealer(KEY).seal(PLAIN)
    assert new[1:5] != old[1:5]
    settings.SECRET_KEY_FALLBACKS = []
    assert plain_of(sealing.Sealer(KEY).unseal(new)) == PLAIN
    assert sealing.Sealer(KEY).unseal(old) is None


def test_secret_key_of_bytes_is_that_of_the_same_text(settings: Settings) -> None:
    settings.SECRET_KEY = "a secret key"
    payload = sealing.Sealer(KEY).seal(PLAIN)
    settings.SECRET_KEY = b"a secret key"
    assert plain_of(sealing.Sealer(KEY).unseal(payload)) == PLAIN


def test_stored_key_is_sha_256_and_tells_keys_apart() -> None:
    assert sealing.stored_key("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sealing.stored_key("key-\udc80") != sealing.stored_key("key-\udc81")


def test_stored_key_and_payload_key_are_unrelated() -> None:
    """The name under which a store knows a session must not be what opens it."""
    payload = sealing.Sealer(KEY).seal(PLAIN)
    assert bytes.fromhex(sealing.stored_key(KEY)) not in payload
    assert sealing.stored_key(KEY).encode() not in payload


def test_a_payload_of_the_first_release_still_opens(settings: Settings) -> None:
    """Sealed by 0.1.0 with this SECRET_KEY: an upgrade logs nobody out."""
    settings.SECRET_KEY = "of-the-first-release"
    payload = bytes.fromhex(FIRST_RELEASE)
    assert plain_of(sealing.Sealer(KEY).unseal(payload)) == PLAIN
    assert sealing.Sealer(KEY[:-1] + "x").unseal(payload) is None
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another", ["of-the-first-release"]
    assert plain_of(sealing.Sealer(KEY).unseal(payload)) == PLAIN


class TestAWholeRecord:
    """From a review: whoever can write to the store could prolong a session, or give it another owner."""

    SEALED = beside(new_version(3), 1_700_000_000_000, "42")
    END = 1_800_000_000_000

    @BOTH
    def test_opens_in_its_own_record_and_tells_its_end(self, plain: bytes) -> None:
        payload = sealing.Sealer(KEY).seal(plain, self.SEALED, self.END)
        assert sealing.Sealer(KEY).unseal(payload, self.SEALED) == (plain, self.END)

    @BOTH
    def test_any_byte_beside_it_counts(self, plain: bytes) -> None:
        payload = sealing.Sealer(KEY).seal(plain, self.SEALED, self.END)
        for place in range(len(self.SEALED)):
            other = bytearray(self.SEALED)
            other[place] ^= 1
            assert sealing.Sealer(KEY).unseal(payload, bytes(other)) is None
        assert sealing.Sealer(KEY).unseal(payload, self.SEALED + b"0") is None

    def test_it_is_not_opened_as_one_of_an_earlier_release(self) -> None:
        payload = sealing.Sealer(KEY).seal(PLAIN, self.SEALED, self.END)
        assert sealing.Sealer(KEY).unseal(b"\x01" + payload[1:]) is None

    def test_the_version_may_be_restamped_by_a_handover_and_not_be_another(self) -> None:
        version = new_version(3)
        payload = sealing.Sealer(KEY).seal(PLAIN, beside(version, 1, "42"), self.END)
        for _ in range(20):
            carried = restamped(version, 4)
            assert revision_of(carried) == 4
            assert plain_of(sealing.Sealer(KEY).unseal(payload, beside(carried, 1, "42"))) == PLAIN
        assert sealing.Sealer(KEY).unseal(payload, beside(new_version(3), 1, "42")) is None

    def test_what_0_2_0_sealed_opens_beside_anything_and_has_no_end_of_its_own(self) -> None:
        payload = sealing.Sealer(KEY).seal(PLAIN)
        assert sealing.Sealer(KEY).unseal(payload, self.SEALED) == (PLAIN, LIMIT - 1)
