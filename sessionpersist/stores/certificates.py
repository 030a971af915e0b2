"""The files that TLS takes: which authority we trust, and who we are. Paths on the node, which staff enter.

They are read again for each new connection: certificates of a day or an hour are replaced while the site runs. A key
is never copied, into a temporary file, say: the two files are handed to Python's own TLS as they are.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sessionpersist.exceptions import StoreMisconfigured

FILES = ("ca_file", "client_certificate", "client_key")  # the fields, as each store's settings name them
LARGEST = 1024 * 1024  # bytes: a bundle of all authorities has a quarter of that
OTHERS = stat.S_IRWXO
OTHERS_AND_GROUP = stat.S_IRWXO | stat.S_IRWXG


@dataclass(frozen=True)
class Certificates:
    """Paths; each may be empty. Without ``client_key`` the key is in the file of the certificate."""

    ca_file: str = ""
    client_certificate: str = ""
    client_key: str = ""

    @property
    def own_key(self) -> str:
        """The file that the key of the client certificate is in."""
        return self.client_key or self.client_certificate

    def check(self) -> None:
        """Raise StoreMisconfigured, on the field that is wrong, where these files can't be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca_file:
            _check_file(self.ca_file, "ca_file")
            _loaded(lambda: context.load_verify_locations(self.ca_file), NO_CERTIFICATE, "ca_file")
        if self.client_key and not self.client_certificate:
            raise StoreMisconfigured("This key needs a client certificate beside it.", "client_certificate")
        if self.client_certificate:
            self._check_own(context)

    def load(self, context: ssl.SSLContext) -> None:
        """Give a context what these files hold now. Raises OSError, of which ssl.SSLError is one."""
        if self.ca_file:
            context.load_verify_locations(self.ca_file)
        self.load_own(context)

    def load_own(self, context: ssl.SSLContext) -> None:
        """Do this for the client certificate and its key alone."""
        if self.client_certificate:
            context.load_cert_chain(self.client_certificate, self.own_key, _no_password)

    def _check_own(self, context: ssl.SSLContext) -> None:
        _check_file(self.client_certificate, "client_certificate")
        # A context that only verifies reads certificates, and no key.
        _loaded(
            lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(self.client_certificate),
            NO_CERTIFICATE,
            "client_certificate",
        )
        field = "client_key" if self.client_key else "client_certificate"
        if self.client_key:
            _check_file(self.client_key, "client_key")
        _check_mode(self.own_key, field)
        _loaded(
            lambda: context.load_cert_chain(self.client_certificate, self.own_key, _no_password),
            NO_KEY if self.client_key else NO_KEY_INSIDE,
            field,
        )


NO_CERTIFICATE = "There is no certificate in this file that can be read (PEM)."
NO_KEY = "The key in this file is none, is protected by a password, or is not that of the client certificate."
NO_KEY_INSIDE = (
    "This file has no key of the certificate: enter the file of the key, or put both into this one."
)


def _check_file(path: str, field: str) -> None:
    if not path.startswith("/"):
        raise StoreMisconfigured("Enter the whole path of the file, from / on.", field)
    try:
        found = Path(path).stat()
        readable = os.access(path, os.R_OK)
    except (OSError, ValueError) as error:
        raise StoreMisconfigured(
            "This node has no such file, or may not look into its folder.", field
        ) from error
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
        raise StoreMisconfigured("This is no file of a certificate or a key.", field)
    if not readable:
        raise StoreMisconfigured("The site may not read this file.", field)


def _check_mode(path: str, field: str) -> None:
    """A key is its owner's alone; one of root's may be its group's, too, which is how secrets are mounted (the rule of
    PostgreSQL's client)."""
    found = Path(path).stat()
    if found.st_mode & (OTHERS if found.st_uid == 0 else OTHERS_AND_GROUP):
        raise StoreMisconfigured("Others may read this key: give its file the mode 600 (chmod 600).", field)


def _loaded(load: Callable[[], None], sentence: str, field: str) -> None:
    try:
        load()
    except (OSError, ValueError) as error:
        raise StoreMisconfigured(sentence, field) from error


def _no_password() -> str:
    """Without this OpenSSL would ask for one at the terminal."""
    return ""
