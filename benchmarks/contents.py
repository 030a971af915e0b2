"""What is in the sessions: JSON as sites keep it, of a given size. Neither random bytes nor one letter repeated."""

from __future__ import annotations

import json
import random
import secrets
from typing import Any

SIZES = (300, 4096, 65536)  # bytes of JSON
VOCABULARY = (
    "account address basket blue cancel category checkout colour coupon cotton currency customer delivery discount "
    "express filter gift green history invoice large last light medium newsletter order page payment product "
    "quantity recent red refund return review search shipping shirt size small status stock store summer viewed "
    "voucher weight winter wishlist wool"
)
WORDS = VOCABULARY.split()
LOGIN = {
    "_auth_user_id": "00012345",
    "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
    "_auth_user_hash": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
}


def somebody() -> dict[str, str]:
    """Return the login of one of a hundred million users: who logs in again and again has a long list of sessions."""
    return LOGIN | {"_auth_user_id": f"{secrets.randbelow(10**8):08d}"}


def of_somebody(data: dict[str, Any]) -> dict[str, Any]:
    """Return the same session of one of these users."""
    return data | somebody()


def content(size: int, *, logged_in: bool = True, seed: int = 5) -> dict[str, Any]:
    """Return a session dictionary whose compact JSON has that many bytes."""
    random_ = random.Random(seed)
    data: dict[str, Any] = {"visits": 1, **(LOGIN if logged_in else {}), "items": [], "note": ""}
    missing = size - length(data)
    while missing > 120:
        item = _item(random_)
        missing -= length(item) + bool(data["items"])  # and a comma
        data["items"].append(item)
    if missing < 0:
        raise ValueError(f"A session has at least {length(data)} bytes.")
    data["note"] = " ".join(random_.choice(WORDS) for _ in range(missing))[:missing]
    return data


def length(data: dict[str, Any]) -> int:
    """Return the length of the compact JSON in bytes."""
    return len(json.dumps(data, separators=(",", ":")))


def _item(random_: random.Random) -> dict[str, Any]:
    return {
        "sku": f"{random_.randrange(10**8):08d}",
        "name": f"{random_.choice(WORDS)} {random_.choice(WORDS)}",
        "count": random_.randrange(1, 9),
    }
