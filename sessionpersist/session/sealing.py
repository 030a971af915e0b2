"""What the bytes in a store mean: session key -> stored key, serialised session <-> sealed payload.

A payload is encrypted with AES-256-GCM under a key that is derived from *both* the site's secret key and the user's
session key: keyed BLAKE2b (RFC 7693), which is a MAC of its own and takes a quarter of the time of HMAC. A store knows
only a hash of the session key, so a thief who holds the store and the site's secret key still reads nothing, and a
payload that was moved to another row does not open.

    byte  0      format: 3 plain, 4 zlib, 5 Zstandard (1 and 2: plain and zlib, as releases up to 0.2.0 have it)
    bytes 1-4    id of the secret key it was sealed with
    bytes 5-16   nonce
    the rest     ciphertext and tag; bytes 0-4 are authenticated with it

**A record is whole**: in formats 3 and 4 what stands beside the payload (the random part of its version, when the
session began, its user) is authenticated with it, see ``beside``. The end is sealed inside, 8 bytes in front of the
session: whoever can write to the store can't prolong a session, nor give it another owner. What remains is to put an
older copy of the whole record back. Formats 1 and 2 are opened as they are until the session is saved, and written only
while nodes of 0.2.0 serve beside this one, which know no others.

**Nothing is compressed below 16 KiB**: the length of compressed data tells something of what is in it.

A session has a size, ``MAX_PAYLOAD_BYTES``, before it is compressed as well as sealed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.utils.encoding import force_bytes

from sessionpersist import conf
from sessionpersist.session.compressing import NONE, ZLIB, ZSTD, compressed, decompressed
from sessionpersist.stores.base import NEVER, check_size, token_of
from sessionpersist.stores.secret import Secret, SecretBytes, secret_keys

# By what it is compressed with.
ALONE = {NONE: b"\x01", ZLIB: b"\x02"}
WHOLE = {NONE: b"\x03", ZLIB: b"\x04", ZSTD: b"\x05"}
# By the format: whether it is whole, and what it is compressed with.
FORMATS = {
    format_byte: (formats is WHOLE, method)
    for formats in (ALONE, WHOLE)
    for method, format_byte in formats.items()
}
COMPRESS_ABOVE = 16 * 1024  # bytes
HEADER, NONCE, END = 5, 12, 8  # bytes
START = HEADER + NONCE
BESIDE = struct.Struct(">QQ")  # the random part of the version, created_at


def stored_key(session_key: str) -> str:
    """Return the only name by which a store knows a session: SHA-256 in 64 hexadecimal digits."""
    return hashlib.sha256(_bytes(session_key)).hexdigest()


def beside(version: int, created_at: int, user_id: str) -> bytes:
    """Return what is authenticated with a payload. Of a version only what a handover leaves as it is."""
    return BESIDE.pack(token_of(version), created_at) + user_id.encode()


# A serialised session, and its end in Unix milliseconds: whatever the store says, it lives no longer.
Opened = tuple[bytes, int]


class Master(NamedTuple):
    """What the keys of all payloads are derived from, and how."""

    key_id: bytes
    secret: bytes
    derive: Callable[[bytes, bytes], bytes]


class Sealer:
    """What seals and opens the payloads of one session. It keeps its keys for as long as it is used."""

    def __init__(self, session_key: str) -> None:
        self.session_key = session_key if type(session_key) is Secret else Secret(session_key)
        self._key_bytes = SecretBytes(_bytes(session_key))
        self.stored_key = hashlib.sha256(self._key_bytes).hexdigest()
        self._ciphers: dict[Master, AESGCM] = {}

    def __reduce__(self) -> tuple[type[Sealer], tuple[str]]:
        """A session can be copied and pickled, as Django's can; what its keys have made can't."""
        return Sealer, (self.session_key,)

    def seal(self, plain: bytes, beside: bytes | None = None, end: int = NEVER) -> bytes:
        """Encrypt a serialised session so that only the holder of its session key can open it.

        ``beside`` is what stands beside it in the record, and ``end`` in Unix milliseconds when it is over at the
        latest; None seals it alone, as 0.2.0 did. Raises SessionTooLarge: the limit holds for the session itself, as
        small as it may become, for whoever reads it has to bear all of it.
        """
        check_size(plain)
        master = _master(secret_keys()[0])
        method = NONE
        if len(plain) > COMPRESS_ABOVE:
            method, plain = compressed(plain, ZLIB if beside is None else conf.compression())
        if beside is None:
            form, beside = ALONE[method], b""
        else:
            form, plain = WHOLE[method], end.to_bytes(END) + plain
        header, nonce = form + master.key_id, os.urandom(NONCE)
        return header + nonce + self._cipher(master).encrypt(nonce, plain, header + beside)

    def unseal(self, payload: bytes, beside: bytes = b"") -> Opened | None:
        """Return the session; None where the payload is foreign, damaged, of an unknown format, or belongs to another
        record than the one that it was found in. Raises StoreMisconfigured where this node can't decompress it."""
        known = FORMATS.get(payload[:1])
        if known is None or len(payload) < START:
            return None
        whole, method = known
        header, nonce, sealed = payload[:HEADER], payload[HEADER:START], payload[START:]
        bound = header + beside if whole else header
        for master in _masters(header[1:], secret_keys()):
            try:
                content = self._cipher(master).decrypt(nonce, sealed, bound)
            except InvalidTag:
                continue
            return _opened(content, method, whole=whole)
        return None

    def _cipher(self, master: Master) -> AESGCM:
        cipher = self._ciphers.get(master)
        if cipher is None:
            cipher = self._ciphers[master] = AESGCM(master.derive(master.secret, self._key_bytes))
        return cipher


def _opened(content: bytes, method: str, *, whole: bool) -> Opened | None:
    """Take apart what was sealed. Only the holder of all keys could have sealed something else."""
    end = NEVER
    if whole:
        end, content = int.from_bytes(content[:END]), content[END:]
    plain = decompressed(content, method)
    return None if plain is None else (plain, end)


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
    secret = SecretBytes(hmac.digest(label, force_bytes(secret_key), "sha256"))
    return Master(hmac.digest(secret, b"key id", "sha256")[:4], secret, DERIVATIONS[label])
