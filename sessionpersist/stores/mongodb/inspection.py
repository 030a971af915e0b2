"""What a probe of MONGODB looks at before and after its verbs: the files, each host, each member of a replica set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pymongo.database import Database
from pymongo.topology_description import TopologyDescription

from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores.addresses import Address
from sessionpersist.stores.base import Check
from sessionpersist.stores.certificates import Certificates
from sessionpersist.stores.mongodb.alias import advice
from sessionpersist.stores.mongodb.client import hosts_by_name, hosts_of, is_alone
from sessionpersist.stores.reachability import check_reachable, check_speaks_tls, hangs_up, shake_hands
from sessionpersist.stores.settings import MongoSettings

ROLES = {
    "RSPrimary": "primary",
    "RSSecondary": "secondary",
    "RSArbiter": "arbiter, without data",
    "Mongos": "mongos",
    "Standalone": "a server without a replica set",
    "Unknown": "no answer",
}
SETTLING = 1.0  # seconds, after which members that the primary names have answered, or do not
FEW = 3  # members with data: with one of them down, two are still a majority


def reachable(settings: MongoSettings, timeout: float) -> Iterator[Check]:
    """Yield the checks before a login: what is entered, each host. One that answers is enough."""
    if settings.alias:
        return
    if files := files_of(settings):
        yield "Read the certificates", files.check
    hosts = hosts_of(settings)
    if settings.srv:
        hosts = []

        def look_up() -> str:
            hosts[:] = hosts_by_name(settings, timeout)
            return ", ".join(map(str, hosts))

        yield "Look up the hosts", look_up
    if len(hosts) == 1:
        yield from check_reachable(*hosts[0], timeout)
    else:
        yield "Connect", lambda: _connect_to_any(hosts, timeout)


def handshake(
    settings: MongoSettings,
    timeout: float,
    certificates: Certificates,
    explained: Callable[[Exception], Exception],
) -> Iterator[Check]:
    """Yield the check of the TLS handshake, before any login. One host that makes it is enough."""
    if settings.alias or not settings.tls:
        return

    def shake() -> str:
        failure: Exception | None = None
        for host, port in hosts_by_name(settings, timeout) if settings.srv else hosts_of(settings):
            try:
                return shake_hands(host, port, timeout, certificates)
            except (OSError, ValueError) as error:
                failure = explained(error)
        assert failure is not None  # there is a host
        raise failure

    yield "TLS", shake


def files_of(settings: MongoSettings) -> Certificates | None:
    """Return the files that staff have entered, if any."""
    files = Certificates(settings.ca_file, settings.client_certificate, settings.client_key)
    return None if files == Certificates() else files


def fault_of_files(settings: MongoSettings, failure: Exception) -> Exception:
    """Return what is wrong with the files that staff have entered, on its field, where TLS has failed; else the failure
    itself."""
    try:
        if files := files_of(settings):
            files.check()
    except StoreMisconfigured as fault:
        fault.__cause__ = failure.__cause__
        return fault
    return failure


def check_tls(settings: MongoSettings, timeout: float) -> None:
    """Raise StoreUnavailable where the first host wants TLS and is spoken to without, or hangs up on whoever has no
    client certificate, or not a good one: a MongoDB server gives no reason."""
    if settings.alias or settings.srv:
        return
    if not settings.tls:
        check_speaks_tls(settings.host, settings.port, timeout)
    elif hangs_up(settings.host, settings.port, timeout, files_of(settings) or Certificates()):
        raise StoreUnavailable(
            "This MONGODB server does not accept the client certificate."
            if settings.client_certificate
            else "This MONGODB server hangs up after the TLS handshake: it seems to want a client certificate.",
            "client_certificate",
        )


def members(settings: MongoSettings, database: Callable[[], Database[dict[str, Any]]]) -> Iterator[Check]:
    """Yield the check that shows each member of a replica set, once one has been logged in to."""
    if not is_alone(database()):
        yield "See the members", lambda: _described(settled(database()))


def warnings(
    settings: MongoSettings, hello: Mapping[str, Any], description: TopologyDescription, timeout: float
) -> Iterable[str]:
    """Yield what staff should know of the servers: how many may fail, and which of them have."""
    if silent := _silent_hosts(settings, description, timeout):
        yield f"Hosts that are entered and do not answer: {', '.join(map(str, silent))}."
    if settings.alias and (told := advice(settings.alias)):
        yield told
    if "setName" in hello:
        yield from _of_replica_set(settings, hello, description)
    elif hello.get("msg") != "isdbgrid":
        yield "This is a single MongoDB server without a replica set: when it stops, there is no other."


def _of_replica_set(
    settings: MongoSettings, hello: Mapping[str, Any], description: TopologyDescription
) -> Iterator[str]:
    with_data = [*hello.get("hosts", ()), *hello.get("passives", ())]
    if len(with_data) < FEW:
        yield (
            f"Members of the replica set with data: {len(with_data)}. When one of them stops, no majority confirms "
            "what is written, and logins, logouts and changes are answered 503 until it is back. It takes three."
        )
    silent = [str(address) for address, role in _roles(description) if role == ROLES["Unknown"]]
    if silent:
        yield f"Members of the replica set that do not answer: {', '.join(silent)}."
    if not (settings.alias or settings.srv or settings.nodes.strip()):
        yield (
            "Only one host of the replica set is entered: a node that starts while it is down finds no other. "
            f"Its members are {', '.join(with_data)}."
        )


def _connect_to_any(hosts: list[Address], timeout: float) -> str:
    """Return which hosts answer. Raises StoreUnavailable, on the first host, where none does."""
    faults = _faults_of(hosts, timeout)
    said = [f"{host}: {fault or 'answers'}" for host, fault in zip(hosts, faults, strict=True)]
    for fault in faults:
        if isinstance(fault, StoreMisconfigured):
            raise fault
    if all(faults):
        raise StoreUnavailable(f"None of the hosts can be reached. {' '.join(said)}", "host")
    return " ".join(said) if any(faults) else ", ".join(map(str, hosts))


def _silent_hosts(settings: MongoSettings, description: TopologyDescription, timeout: float) -> list[Address]:
    """Return the hosts that were entered, are not known as members, which are asked anyway, and do not answer."""
    if settings.alias or settings.srv:
        return []
    members = dict(_roles(description))
    others = [host for host in hosts_of(settings) if host not in members]
    return [host for host, fault in zip(others, _faults_of(others, timeout), strict=True) if fault]


def _faults_of(hosts: Sequence[Address], timeout: float) -> list[StoreUnavailable | None]:
    """Try all of these at once, and return why each can't be reached, or None."""
    with ThreadPoolExecutor(max_workers=len(hosts) or 1) as pool:
        return list(pool.map(lambda host: _fault_of(host, timeout), hosts))


def _fault_of(host: Address, timeout: float) -> StoreUnavailable | None:
    try:
        for _name, check in check_reachable(*host, timeout):
            check()
    except StoreUnavailable as error:
        return error
    return None


def settled(database: Database[dict[str, Any]]) -> TopologyDescription:
    """The servers that the driver knows, once each has answered, or failed to, or had its time."""
    give_up = time.monotonic() + SETTLING
    while True:
        description = database.client.topology_description
        servers = description.server_descriptions().values()
        if time.monotonic() > give_up or all(each.is_server_type_known or each.error for each in servers):
            return description
        time.sleep(0.02)


def _described(description: TopologyDescription) -> str:
    times = {each.address: each.round_trip_time for each in description.server_descriptions().values()}
    told = []
    for address, role in _roles(description):
        seconds = times[address]
        told.append(f"{address} {role}" + (f" {seconds * 1000:.1f} ms" if seconds is not None else ""))
    return ", ".join(told)


def _roles(description: TopologyDescription) -> list[tuple[Address, str]]:
    """Each server by its address, and what it is."""
    return sorted(
        (Address(host, port or 0), ROLES.get(server.server_type_name, "not in use"))
        for (host, port), server in description.server_descriptions().items()
    )
