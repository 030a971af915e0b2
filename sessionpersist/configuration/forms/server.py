"""The form of a store on a server of its own, which has an address, and users who log in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist import conf
from sessionpersist.configuration import allowed
from sessionpersist.configuration.forms.fields import (
    HostField,
    NameField,
    PathField,
    PortField,
    SecretField,
)
from sessionpersist.configuration.forms.store import StoreForm, When
from sessionpersist.configuration.store_sentences import said
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores import allowed_hosts
from sessionpersist.stores.certificates import FILES, Certificates


class ServerForm(StoreForm):
    """Host and port; user name, password and TLS."""

    when: ClassVar[dict[str, When]] = dict.fromkeys(FILES, When("tls", ("True",)))
    wide: ClassVar[tuple[str, ...]] = ("tls", "ca_file")
    terms: ClassVar[dict[str, str]] = {
        "host": "host name or IP address",
        "username": "user name; '' for none",
        "tls": "use TLS",
        "ca_file": "path of the authority's certificate; '' for the system's",
        "client_certificate": "path of the certificate that the site shows; '' for none",
        "client_key": "path of its key; '' where it is in the same file",
    }

    host = HostField(label=gettext_lazy("Host"))
    port = PortField()
    username = NameField(label=gettext_lazy("User name"))
    password = SecretField(label=gettext_lazy("Password"), sent_to=("host", "port"))
    tls = forms.BooleanField(label=gettext_lazy("Use TLS"), required=False)
    ca_file = PathField(
        label=gettext_lazy("Certificate authority"),
        help_text=gettext_lazy(
            "Path of a file on each node, in a folder of SECRETS_ALLOWED; the system's authorities if left empty."
        ),
    )
    client_certificate = PathField(
        label=gettext_lazy("Client certificate"),
        help_text=gettext_lazy("Path on each node; only where the server asks for one."),
    )
    client_key = PathField(
        label=gettext_lazy("Key of the client certificate"),
        help_text=gettext_lazy("Path on each node; empty where the key is in the same file."),
    )

    def servers(self) -> Iterator[tuple[str, str, int]]:
        """Yield the servers that were entered: the field, host and port."""
        if host := self.cleaned_data.get("host"):
            yield "host", host, self.cleaned_data.get("port") or 0

    def look_up(self) -> None:
        for field, host, port in self.servers():
            if field not in self.errors:
                self._check_host(field, host, port)
        super().look_up()
        self._check_files()
        if not {"username", "password"} & self.errors.keys():
            self.check_login(self.cleaned_data["username"], self.cleaned_data["password"])

    def check_login(self, username: str, password: str) -> None:
        """Refuse a user name without a password, unless a provider gives both."""
        if conf.credentials(self.type):
            return
        if username and not password:
            self.add_error("password", _("Enter the password of this user."))

    def _check_host(self, field: str, host: str, port: int) -> None:
        try:
            allowed_hosts.check_host(host, port, conf.timeout_seconds())
        except StoreMisconfigured as error:
            self.add_error(field, said(error))

    def _check_files(self) -> None:
        if self.errors.keys() & set(FILES):
            return
        paths = {name: self.cleaned_data[name] for name in FILES}
        try:
            for name, path in paths.items():
                if path and not self.any_variable:
                    allowed.check_file(path, name)
            Certificates(**paths).check()
        except StoreMisconfigured as error:
            self.add_error(error.field, said(error))
