"""The hosts that stores may be at: ``SESSIONPERSIST["ALLOWED_STORE_HOSTS"]``, where it is set.

A host is allowed by its name (``redis.example.org``; ``.example.org`` is that name and all below it), or where every
address that it resolves to is (``10.0.0.7``, ``10.0.0.0/8``). The form asks before anything is connected, so that
nobody can find out by Test connection what listens where. To open a store asks no name server: what a name leads to is
judged as it is connected, of the addresses that were found.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from time import monotonic
from typing import NamedTuple

from sessionpersist import conf
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.connecting import ip_addresses, numeric, resolve

ANY_PORT = 0
NOT_ALLOWED = "The settings of this site do not allow a session store at this host (ALLOWED_STORE_HOSTS)."

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class HostNotAllowed(ConnectionError):
    """A driver was about to connect to a host that is not allowed."""


class Allowed(NamedTuple):
    names: frozenset[str]
    networks: tuple[Network, ...]


def check_host(host: str, port: int, timeout: float) -> None:
    """Raise StoreMisconfigured where a store may not be at this host, or nobody can tell in time."""
    allowed = _allowed()
    if allowed is None or _is_named(host, allowed):
        return
    found: list[str] = []
    if allowed.networks:
        with suppress(OSError, UnicodeError):  # that it does not resolve is no other answer
            found = ip_addresses(resolve(host, port, monotonic() + timeout))
    if not (found and _are_inside(found, allowed.networks)):
        raise StoreMisconfigured(NOT_ALLOWED, "host")


def check_literal(host: str) -> None:
    """Raise StoreMisconfigured where it takes no name server to tell that a store may not be at this host."""
    allowed = _allowed()
    if allowed is None or _is_named(host, allowed):
        return
    found = numeric(host, ANY_PORT)
    if not allowed.networks or (found and not _are_inside(ip_addresses(found), allowed.networks)):
        raise StoreMisconfigured(NOT_ALLOWED, "host")


def check_addresses(host: str, addresses: Iterable[str]) -> None:
    """Raise HostNotAllowed where a connection to that host may not lead to one of these addresses: a name may lead
    elsewhere by now, and a server may have told the driver of it."""
    allowed = _allowed()
    if allowed is not None and not _is_named(host, allowed) and not _are_inside(addresses, allowed.networks):
        raise HostNotAllowed(NOT_ALLOWED)


def is_entry(entry: object) -> bool:
    """Return whether it can stand in ALLOWED_STORE_HOSTS."""
    if not isinstance(entry, str) or not entry.strip("."):
        return False
    return _network(entry) is not None or not set(entry) & set("/:@* \t\n")


def _allowed() -> Allowed | None:
    entries = conf.allowed_store_hosts()
    return None if entries is None else _parsed(entries)


@lru_cache(maxsize=8)
def _parsed(entries: tuple[str, ...]) -> Allowed:
    networks = {entry: _network(entry) for entry in entries}
    names = frozenset(_normal(entry) for entry, network in networks.items() if network is None)
    return Allowed(names, tuple(network for network in networks.values() if network is not None))


def _network(entry: str) -> Network | None:
    try:
        return ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None


def _normal(name: str) -> str:
    return name.lower().removesuffix(".")


def _is_named(host: str, allowed: Allowed) -> bool:
    name = _normal(host)
    labels = name.split(".")
    above = ("." + ".".join(labels[first:]) for first in range(len(labels)))
    return name in allowed.names or any(each in allowed.names for each in above)


def _are_inside(addresses: Iterable[str], networks: tuple[Network, ...]) -> bool:
    return all(any(_plain(address) in network for network in networks) for address in addresses)


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address; one of IPv4 that is written as one of IPv6, as itself."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
