"""Large sessions are compressed by what the project chooses, and any node that can reads what any other wrote."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable

import pytest
import zstandard
from django.conf import settings as django_settings
from pytest_django import Settings

from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.session import compressing, sealing
from sessionpersist.session.sealing import Sealer, beside
from sessionpersist.stores.base import MAX_PAYLOAD_BYTES, new_version
from sessionpersist.testing import override_login_configuration
from tests.sizes import quick_and_long

KEY = "0123456789abcdefghijklmnopqrstuv"
LONG = b'{"cat":"' + b"tabby " * 4000 + b'"}'
BESIDE = beside(new_version(3), 1_700_000_000_000, "42")
END = 1_800_000_000_000


def choose(settings: Settings, method: str) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "COMPRESSION": method}


@pytest.fixture
def without_zstandard(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have this node lack the package from now on."""
    return lambda: monkeypatch.setattr(compressing, "zstandard", None)


@pytest.mark.parametrize(("method", "form"), [("none", b"\x03"), ("zlib", b"\x04"), ("zstd", b"\x05")])
def test_a_large_session_is_compressed_as_the_project_chooses_and_opened_whatever_it_chooses(
    method: str, form: bytes, settings: Settings
) -> None:
    choose(settings, method)
    payload = Sealer(KEY).seal(LONG, BESIDE, END)
    assert payload[:1] == form
    assert (len(payload) < len(LONG) / 10) == (method != "none")
    choose(settings, "zlib")
    assert Sealer(KEY).unseal(payload, BESIDE) == (LONG, END)


@pytest.mark.parametrize("method", ["zlib", "zstd"])
def test_what_compression_would_hardly_make_smaller_is_left_as_it_is(method: str, settings: Settings) -> None:
    choose(settings, method)
    noise = os.urandom(20_000)
    payload = Sealer(KEY).seal(noise, BESIDE, END)
    assert payload[:1] == b"\x03"
    assert Sealer(KEY).unseal(payload, BESIDE) == (noise, END)


def test_beside_nodes_of_an_old_release_only_zlib_is_used(settings: Settings) -> None:
    choose(settings, "zstd")
    assert Sealer(KEY).seal(LONG)[:1] == b"\x02"


def test_a_node_that_lacks_what_is_chosen_takes_zlib(
    settings: Settings, without_zstandard: Callable[[], None]
) -> None:
    choose(settings, "zstd")
    without_zstandard()
    assert Sealer(KEY).seal(LONG, BESIDE, END)[:1] == b"\x04"


def test_a_session_that_this_node_can_not_decompress_is_an_outage_and_not_a_logout(
    settings: Settings, without_zstandard: Callable[[], None]
) -> None:
    choose(settings, "zstd")
    with override_login_configuration():
        session = SessionStore()
        session["cat"] = "tabby " * 4000
        session.save()
        without_zstandard()
        again = SessionStore(session.session_key)
        with pytest.raises(StoreMisconfigured, match=r"sessionpersist\[fast\]"):
            again.get("cat")
        assert again.outage is not None
        assert again.session_key == session.session_key


def test_what_is_not_authentic_is_no_session_even_where_it_could_not_be_decompressed(
    settings: Settings, without_zstandard: Callable[[], None]
) -> None:
    choose(settings, "zstd")
    payload = Sealer(KEY).seal(LONG, BESIDE, END)
    without_zstandard()
    assert Sealer(KEY).unseal(payload[:-1] + bytes([payload[-1] ^ 1]), BESIDE) is None


def sealed_as_it_is(content: bytes) -> bytes:
    """What somebody who knows all the keys could have written."""
    sealer, master = Sealer(KEY), sealing._master(django_settings.SECRET_KEY)
    header, nonce = sealing.WHOLE["zstd"] + master.key_id, os.urandom(sealing.NONCE)
    plain = END.to_bytes(sealing.END) + content
    return header + nonce + sealer._cipher(master).encrypt(nonce, plain, header + BESIDE)


@pytest.mark.parametrize(
    "content",
    [
        b"not compressed",
        b"",
        zstandard.compress(LONG)[:-1],
        zstandard.compress(LONG)[:10],
        zstandard.ZstdCompressor(write_content_size=False).compress(LONG),
        zstandard.compress(b"a" * (MAX_PAYLOAD_BYTES + 1)),
    ],
    ids=["foreign", "nothing", "one byte short", "a beginning", "without its size", "too large"],
)
def test_damaged_bytes_within_a_valid_seal_are_no_session(content: bytes) -> None:
    assert Sealer(KEY).unseal(sealed_as_it_is(content), BESIDE) is None


@pytest.mark.parametrize("size", quick_and_long(40_000_000, 400_000_000))
def test_a_bomb_costs_nothing(size: int) -> None:
    bomb = sealed_as_it_is(zstandard.compress(b"A" * size, 1))
    tracemalloc.start()
    try:
        assert Sealer(KEY).unseal(bomb, BESIDE) is None
        assert tracemalloc.get_traced_memory()[1] < MAX_PAYLOAD_BYTES
    finally:
        tracemalloc.stop()


def test_the_largest_session_opens_again(settings: Settings) -> None:
    choose(settings, "zstd")
    plain = b"a" * MAX_PAYLOAD_BYTES
    assert Sealer(KEY).unseal(Sealer(KEY).seal(plain, BESIDE, END), BESIDE) == (plain, END)
