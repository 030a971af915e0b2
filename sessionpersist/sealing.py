"""What the bytes in a store mean: session key -> stored key, serialised session <-> sealed payload.

A payload is encrypted with AES-256-GCM under a key that is derived from *both* the site's secret key and the user's
session key: keyed BLAKE2b (RFC 7693), which is a MAC of its own and takes a quarter of the time of HMAC. A store knows
only a hash of the session key, so a thief who holds the store and the site's secret key still reads nothing, and a
payload that was moved to another row does not open.

    byte  0      format: 1 plain, 2 zlib-compressed
    bytes 1-4    id of the secret key it was sealed with
    bytes 5-16   nonce
    the rest     ciphertext and tag; bytes 0-4 are authenticated with it

A session has a size, ``MAX_PAYLOAD_BYTES``, before it is compressed as well as sealed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.utils.encoding import force_bytes

from sessionpersist.stores import base
from sessionpersist.stores.base import check_size

PLAIN, COMPRESSED = b"\x01", b"\x02"
COMPRESS_ABOVE = 1024  # bytes; below that zlib costs more time than it saves room
HEADER, NONCE = 5, 12  # bytes


def stored_key(session_key: str) -> str:
    """Return the only name by which a store knows a session: SHA-256 in 64 hexadecimal digits."""
    return hashlib.sha256(_bytes(session_key)).hexdigest()


class Master(NamedTuple):
    """What the keys of all payloads are derived from, and how."""

    key_id: bytes
    secret: bytes
    derive: Callable[[bytes, bytes], bytes]


class Sealer:
    """What seals and opens the payloads of one session. It keeps its keys for as long as it is used."""

    def __init__(self, session_key: str) -> None:
        self.session_key, self.stored_key = session_key, stored_key(session_key)
        self._ciphers: dict[Master, AESGCM] = {}

    def seal(self, plain: bytes) -> bytes:
        """Encrypt a serialised session so that only the holder of its session key can open it.

        Raises SessionTooLarge: the limit holds for the session itself, as small as it may become, for whoever reads it
        has to bear all of it.
        """
        check_size(plain)
        master = _master(settings.SECRET_KEY)
        form = PLAIN
        if len(plain) > COMPRESS_ABOVE:
            form, plain = COMPRESSED, zlib.compress(plain, 1)
        header, nonce = form + master.key_id, os.urandom(NONCE)
        return header + nonce + self._cipher(master).encrypt(nonce, plain, header)

    def unseal(self, payload: bytes) -> bytes | None:
        """Return the serialised session, or None where the payload is foreign, damaged or of an unknown format."""
        header, nonce = payload[:HEADER], payload[HEADER : HEADER + NONCE]
        if header[:1] not in (PLAIN, COMPRESSED) or len(nonce) < NONCE:
            return None
        for master in _masters(header[1:], (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)):
            try:
                plain = self._cipher(master).decrypt(nonce, payload[HEADER + NONCE :], header)
            except InvalidTag:
                continue
            return _decompressed(plain) if header[:1] == COMPRESSED else plain
        return None

    def _cipher(self, master: Master) -> AESGCM:
        cipher = self._ciphers.get(master)
        if cipher is None:
            key = master.derive(master.secret, _bytes(self.session_key))
            cipher = self._ciphers[master] = AESGCM(key)
        return cipher


def _decompressed(compressed: bytes) -> bytes | None:
    """Return what was compressed; None where it is damaged, or larger than a session may be: it stops there."""
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(compressed, base.MAX_PAYLOAD_BYTES + 1)
    except zlib.error:
        return None
    return plain if stream.eof and len(plain) <= base.MAX_PAYLOAD_BYTES else None


def _bytes(session_key: str) -> bytes:
    """A key that came with a request can hold anything, half a character too; that is an unknown key, no error."""
    return session_key.encode(errors="surrogatepass")


def _keyed_blake2b(secret: bytes, session_key: bytes) -> bytes:
    return hashlib.blake2b(session_key, key=secret, digest_size=32).digest()


def _hmac_sha256(secret: bytes, session_key: bytes) -> bytes:
    return hmac.digest(secret, session_key, "sha256")


# How the key of a payload is made, newest first. Sessions that 0.1.0 sealed are opened in its way until they are saved.
DERIVATIONS: dict[bytes, Callable[[bytes, bytes], bytes]] = {
    b"sessionpersist.sealing.v2": _keyed_blake2b,
    b"sessionpersist.sealing.v1": _hmac_sha256,
}


@lru_cache(maxsize=16)
def _masters(key_id: bytes, secret_keys: tuple[str | bytes, ...]) -> list[Master]:
    """The master keys of that id, of the secret key in use first, then of its predecessors."""
    known = [_master(secret_key, label) for secret_key in secret_keys for label in DERIVATIONS]
    return [master for master in known if master.key_id == key_id]


@lru_cache(maxsize=32)
def _master(secret_key: str | bytes, label: bytes = next(iter(DERIVATIONS))) -> Master:
    """Derive a master key; its id tells which key to try and reveals nothing else."""
    secret = hmac.digest(label, force_bytes(secret_key), "sha256")
    return Master(hmac.digest(secret, b"key id", "sha256")[:4], secret, DERIVATIONS[label])
