"""Databases that are several servers: what a fail-over can lose, and how a read sees what another server has accepted.

Nobody is asked for it in a request: how the servers stand to each other is looked at when a process first uses its
store, and by a probe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from sessionpersist.stores.deadlines import SHORTEST_CONNECT, hosts_in

# Reads, updates, deletions and insertions (1 + 2 + 4). A node of Galera applies what another has accepted a moment
# later; until then it has no such session. A statement that begins so waits for what was accepted before it. It holds
# for this statement only: the project's own are as the project wants them.
CAUSAL = "SET STATEMENT wsrep_sync_wait=7 FOR "
MAJORITY_OF_NODES = 3  # with one of them gone, two are still more than half
WAITING = (
    "on",
    "remote_write",
    "remote_apply",
)  # values of synchronous_commit with which a commit waits for standbys
TO_THE_PRIMARY = ("read-write", "primary")


def before_statements(connection: BaseDatabaseWrapper) -> str:
    """Return what each of our statements has to begin with. Raises the driver's errors."""
    if connection.vendor != "mysql" or not _is_galera(connection):
        return ""
    return CAUSAL if _is_mariadb(connection) else ""


def warnings(connection: BaseDatabaseWrapper, timeout: float) -> Iterator[str]:
    """Yield what can be lost, or read though it is old. Raises the driver's errors."""
    if look := LOOKS.get(connection.vendor):
        yield from look(connection, timeout)


def _postgresql(connection: BaseDatabaseWrapper, timeout: float) -> Iterator[str]:
    yield from _of_several_hosts(connection, timeout)
    # Whoever may not see more sees one row for each receiver.
    standbys, names, waits = _row(
        connection,
        "SELECT (SELECT count(*) FROM pg_stat_replication),"
        " current_setting('synchronous_standby_names'), current_setting('synchronous_commit')",
    )
    if standbys and not (names.strip() and waits in WAITING):
        why = "synchronous_standby_names is empty" if not names.strip() else f"synchronous_commit is {waits}"
        yield (
            f"{_counted(int(standbys), 'standby')}, asynchronous ({why}): a fail-over can lose the last writes, "
            "a logout among them."
        )


def _of_several_hosts(connection: Any, timeout: float) -> Iterator[str]:
    parameters = connection.get_connection_params()
    hosts = hosts_in(parameters)
    if hosts < 2:
        return
    if parameters.get("target_session_attrs") not in TO_THE_PRIMARY:
        yield (
            "DATABASES gives several hosts without target_session_attrs: a connection may lead to a standby, which "
            "takes no sessions. Set it to read-write in OPTIONS."
        )
    if timeout < (least := SHORTEST_CONNECT * hosts):
        yield (
            f"A host that hangs is passed over after {SHORTEST_CONNECT} seconds, and TIMEOUT_SECONDS is {timeout:g}: "
            f"set it to {least} or more, or a primary that hangs is an outage until it is gone."
        )


def _mysql(connection: BaseDatabaseWrapper, timeout: float) -> Iterator[str]:
    if _is_galera(connection):
        yield from _galera(connection)
        return
    replicas = int(_shown(connection, "STATUS", "Slaves_connected") or 0)
    if replicas and _shown(connection, "STATUS", "Rpl_semi_sync_master_status") != "ON":
        yield (
            f"{_counted(replicas, 'replica')}, asynchronous: a fail-over can lose the last writes, a logout among them."
        )


def _galera(connection: BaseDatabaseWrapper) -> Iterator[str]:
    nodes = int(_shown(connection, "STATUS", "wsrep_cluster_size") or 0)
    if nodes < MAJORITY_OF_NODES:
        yield (
            f"Nodes of this Galera cluster: {nodes}. When one of them is lost, the others are no majority and refuse "
            "to work. It takes three."
        )
    if not _is_mariadb(connection) and int(_shown(connection, "VARIABLES", "wsrep_sync_wait") or 0) & 1 == 0:
        yield (
            "wsrep_sync_wait is 0: a session that another node of this cluster has just saved may be read as it was "
            "before, or not be found. Set it to 7 in the init_command of OPTIONS."
        )


def _is_galera(connection: BaseDatabaseWrapper) -> bool:
    return _shown(connection, "VARIABLES", "wsrep_on") == "ON"


def _is_mariadb(connection: Any) -> bool:
    return bool(connection.mysql_is_mariadb)


def _shown(connection: BaseDatabaseWrapper, what: str, name: str) -> str | None:
    """Return a variable or a count of a MySQL server; None where it has no such."""
    row = _row(connection, f"SHOW GLOBAL {what} LIKE %s", name)
    return str(row[1]) if row else None


def _row(connection: BaseDatabaseWrapper, statement: str, *parameters: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()


def _counted(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {'standbys' if what == 'standby' else what + 's'}"


LOOKS: dict[str, Callable[[BaseDatabaseWrapper, float], Iterator[str]]] = {
    "postgresql": _postgresql,
    "mysql": _mysql,
}
