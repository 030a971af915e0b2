"""The fields that name several servers: one ``host:port`` a line."""

from __future__ import annotations

from typing import NamedTuple

from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.settings import lines

MOST = 100  # servers


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


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
    if len({(host.lower(), port) for host, port in found}) < len(found):
        raise StoreMisconfigured("Enter each server once.", field)
    return found


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
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536):
        raise StoreMisconfigured(f"The port of line {number} is not a whole number from 1 to 65535.", field)
    return Address(host, int(port))
