"""The fields that name several servers: one ``host:port`` a line."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.settings import lines

MOST = 100  # servers
PORT = re.compile("0*([0-9]{1,5})")


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def plain(self) -> Address:
        """The same server in one way of writing it: ``H.`` is ``h``, and ``0:0:0:0:0:0:0:1`` is ``::1``."""
        host = self.host.lower().removesuffix(".")
        with suppress(ValueError):  # a name
            host = str(ipaddress.ip_address(host))
        return Address(host, self.port)


def addresses(text: str, field: str = "nodes") -> list[Address]:
    """Return the servers that are named in the field, in order.

    Raises StoreMisconfigured on that field. No sentence repeats what was typed, but for the number of the line: there
    may be a password in it.
    """
    found = [_address(line, number, field) for number, line in enumerate(lines(text), 1)]
    if not found:
        raise StoreMisconfigured("Enter at least one server, as host:port.", field)
    if len(found) > MOST:
        raise StoreMisconfigured(f"Enter at most {MOST} servers: the others are found by themselves.", field)
    check_distinct(found, field)
    return found


def check_distinct(found: Iterable[Address], field: str = "nodes") -> None:
    """Raise StoreMisconfigured, on that field, where one of the servers is there twice."""
    plain = [each.plain for each in found]
    if len(set(plain)) < len(plain):
        raise StoreMisconfigured("Enter each server once.", field)


def port_of(text: str) -> int | None:
    """Return the TCP port that is written there, or None. However many digits there are, it takes no time."""
    # Python itself refuses to read thousands of digits, with a ValueError, be they zeros.
    written = PORT.fullmatch(text)
    port = int(written[1]) if written else 0
    return port if 0 < port < 65536 else None


def _address(line: str, number: int, field: str) -> Address:
    host, colon, port = line.rpartition(":")
    if not colon or line.endswith("]"):
        raise StoreMisconfigured(f"Line {number} has no port: enter host:port.", field)
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not host or set(host) & set("/@[] \t") or (":" in host and not bracketed):
        raise StoreMisconfigured(
            f"Line {number} is not the name or the address of a host, a colon and a port.", field
        )
    number_of_port = port_of(port)
    if number_of_port is None:
        raise StoreMisconfigured(f"The port of line {number} is not a whole number from 1 to 65535.", field)
    return Address(host, number_of_port)
