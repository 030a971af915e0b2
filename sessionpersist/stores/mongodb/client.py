"""Whom the MONGODB store asks: hosts that staff have entered, or a database of the project. One class each.

A replica set is found by any of its hosts, and followed by the driver itself from one primary to the next.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Protocol
from weakref import WeakSet

import pymongo
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from sessionpersist import exits
from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores.addresses import Address, addresses, check_distinct
from sessionpersist.stores.allowed_hosts import check_literal
from sessionpersist.stores.certificates import Certificates
from sessionpersist.stores.connecting import apart
from sessionpersist.stores.credentials import Credentials
from sessionpersist.stores.mongodb.alias import connection_to, database_of
from sessionpersist.stores.mongodb.errors import NO_HOSTS
from sessionpersist.stores.mongodb.pool import UNBOUNDED, BoundedPool
from sessionpersist.stores.mongodb.waiting import Condition, pause_by_the_loop
from sessionpersist.stores.reachability import check_address
from sessionpersist.stores.settings import X509, MongoSettings, lines

Document = dict[str, Any]

# With a root logger at DEBUG the driver would write seven lines for each command, and in them the payload. A level that
# somebody has set stays.
if (_log := logging.getLogger("pymongo")).level == logging.NOTSET:
    _log.setLevel(logging.INFO)


_GOODBYE_SECONDS = 1.0  # for which a silent server can delay the end of the process


class Client(Protocol):
    certificates: Certificates

    def database(self) -> Database[Document]:
        """Return the driver's database object for this process and thread. Nothing is connected yet."""

    def refused(self) -> bool:
        """Hear that a login was refused. Return whether the next database object may log in with something else."""

    def secrets(self) -> Sequence[str]:
        """Return the secrets that the driver may put into a text."""

    def close(self, timeout: float) -> None:
        """Give the connections back that are this store's own."""


def client_for(
    settings: MongoSettings, credentials: Credentials, timeout: float, ca_file: str | None = None
) -> Client:
    """Return the client of these settings. Raises StoreMisconfigured where they can't be right."""
    if settings.alias:
        return AliasClient(settings.alias)
    check_hosts(settings)
    check_login(settings, credentials)
    return HostsClient(settings, credentials, timeout, ca_file)


def hosts_of(settings: MongoSettings) -> list[Address]:
    """Return the hosts that staff have entered, in their order. Raises StoreMisconfigured on "nodes"."""
    further = addresses(settings.nodes) if lines(settings.nodes) else []
    hosts = [Address(settings.host, settings.port), *further]
    check_distinct(hosts)
    return hosts


def hosts_by_name(settings: MongoSettings, timeout: float) -> list[Address]:
    """Ask the name server for the hosts behind an SRV name. Raises StoreUnavailable, on "host"."""
    try:
        found = parse_uri(_uri(settings), connect_timeout=timeout)
    except (PyMongoError, ValueError) as error:
        raise StoreUnavailable(NO_HOSTS.format(host=settings.host), "host") from error
    return [Address(host, port) for host, port in found["nodelist"]]


def check_hosts(settings: MongoSettings) -> None:
    """Raise StoreMisconfigured for hosts that can't be such, or that the settings of the site do not allow."""
    check_address("MONGODB", settings.host, settings.port)
    if settings.srv and lines(settings.nodes):
        raise StoreMisconfigured("Hosts that are found by their SRV name are not entered, too.", "nodes")
    if (
        not settings.srv
    ):  # whose name is none of a host: those that it leads to are judged as they are connected
        for host, _ in hosts_of(settings):
            check_literal(host)


def check_login(settings: MongoSettings, credentials: Credentials) -> None:
    """Raise StoreMisconfigured for what can't be a login."""
    files = [name for name in ("ca_file", "client_certificate", "client_key") if getattr(settings, name)]
    if files and not settings.tls:
        raise StoreMisconfigured("Certificates are of use with TLS only: turn it on.", "tls")
    if settings.mechanism == X509:
        if not settings.tls:
            raise StoreMisconfigured("To log in with a certificate takes TLS.", "tls")
        if not settings.client_certificate:
            raise StoreMisconfigured("To log in with a certificate takes one.", "client_certificate")
    elif not credentials.changing and settings.username and not credentials.now().password:
        raise StoreMisconfigured("The MONGODB user needs a password.", "password")
    elif settings.mechanism and not credentials.changing and not settings.username:
        raise StoreMisconfigured("This mechanism takes a user name.", "username")


class HostsClient:
    """A client of this store's own, one a process: it has threads, which don't survive a fork, and what the parent has
    opened is the parent's."""

    def __init__(
        self, settings: MongoSettings, credentials: Credentials, timeout: float, ca_file: str | None
    ) -> None:
        self._settings, self._credentials, self._timeout = settings, credentials, timeout
        files = (settings.ca_file or ca_file or "", settings.client_certificate, settings.client_key)
        self.certificates = Certificates(*files) if settings.tls else Certificates()
        self._opened: dict[int, Database[Document]] = {}
        _clients.add(self)

    def database(self) -> Database[Document]:
        database = self._opened.get(os.getpid())
        # To open one may take a name server, and a provider of credentials.
        return apart(self._open_once, monotonic() + self._timeout) if database is None else database

    def refused(self) -> bool:
        """A login that changes from time to time is asked for again, by a client of its own."""
        if self._credentials.changing:
            self.close(self._timeout)
        return self._credentials.changing

    def secrets(self) -> Sequence[str]:
        return self._credentials.secrets

    def close(self, timeout: float) -> None:
        database = self._opened.pop(os.getpid(), None)
        if database is not None:
            apart(partial(_close, database.client, timeout), monotonic() + 2 * timeout)

    def _open_once(self) -> Database[Document]:
        """Of those that come first together, one opens it for all."""
        process = os.getpid()
        if (database := self._opened.get(process)) is not None:
            return database
        client = self._open()
        database = self._opened.setdefault(process, client[self._settings.database])
        if database.client is not client:
            _close(client, self._timeout)
        return database

    def _open(self) -> MongoClient[Document]:
        milliseconds = max(1, int(self._timeout * 1000))
        options: dict[str, Any] = {
            "connectTimeoutMS": milliseconds,
            "serverSelectionTimeoutMS": milliseconds,
            "timeoutMS": milliseconds,  # for a whole command, with the driver's own second try
            "tls": self._settings.tls,
            "appname": "sessionpersist",
            "connect": False,
            "_pool_class": partial(BoundedPool, certificates=self.certificates),
            "_condition_class": Condition,
            **UNBOUNDED,
            **self._login(),
        }
        if self.certificates.ca_file:
            options["tlsCAFile"] = self.certificates.ca_file
        if self._settings.replica_set:
            options["replicaSet"] = self._settings.replica_set
        hosts = (
            [_uri(self._settings)] if self._settings.srv else [str(each) for each in hosts_of(self._settings)]
        )
        client: MongoClient[Document] = MongoClient(hosts, **options)
        pause_by_the_loop(client)
        if self._settings.srv:
            look_up: Any = client
            look_up._get_topology()  # else the driver asks the name server only as it is used
        return client

    def _login(self) -> dict[str, str]:
        settings = self._settings
        if settings.mechanism == X509:
            return {"authMechanism": X509, **({"username": settings.username} if settings.username else {})}
        username, password = self._credentials.now()
        if not username:
            return {}
        login = {"username": username, "password": password}
        if settings.auth_source or not settings.srv:  # the name server may know where the users are
            login["authSource"] = settings.auth_source or "admin"
        return login | ({"authMechanism": settings.mechanism} if settings.mechanism else {})


_clients: WeakSet[HostsClient] = WeakSet()


def _close_all() -> None:
    """As the process ends: the server need not find out by itself that nobody is there any more."""
    for client in list(_clients):
        client.close(_GOODBYE_SECONDS)


exits.at_exit(exits.Layer.CONNECTIONS, _close_all)


class AliasClient:
    """The connection of a database of the project, which opens it, closes it, and knows its secrets."""

    certificates = Certificates()  # the project's own, which its settings name

    def __init__(self, alias: str) -> None:
        """Raises StoreMisconfigured where there is no such database."""
        self._alias = alias
        connection_to(alias)

    def database(self) -> Database[Document]:
        database: Database[Document] = database_of(self._alias)
        return database

    def refused(self) -> bool:
        return False

    def secrets(self) -> Sequence[str]:
        settings = connection_to(self._alias).settings_dict
        client = settings.get("CLIENT") or {}
        found = (settings.get("PASSWORD"), client.get("password") if isinstance(client, dict) else None)
        return [each for each in found if isinstance(each, str) and each]

    def close(self, timeout: float) -> None:
        """Nothing: it is the project's."""


def is_alone(database: Database[Document]) -> bool:
    """Return whether the server is known to be one without a replica set."""
    description = database.client.topology_description
    if description.topology_type_name != "Single":
        return False
    # The project may have told its driver to speak to one member only.
    return all(each.server_type_name == "Standalone" for each in description.server_descriptions().values())


def _uri(settings: MongoSettings) -> str:
    return f"mongodb+srv://{settings.host}/"


def _close(client: MongoClient[Document], timeout: float) -> None:
    try:
        with pymongo.timeout(timeout):
            client.close()
    except Exception:  # noqa: BLE001 - the driver says goodbye, and a server can answer that with anything
        with suppress(Exception):
            client.close()  # it says it once
