"""Under a test runner the database is asked nothing that the test did not ask for.

The store that is in force before anybody has saved one is in force in every test, or what the test overrides, or what
it saves itself, for as long as that stands. No process reports itself. So no test meets a query of this app at random,
and a page can be tested without a database. ``SESSIONPERSIST["QUIET_TESTS"] = False`` has it all as on a site.

A process is under a test runner from Django's ``setup_test_environment`` on, which Django's own and pytest-django
call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connections, router


@dataclass(frozen=True, eq=False)
class Save:
    """The configuration was saved in a test: for the time of this block of a TestCase, or committed."""

    connection: Any
    block: Any

    def stands(self) -> bool:
        """Whether it has not been rolled back at the end of its test."""
        return self.block is None or self.block in self.connection.atomic_blocks


_saves: list[Save] = []


def note_save() -> None:
    """Note that what is configured has changed, and for how long at most."""
    from sessionpersist.models import Revision  # models are loaded after the app registry is ready

    connection = connections[router.db_for_write(Revision)]
    blocks = [block for block in connection.atomic_blocks if getattr(block, "_from_testcase", False)]
    _saves.append(Save(connection, blocks[-1] if blocks else None))


def last_save() -> Save | None:
    """Return the last save that still stands; None where no test in progress has saved anything."""
    while _saves and not _saves[-1].stands():
        del _saves[-1:]
    return _saves[-1] if _saves else None


def is_over(save: Save) -> bool:
    """Return whether a save has been rolled back, or flushed."""
    last_save()
    return save not in _saves


def forget() -> None:
    """The database was flushed, as at the end of a test that commits."""
    _saves.clear()
