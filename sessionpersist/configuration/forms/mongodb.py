"""The form of the MONGODB store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist import conf
from sessionpersist.configuration.forms.fields import (
    ChoiceField,
    HostField,
    NameField,
    NodesField,
    SecretField,
)
from sessionpersist.configuration.forms.server import ServerForm
from sessionpersist.configuration.forms.store import When
from sessionpersist.configuration.forms.validators import validate_mongodb_auth_source, validate_mongodb_name
from sessionpersist.configuration.store_sentences import said
from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.models import MongoMechanism
from sessionpersist.stores.addresses import Address, addresses, check_distinct
from sessionpersist.stores.certificates import FILES
from sessionpersist.stores.mongodb import alias as aliases
from sessionpersist.stores.mongodb.uri import from_uri, is_uri
from sessionpersist.stores.secret import Secret
from sessionpersist.stores.settings import MongoSettings

if TYPE_CHECKING:
    from sessionpersist.models import LoginConfiguration

AT_AN_ADDRESS = When("alias", ("",))
WITH_A_PASSWORD = When(
    "mechanism", tuple(name for name in ("", *MongoMechanism.values) if name != MongoMechanism.X509)
)

LOGIN = ("username", "mechanism", "auth_source")


class MongoForm(ServerForm):
    """A server, a replica set or a MongoDB database of the project. A connection string that is entered as the host is
    taken apart into the fields."""

    settings = MongoSettings
    meaning = gettext_lazy("A collection in a MongoDB database that all nodes share.")
    when = {
        **ServerForm.when,
        **dict.fromkeys(("host", "srv", "replica_set", "mechanism", "database", "tls"), AT_AN_ADDRESS),
        **dict.fromkeys(("username", "auth_source"), AT_AN_ADDRESS),
        "port": When("srv", ("False",)),
        "nodes": When("srv", ("False",)),
        "password": WITH_A_PASSWORD,
    }
    wide = (*ServerForm.wide, "alias", "nodes")
    further = ("srv", "nodes", "replica_set", "mechanism")
    terms = {
        **ServerForm.terms,
        "alias": "MongoDB database of the project, by its alias in DATABASES, instead of an address; '' for none",
        "nodes": "further hosts of the replica set, as host:port",
        "database": "name",
        "auth_source": "database in which the user is defined",
        "mechanism": ", ".join(MongoMechanism.values),
    }

    alias = forms.CharField(
        label=gettext_lazy("Reached by"),
        required=False,
        help_text=gettext_lazy("A database of the project is used through the project's own connection."),
    )
    host = HostField(
        label=gettext_lazy("Host"),
        may_hold_secret=True,
        help_text=gettext_lazy(
            "Or a connection string, mongodb://…, which is taken apart into these fields."
        ),
    )
    srv = forms.BooleanField(label=gettext_lazy("Find the hosts by DNS (SRV)"), required=False)
    nodes = NodesField(
        label=gettext_lazy("Further hosts"),
        required=False,
        help_text=gettext_lazy(
            "Of a replica set, so that it is found while one is down: one host:port a line."
        ),
    )
    replica_set = NameField(
        label=gettext_lazy("Replica set"), help_text=gettext_lazy("Its name, where it has further hosts.")
    )
    mechanism = ChoiceField(
        label=gettext_lazy("Authentication"),
        choices=[("", gettext_lazy("As the server proposes")), *MongoMechanism.choices],
    )
    password = SecretField(label=gettext_lazy("Password"), sent_to=("alias", "host", "port", "srv", "nodes"))
    database = forms.CharField(
        label=gettext_lazy("Database name"),
        validators=[validate_mongodb_name],
        error_messages={"required": gettext_lazy("Enter the name of the database.")},
    )
    auth_source = forms.CharField(
        label=gettext_lazy("Authentication database"),
        required=False,
        validators=[validate_mongodb_auth_source],
        help_text=gettext_lazy("Where the user is defined; “admin” if left empty."),
    )

    field_order = (
        "alias",
        *("host", "port", "srv", "nodes", "replica_set"),
        *("mechanism", "username", "password", "database", "auth_source", "tls", *FILES),
    )

    def __init__(self, data: Any, saved: LoginConfiguration, **kwargs: Any) -> None:
        self.refused_uri: StoreMisconfigured | None = None
        super().__init__(self._taken_apart(data), saved, **kwargs)
        self._offer_aliases()

    def clean(self) -> dict[str, Any]:
        if self.refused_uri:
            self.errors.pop("host", None)
            self.add_error("host", str(self.refused_uri))
        return super().clean()

    def clean_alias(self) -> str:
        alias: str = self.cleaned_data["alias"]
        if alias and not aliases.is_mongodb(alias):
            raise ValidationError(aliases.NO_SUCH.format(alias=alias))
        return alias

    def clean_nodes(self) -> str:
        nodes: str = self.cleaned_data["nodes"]
        host, port = self.cleaned_data.get("host"), self.cleaned_data.get("port")
        if nodes and host and port and not self.cleaned_data.get("srv"):
            try:
                check_distinct([Address(host, port), *addresses(nodes)])
            except StoreMisconfigured as error:
                raise ValidationError(said(error)) from error
        return nodes

    def servers(self) -> Iterator[tuple[str, str, int]]:
        """The name that stands for hosts in DNS is none itself: those that it leads to count."""
        for field, host, port in super().servers():
            found = _hosts_by_name(host) if self.cleaned_data.get("srv") else []
            yield from ((field, each.host, each.port) for each in found or [Address(host, port)])
        if nodes := self.cleaned_data.get("nodes"):
            yield from (("nodes", each.host, each.port) for each in addresses(nodes))

    def check_login(self, username: str, password: str) -> None:
        if self.cleaned_data.get("mechanism") == MongoMechanism.X509:
            return
        super().check_login(username, password)
        if password and not username:
            self.add_error("username", _("Enter the user name that this password belongs to."))

    @classmethod
    def taken_apart(cls, data: Any) -> Any:
        """The string says everything but the login, which may be typed beside it rather than put into a string: then
        nothing that it leaves out of the login counts. Without one the saved password goes, too."""
        entered = Secret((data or {}).get(cls.settings.field("host"), ""))
        if not is_uri(entered):
            return data
        fields, data = from_uri(entered), data.copy()
        if not fields["username"]:
            if data.get(cls.settings.field("password")):
                fields = {name: value for name, value in fields.items() if value or name not in LOGIN}
            else:
                data[cls.settings.field(cls.removal_of("password"))] = "on"
        cls._enter(fields, data)
        return data

    @classmethod
    def _enter(cls, fields: dict[str, Any], data: Any) -> None:
        """Put values where a browser would send them from."""
        for name, value in fields.items():
            if value is False:
                data.pop(cls.settings.field(name), None)  # as an empty box is sent: not at all
            else:
                secret = name in cls.settings.secret_names()
                data[cls.settings.field(name)] = Secret(value) if secret else value

    def _taken_apart(self, data: Any) -> Any:
        """Return the same with a connection string in the place of the host taken apart; see ``clean``."""
        try:
            return self.taken_apart(data)
        except StoreMisconfigured as error:
            self.refused_uri = error
            data = data.copy()
            data[self.settings.field("host")] = ""  # the password in it is not sent back to the browser
            return data

    def _offer_aliases(self) -> None:
        """The drop-down of the project's MongoDB databases; hidden where there is none."""
        found = list(dict.fromkeys([*aliases.mongodb_aliases(), *filter(None, [self.saved["alias"]])]))
        choices = [("", _("An address")), *((each, f"{each} (DATABASES)") for each in found)]
        self.fields["alias"].widget = forms.Select(choices=choices) if found else forms.HiddenInput()


def _hosts_by_name(name: str) -> list[Address]:
    """Return the hosts that DNS knows under a name, as far as anybody wants to know: not where any is allowed."""
    if conf.allowed_store_hosts() is None:
        return []
    try:
        from sessionpersist.stores.mongodb.client import hosts_by_name  # which needs the driver

        return hosts_by_name(MongoSettings(host=name, srv=True), conf.timeout_seconds())
    except (ModuleNotFoundError, StoreUnavailable):
        return []  # then the name is judged like that of a host, and nothing is told of it
