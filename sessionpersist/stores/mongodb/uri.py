"""A connection string that staff paste, ``mongodb://…`` or ``mongodb+srv://…``, taken apart into fields.

What is kept is what there is a field for. What the store does anyway may be said, too; every other option is refused by
its name rather than ignored. No sentence repeats anything of the login.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.addresses import Address, port_of

SCHEMES = {"mongodb://": False, "mongodb+srv://": True}
MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-1", "MONGODB-X509")
DEFAULT_PORT = 27017
LONGEST = 10_000  # characters
NAME = re.compile("[A-Za-z]{1,40}")
FILES = {"ca_file": "tlsCAFile", "client_certificate": "tlsCertificateKeyFile"}  # the options of these fields
# The fields of what a string may leave out. The key of a certificate is in the same file as the certificate.
UNSAID: dict[str, Any] = dict.fromkeys(
    ("nodes", "username", "mechanism", "auth_source", "replica_set", *FILES, "client_key"), ""
)


def is_uri(text: str) -> bool:
    """Return whether somebody has entered a connection string where a host was wanted."""
    return text.strip().lower().startswith(tuple(SCHEMES))


def from_uri(uri: str) -> dict[str, Any]:
    """Return the fields of ``MongoSettings``, the password among them, that say what this connection string does.

    A field that the string says nothing of is among them, too, with what the driver would take: nothing of another
    server may be left beside a string. Only a password, a database or a port that is not in it, or not needed, is left
    out. Nothing is looked up. Raises StoreMisconfigured, on the field "host".
    """
    scheme, rest = _scheme(uri.strip())
    authority, query = _split(rest)
    login, hosts, database = authority
    srv = SCHEMES[scheme]
    options = {name: value for name, value in _options(query) if value is not None}
    fields = UNSAID | {"srv": srv} | _login(login) | _hosts(hosts, srv)
    if database:
        fields["database"] = _decoded(database)
        # Without the option the user is looked for in the database of the path.
        fields["auth_source"] = fields["database"] if login and not srv else ""
    fields |= options | {"tls": _tls(options, srv)}
    if fields["mechanism"] == "MONGODB-X509":
        fields["auth_source"] = ""
    return fields


def _tls(options: dict[str, Any], srv: bool) -> bool:
    """Return whether there is encryption. A file for it means it, as it does to the driver, and so does a string for
    DNS; but one may say that there is none."""
    named = [option for field, option in FILES.items() if field in options]
    tls: bool = options.get("tls", srv or bool(named))
    if named and not tls:
        raise _refused(f"The option {named[0]} is of use with TLS only: tls=false can't stand beside it.")
    return tls


def _scheme(uri: str) -> tuple[str, str]:
    for scheme in SCHEMES:
        if uri[: len(scheme)].lower() == scheme and len(uri) <= LONGEST:
            return scheme, uri[len(scheme) :]
    raise _refused("A connection string begins with mongodb:// or mongodb+srv://.")


def _split(rest: str) -> tuple[tuple[str, str, str], str]:
    """Return (login, hosts, database) and the options."""
    address, _, query = rest.partition("?")
    place, _, database = address.partition("/")
    login, _, hosts = place.rpartition("@")
    if "@" in f"{login}{database}{query}" or "/" in database or "#" in rest:
        raise _refused(
            "In a connection string the characters : / ? # [ ] @ of a user name or a password are written as % and "
            "two digits."
        )
    return (login, hosts, database), query


def _login(login: str) -> dict[str, str]:
    if not login:
        return {"username": ""}
    username, colon, password = login.partition(":")
    if ":" in password or not username:
        raise _refused("The user name or the password in this connection string is not written as in a URL.")
    found = {"username": _decoded(username)}
    return found | {"password": _decoded(password)} if colon else found


def _hosts(hosts: str, srv: bool) -> dict[str, Any]:
    found = [_address(each) for each in hosts.split(",")]
    if srv:
        if len(found) != 1 or ":" in hosts:
            raise _refused("A connection string with mongodb+srv:// has one host name, and no port.")
        return {"host": found[0].host}
    first, *further = found
    return {"host": first.host, "port": first.port, "nodes": "\n".join(map(str, further))}


def _address(text: str) -> Address:
    host, port = text, str(DEFAULT_PORT)
    if not text.endswith("]") and ":" in text:
        host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise _refused(
            "A host of this connection string is no name and no address; IPv6 is written in brackets."
        )
    number = port_of(port)
    if not host or set(host) & set("%[] \t") or number is None:
        raise _refused(
            "A host of this connection string is not a name, or its port not a number from 1 to 65535."
        )
    return Address(host, number)


def _options(query: str) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        key = name.lower()
        if not NAME.fullmatch(name):
            raise _refused("An option of this connection string has no name that MONGODB knows.")
        if (ALIASES.get(key, key)) in seen:
            raise _refused(f"The connection string has the option {name} more than once.")
        seen.add(ALIASES.get(key, key))
        yield _option(name, _decoded(value))


def _option(name: str, value: str) -> tuple[str, Any]:
    """Return the field of an option and its value; None where there is no field, as the store does it anyway."""
    key = ALIASES.get(name.lower(), name.lower())
    if key in AS_IT_IS:
        if value.lower() != AS_IT_IS[key]:
            raise _refused(
                f"The option {name} can only be {AS_IT_IS[key]}: no other way is safe for sessions."
            )
        return key, None
    if key == "appname":
        return key, None
    if key not in FIELDS:
        raise _refused(f"The option {name} has no field here: leave it out.")
    field, read = FIELDS[key]
    found = read(value)
    if found is None:
        raise _refused(f"The option {name} can't have this value.")
    return field, found


def _flag(value: str) -> bool | None:
    return {"true": True, "false": False}.get(value.lower())


def _mechanism(value: str) -> str | None:
    return value.upper() if value.upper() in MECHANISMS else None


def _text(value: str) -> str | None:
    return value or None


ALIASES = {"ssl": "tls"}
FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "replicaset": ("replica_set", _text),
    "authsource": ("auth_source", _text),
    "authmechanism": ("mechanism", _mechanism),
    "tls": ("tls", _flag),
    "tlscafile": ("ca_file", _text),
    "tlscertificatekeyfile": ("client_certificate", _text),
}
AS_IT_IS = {
    "w": "majority",
    "journal": "true",
    "retrywrites": "true",
    "retryreads": "true",
    "readpreference": "primary",
    "directconnection": "false",
}


def _decoded(text: str) -> str:
    """What is written as in a URL. A % that stands for itself is an error, which would otherwise change a password."""
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise _refused("A % in a connection string is written as %25.")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _refused("What is written with % in this connection string is no text.") from None


def _refused(sentence: str) -> StoreMisconfigured:
    return StoreMisconfigured(sentence, "host")
