"""The project's databases, as the drop-down of the JDBC store shows them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from time import monotonic

from django.db import connections
from django.utils.translation import gettext as _

from sessionpersist import conf
from sessionpersist.stores.database.tables import read_only_reason
from sessionpersist.stores.deadlines import answers_within
from sessionpersist.stores.sql import DIALECTS

ENGINE_NAMES = {"sqlite3": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL", "oracle": "Oracle"}


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
