"""What the bytes in a store mean: session key -> stored key, serialised session <-> sealed payload.

A payload is encrypted with AES-256-GCM under a key that is derived from *both* the site's secret key and the user's
session key: keyed BLAKE2b (RFC 7693), which is a MAC of its own and takes a quarter of the time of HMAC. A store knows
only a hash of the session key, so a thief who holds the store and the site's secret key still reads nothing, and a
payload that was moved to another row does not open.

    byte  0      format: 1 plain, 2 zlib-compressed
    bytes 1-4    id of the secret key it was sealed with
    bytes 5-16   nonce
    the rest     ciphertext and tag; bytes 0-4 are authenticated with it
"""

from __future__ import annotations

import hashlib
import hmac
import os
import zlib
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.utils.encoding import force_bytes

PLAIN, COMPRESSED = b"\x01", b"\x02"
COMPRESS_ABOVE = 1024  # bytes; below that zlib costs more time than it saves room
HEADER, NONCE = 5, 12  # bytes


def stored_key(session_key: str) -> str:
    """Return the only name by which a store knows a session: SHA-256 in 64 hexadecimal digits."""
    return hashlib.sha256(_bytes(session_key)).hexdigest()


class Sealer:
    """What seals and opens the payloads of one session. It keeps its keys for as long as it is used."""

    def __init__(self, session_key: str) -> None:
        self.session_key, self.stored_key = session_key, stored_key(session_key)
        self._ciphers: dict[bytes, AESGCM] = {}

    def seal(self, plain: bytes) -> bytes:
        """Encrypt a serialised session so that only the holder of its session key can open it."""
        key_id, master = _master(settings.SECRET_KEY)
        form = PLAIN
        if len(plain) > COMPRESS_ABOVE:
            form, plain = COMPRESSED, zlib.compress(plain, 1)
        header, nonce = form + key_id, os.urandom(NONCE)
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
            return zlib.decompress(plain) if header[:1] == COMPRESSED else plain
        return None

    def _cipher(self, master: bytes) -> AESGCM:
        cipher = self._ciphers.get(master)
        if cipher is None:
            key = hashlib.blake2b(_bytes(self.session_key), key=master, digest_size=32).digest()
            cipher = self._ciphers[master] = AESGCM(key)
        return cipher


def _bytes(session_key: str) -> bytes:
    """A key that came with a request can hold anything, half a character too; that is an unknown key, no error."""
    return session_key.encode(errors="surrogatepass")


@lru_cache(maxsize=16)
def _masters(key_id: bytes, secrets: tuple[str | bytes, ...]) -> list[bytes]:
    """The master keys of that id, of the secret key in use first, then of its predecessors."""
    known = [_master(secret) for secret in secrets]
    return [master for known_id, master in known if known_id == key_id]


@lru_cache(maxsize=16)
def _master(secret: str | bytes) -> tuple[bytes, bytes]:
    """Derive (key id, master key) from a secret key; the id tells which key to try and reveals nothing else."""
    master = hmac.digest(b"sessionpersist.sealing.v2", force_bytes(secret), "sha256")
    return hmac.digest(master, b"key id", "sha256")[:4], master
