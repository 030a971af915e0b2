"""Whether what was written is there to stay, and what to do once it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction


def after_commit(action: Callable[[], Any], using: str) -> None:
    """Run it when what was written is visible to others: at once outside a transaction.

    Inside a TestCase nothing is ever committed; there "at once" is what the test expects.
    """
    if is_committed(using):
        action()
    else:
        transaction.on_commit(action, using=using)


def is_committed(using: str) -> bool:
    """Return whether what was written so far is visible to others, or would be but for a TestCase."""
    blocks = transaction.get_connection(using).atomic_blocks
    return all(getattr(block, "_from_testcase", False) for block in blocks)
