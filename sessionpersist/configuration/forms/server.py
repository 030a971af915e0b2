"""The form of a store on a server of its own, which has an address, and users who log in."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist import conf
from sessionpersist.configuration.forms.fields import HostField, NameField, PortField, SecretField
from sessionpersist.configuration.forms.store import StoreForm
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores import hosts


class ServerForm(StoreForm):
    """Host and port; user name, password and TLS."""

    terms = {"host": "host name or IP address", "username": "user name; '' for none", "tls": "use TLS"}

    host = HostField(label=gettext_lazy("Host"))
    port = PortField()
    username = NameField(label=gettext_lazy("User name"))
    password = SecretField(label=gettext_lazy("Password"), sent_to=("host", "port"))
    tls = forms.BooleanField(label=gettext_lazy("Use TLS"), required=False)

    def look_up(self) -> None:
        self._check_host()
        super().look_up()
        if not {"username", "password"} & self.errors.keys():
            self.check_login(self.cleaned_data["username"], self.cleaned_data["password"])

    def check_login(self, username: str, password: str) -> None:
        """Refuse a user name without a password."""
        if username and not password:
            self.add_error("password", _("Enter the password of this user."))

    def _check_host(self) -> None:
        host, port = self.cleaned_data.get("host"), self.cleaned_data.get("port")
        if not host:
            return
        try:
            hosts.check_host(host, port or 0, conf.timeout_seconds())
        except StoreMisconfigured as error:
            self.add_error("host", str(error))
