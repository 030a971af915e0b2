"""A serializer as projects that keep other things than JSON in a session have one."""

from __future__ import annotations

import pickle
from typing import Any


class PickleSerializer:
    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)  # noqa: S301 - the bytes were authenticated when they were unsealed


class TalkativeSerializer:
    """One whose errors tell what it was given, as many do."""

    def dumps(self, obj: Any) -> bytes:
        return repr(obj).encode()

    def loads(self, data: bytes) -> Any:
        raise ValueError(f"can't read {data!r}")
