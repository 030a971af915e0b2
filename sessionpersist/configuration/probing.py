"""Trying a store out: the one function behind the button, the command and the check before saving."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from time import monotonic

from django.db import connections
from django.utils.translation import gettext as _

from sessionpersist import conf
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores import build_store
from sessionpersist.stores import probe as checks
from sessionpersist.stores.base import Probed
from sessionpersist.stores.database.tables import read_only_reason
from sessionpersist.stores.deadlines import answers_within
from sessionpersist.stores.probe import Step
from sessionpersist.stores.secret import Secret
from sessionpersist.stores.settings import DatabaseSettings, StoreSettings, reveal
from sessionpersist.stores.sql import DIALECTS
from sessionpersist.stores.texts import printable

logger = logging.getLogger("sessionpersist")

QUIET = 60.0  # seconds before the same failure is logged once more
_logged = ("", 0.0)  # the last line, and until when it is not repeated

ENGINE_NAMES = {"sqlite3": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL", "oracle": "Oracle"}


def probe(settings: StoreSettings, *, prepare: bool = False) -> list[Step]:
    """Try the store of these settings step by step. Never raises, whatever is wrong with a store or its settings.

    With ``prepare``, what the store lacks (a table, an index) is made: for saving, not for a mere test.
    """
    hidden = secrets_of(settings)
    built: list[Probed] = []
    opened = checks.timed("Open", lambda: built.append(build_store(settings)), hidden)
    if not opened.ok:
        return [opened]
    (store,) = built
    steps = checks.run(store, prepare=prepare, hidden=hidden)
    closed = checks.timed("Close", store.close, hidden)
    if not closed.ok:
        steps.append(closed)
    if failed := failure(steps):
        _log(settings, failed)
    return steps


def _log(settings: StoreSettings, failed: Step) -> None:
    """Log a failure with the driver's own words; once, though an open page asks again and again."""
    global _logged
    line = f"{printable(settings.describe())}, {failed.name}: {failed.message}"
    line += f" ({failed.detail})" if failed.detail else ""
    last, quiet_until = _logged
    if line != last or monotonic() >= quiet_until:
        logger.warning("A store was tried and failed: %s", line)
        _logged = line, monotonic() + QUIET


def identify(settings: StoreSettings) -> str:
    """Return the id of the place that these settings lead to (see ``Probed.place``), or "" where it can't be told.

    Never raises: whatever is wrong with a store, its probe says.
    """
    places: list[str | None] = []

    def ask() -> None:
        with closing(build_store(settings)) as store:
            places.append(store.place())

    checks.timed("Place", ask, secrets_of(settings))
    return (places and places[0]) or ""


def secrets_of(settings: StoreSettings) -> list[str]:
    """Return the passwords that these settings lead to, which no text may show."""
    password = getattr(settings, "password", None)
    found = [password.reveal()] if password else []
    with suppress(StoreUnavailable):  # it can't be had, so it can't be shown
        found += [reveal(password)] if password else []
    if isinstance(settings, DatabaseSettings) and settings.database in connections.settings:
        found.append(Secret(connections.settings[settings.database].get("PASSWORD") or ""))
    return [each for each in found if each]


def failure(steps: Sequence[Step]) -> Step | None:
    """Return the step that failed, or None where all went well."""
    return next((step for step in steps if not step.ok), None)


@dataclass(frozen=True)
class DatabaseState:
    """One of the project's databases, as the drop-down shows it; ``problem`` is why it can't be used."""

    alias: str
    engine: str
    problem: str = ""

    def __str__(self) -> str:
        text = f"{self.alias}: {self.engine}"
        return f"{text} ({self.problem})" if self.problem else text


def look_at_databases() -> list[DatabaseState]:
    """Look at every database of the project, within TIMEOUT_SECONDS in all, even if one is down.

    A SQLite file is looked at right here, as it needs no waiting, and one in memory belongs to this thread.
    """
    aliases = list(connections)
    looks = {alias: _Look(alias) for alias in aliases if _engine_name(alias) != "SQLite"}
    for look in looks.values():
        look.start()
    deadline = monotonic() + conf.timeout_seconds()
    states = {alias: _state_of(alias) for alias in aliases if alias not in looks}
    for alias, look in looks.items():
        look.join(max(0.0, deadline - monotonic()))
        states[alias] = look.state
    return [states[alias] for alias in aliases]


class _Look(threading.Thread):
    """Looks at one database on a connection of its own. A daemon: no process waits for it to end."""

    def __init__(self, alias: str) -> None:
        super().__init__(name=f"sessionpersist-look-{alias}", daemon=True)
        self.alias = alias
        self.state = DatabaseState(alias, _engine_name(alias), _("it does not answer"))

    def run(self) -> None:
        try:
            self.state = _state_of(self.alias)
        finally:
            connections.close_all()  # those of this thread


def _state_of(alias: str) -> DatabaseState:
    engine = _engine_name(alias)
    try:
        connection = connections[alias]
        if connection.vendor not in DIALECTS:
            return DatabaseState(alias, engine, _("sessions can't be kept in this kind of database"))
        with answers_within(conf.timeout_seconds(), connection):
            reason = read_only_reason(connection)
            engine = connection.display_name  # asks the server whether MySQL is MariaDB
    except Exception:  # noqa: BLE001 - whatever a driver raises: the page must come up, and this is a mere label
        return DatabaseState(alias, engine, _("it can't be reached"))
    return DatabaseState(alias, engine, _("read-only: {reason}").format(reason=reason) if reason else "")


def _engine_name(alias: str) -> str:
    """The kind of database by the name of its engine, without asking it."""
    module = str(connections.settings[alias]["ENGINE"]).rpartition(".")[2]
    return ENGINE_NAMES.get(module, module)
