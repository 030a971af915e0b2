"""The project's databases, as the drop-down of the JDBC store shows them."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from time import monotonic

from django.db import connections
from django.utils.translation import get_language, override
from django.utils.translation import gettext as _

from sessionpersist import conf
from sessionpersist.stores.database.tables import read_only_reason
from sessionpersist.stores.deadlines import answers_within
from sessionpersist.stores.sql import DIALECTS
from sessionpersist.threads import NoThread, begin_thread, leaving_no_connection, settle

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
    looks = {alias: _look_at(alias) for alias in aliases if _engine_name(alias) != "SQLite"}
    deadline = monotonic() + conf.timeout_seconds()
    states = {alias: _state_of(alias) for alias in aliases if alias not in looks}
    for alias, look in looks.items():
        try:
            states[alias] = look.result(max(0.0, deadline - monotonic()))
        except OSError:  # too late, or there was no thread to look
            states[alias] = DatabaseState(alias, _engine_name(alias), _("it does not answer"))
    return [states[alias] for alias in aliases]


def _look_at(alias: str) -> Future[DatabaseState]:
    """Have a thread look at a database, on a connection of its own, and say what it sees in this one's language."""
    look: Future[DatabaseState] = Future()
    language = get_language()

    def state() -> DatabaseState:
        with override(language):
            return _state_of(alias)

    try:
        begin_thread(f"sessionpersist-look-{alias}", partial(settle, look, leaving_no_connection(state)))
    except NoThread as error:
        look.set_exception(error)
    return look


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
