"""The form of the MONGODB store."""

from __future__ import annotations

from collections.abc import Iterator

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist.configuration.forms.fields import (
    ChoiceField,
    NameField,
    NodesField,
    SecretField,
)
from sessionpersist.configuration.forms.server import FILES, ServerForm
from sessionpersist.configuration.forms.store import When
from sessionpersist.configuration.forms.validators import validate_mongodb_auth_source, validate_mongodb_name
from sessionpersist.models import MongoMechanism
from sessionpersist.stores.addresses import addresses
from sessionpersist.stores.settings import MongoSettings

WITH_A_PASSWORD = When(
    "mechanism", tuple(name for name in ("", *MongoMechanism.values) if name != MongoMechanism.X509)
)


class MongoForm(ServerForm):
    """A server or a replica set."""

    settings = MongoSettings
    meaning = gettext_lazy("A collection in a MongoDB database that all nodes share.")
    when = {
        **ServerForm.when,
        "port": When("srv", ("False",)),
        "nodes": When("srv", ("False",)),
        "password": WITH_A_PASSWORD,
    }
    wide = (*ServerForm.wide, "nodes")
    terms = {
        **ServerForm.terms,
        "nodes": "further hosts of the replica set, as host:port",
        "database": "name",
        "auth_source": "database in which the user is defined",
        "mechanism": ", ".join(MongoMechanism.values),
    }

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
    password = SecretField(label=gettext_lazy("Password"), sent_to=("host", "port", "srv", "nodes"))
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
        *("host", "port", "srv", "nodes", "replica_set"),
        *("mechanism", "username", "password", "database", "auth_source", "tls", *FILES),
    )

    def servers(self) -> Iterator[tuple[str, str, int]]:
        yield from super().servers()
        if nodes := self.cleaned_data.get("nodes"):
            yield from (("nodes", each.host, each.port) for each in addresses(nodes))

    def check_login(self, username: str, password: str) -> None:
        if self.cleaned_data.get("mechanism") == MongoMechanism.X509:
            return
        super().check_login(username, password)
        if password and not username:
            self.add_error("username", _("Enter the user name that this password belongs to."))
