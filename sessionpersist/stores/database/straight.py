"""When a statement may go past Django's cursor, straight to the driver (see ``prepared.py`` and ``sqlite.py``)."""

from __future__ import annotations

from typing import Any


def is_unwatched(connection: Any) -> bool:
    """Return whether Django's connection, open or not, is in no transaction, and nobody watches it or keeps us out, as
    tests of Django's do that may use no database."""
    return (
        not connection.in_atomic_block
        and not connection.execute_wrappers
        and not connection.queries_logged
        and "cursor" not in vars(connection)
    )
