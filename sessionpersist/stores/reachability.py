"""What every store on a server checks first: that its address is one, that its name resolves, that its port is open."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Iterator

from sessionpersist.awaiting import AllInUse
from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores import connecting
from sessionpersist.stores.allowed_hosts import NOT_ALLOWED, HostNotAllowed, check_addresses
from sessionpersist.stores.base import Check
from sessionpersist.stores.certificates import Certificates

IMPATIENCE = 0.5  # seconds: who hangs up does so at once


class Crowded(StoreUnavailable):
    """The server was not asked, as this process has no connection left for it. That says nothing about the server."""


def check_address(label: str, host: str, port: int) -> None:
    """Raise StoreMisconfigured for what can't be an address. A URL may have a password in it: it is not repeated."""
    if not host:
        raise StoreMisconfigured("No host is entered.", "host")
    if set(host) & set("/@ "):
        raise StoreMisconfigured(
            f"{label} needs the name or the address of a host, without anything else.", "host"
        )
    if not 0 < port < 65536:
        raise StoreMisconfigured(f"There is no port {port}.", "port")


def check_reachable(host: str, port: int, timeout: float) -> Iterator[Check]:
    """The first two checks of every store on a server: resolve the name, open a TCP connection."""

    found: list[
        connecting.AddressInfo
    ] = []  # the name is asked for once: what is checked is what is connected

    def look_up() -> str:
        try:
            found[:] = connecting.resolve(host, port, time.monotonic() + timeout)
            check_addresses(host, connecting.ip_addresses(found))
        except TimeoutError as error:
            raise StoreUnavailable(f"The name server did not answer in time for “{host}”.", "host") from error
        except HostNotAllowed as error:
            raise StoreMisconfigured(NOT_ALLOWED, "host") from error
        except (OSError, ValueError) as error:
            raise unreachable(host, port, socket.gaierror()) from error
        return ", ".join(sorted(set(connecting.ip_addresses(found))))

    def connect() -> None:
        try:
            connecting.connect_to(found, time.monotonic() + timeout).close()
        except OSError as error:
            raise unreachable(host, port, error) from error

    yield "Resolve host name", look_up
    yield "Connect", connect


def check_speaks_tls(host: str, port: int, timeout: float) -> None:
    """Raise StoreUnavailable on "tls" where a server that hung up on a plain connection takes an encrypted one."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whoever it is: nothing is sent to it
    give_up = time.monotonic() + timeout
    try:
        with connecting.connect(host, port, give_up, check_addresses) as plain:
            plain.settimeout(connecting.left(give_up))
            context.wrap_socket(plain).close()
    except (OSError, ValueError):
        return
    raise StoreUnavailable(f"The server on port {port} of {host} wants TLS.", "tls")


def hangs_up(host: str, port: int, timeout: float, certificates: Certificates) -> bool:
    """Return whether a server makes a TLS handshake, and hangs up before it is asked anything."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whoever it is: nothing is sent to it
    give_up = time.monotonic() + timeout
    try:
        certificates.load(context)
        plain = connecting.connect(host, port, give_up, check_addresses)
        with plain, context.wrap_socket(plain) as line:
            line.settimeout(min(IMPATIENCE, connecting.left(give_up)))
            return line.recv(1) == b""
    except TimeoutError:
        return False  # it waits to be asked
    except (OSError, ValueError) as error:
        return "alert" in str(error).lower()  # since TLS 1.3 it is told after the handshake


def shake_hands(host: str, port: int, timeout: float, certificates: Certificates, ask: bytes = b"") -> str:
    """Make a TLS handshake as a store does, log in to nothing, and return which TLS it came to.

    Since TLS 1.3 a server says after the handshake whether it accepts the client's certificate, or that it wants one.
    ``ask`` is what every server answers at once, before a login too; without it a moment has to do. Raises OSError, of
    which ssl.SSLError is one, and ValueError.
    """
    context = ssl.create_default_context()
    certificates.load(context)
    give_up = time.monotonic() + timeout
    plain = connecting.connect(host, port, give_up, check_addresses)
    with plain:
        plain.settimeout(connecting.left(give_up))
        with context.wrap_socket(plain, server_hostname=host) as line:
            line.sendall(ask)
            line.settimeout(connecting.left(give_up) if ask else min(IMPATIENCE, connecting.left(give_up)))
            if not _answers(line, waits=not ask):
                raise ConnectionResetError("The server hung up after the handshake.")
            return line.version() or ""


def _answers(line: ssl.SSLSocket, *, waits: bool) -> bool:
    """Whether a server says something, or ``waits`` to be asked."""
    try:
        return line.recv(1) != b""
    except TimeoutError:
        if not waits:
            raise
        return True


def unreachable(host: str, port: int, error: BaseException) -> StoreUnavailable:
    """Say why a TCP connection failed, on the field that is the likely cause."""
    if isinstance(error, ConnectionRefusedError):
        return StoreUnavailable(
            f"Nothing listens on port {port} of {host}: the connection was refused.", "port"
        )
    if isinstance(error, socket.gaierror):
        return StoreUnavailable(f"The host name “{host}” does not resolve.", "host")
    if isinstance(error, TimeoutError):
        return StoreUnavailable(f"{host} did not answer on port {port} in time.", "host")
    return StoreUnavailable(f"No connection to {host}, port {port}.", "host")


def all_in_use(causes: Iterable[BaseException], server: str) -> Crowded | None:
    """Say that a coroutine has waited in vain for others to be done, if it is that. ``server`` begins a sentence."""
    most = next((each.most for each in causes if isinstance(each, AllInUse)), None)
    if most is None:
        return None
    return Crowded(
        f"{server} was not asked: all {most} connections that this process may have are in use. If the server is "
        "healthy, start more processes."
    )
