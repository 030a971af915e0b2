"""A large session is compressed where that saves something: by zlib, which each node has, or by Zstandard, which takes
a fifth of the time and which a project chooses (``SESSIONPERSIST["COMPRESSION"]``) once all its nodes have it."""

from __future__ import annotations

import zlib
from typing import Any

from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores import base

ZLIB, ZSTD, NONE = "zlib", "zstd", "none"
LEVEL = 1  # of both: the higher ones take several times as long for a tenth less
WORTH = 7 / 8  # of the length at most: else it is not worth the time to decompress it


def _zstandard() -> Any:
    """Return the module; None where the extra is not installed."""
    try:
        import zstandard
    except ImportError:
        return None
    return zstandard


zstandard = _zstandard()


def compressed(plain: bytes, method: str) -> tuple[str, bytes]:
    """Return by what it was compressed, and what that made of it; NONE, and it as it was, where it is not worth it.

    A node without Zstandard takes zlib in its place, which any other can read.
    """
    if method == NONE:
        return NONE, plain
    if method == ZSTD and zstandard is not None:
        made = zstandard.compress(plain, LEVEL)
    else:
        method, made = ZLIB, zlib.compress(plain, LEVEL)
    return (method, made) if len(made) <= len(plain) * WORTH else (NONE, plain)


def decompressed(content: bytes, method: str) -> bytes | None:
    """Return what was compressed; None where it is damaged, or larger than a session may be: it stops there.

    Raises StoreMisconfigured where this node lacks what it takes: the session is there, and can't be read here.
    """
    if method == NONE:
        return content
    return _by_zlib(content) if method == ZLIB else _by_zstandard(content)


def _by_zlib(content: bytes) -> bytes | None:
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(content, base.MAX_PAYLOAD_BYTES + 1)
    except zlib.error:
        return None
    return plain if stream.eof and len(plain) <= base.MAX_PAYLOAD_BYTES else None


def _by_zstandard(content: bytes) -> bytes | None:
    """A frame says its size first, and its reader believes it: so that is looked at before."""
    if zstandard is None:
        raise StoreMisconfigured(
            "A session is compressed by Zstandard, which this node lacks: install sessionpersist[fast]."
        )
    try:
        if not 0 < zstandard.get_frame_parameters(content).content_size <= base.MAX_PAYLOAD_BYTES:
            return None
        return bytes(zstandard.decompress(content))
    except zstandard.ZstdError:
        return None
