"""The form of the REDIS store."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist.configuration.forms.fields import (
    ChoiceField,
    NameField,
    NodesField,
    NumberField,
    SecretField,
)
from sessionpersist.configuration.forms.server import ServerForm
from sessionpersist.configuration.forms.store import When
from sessionpersist.models import RedisMode
from sessionpersist.stores.addresses import addresses
from sessionpersist.stores.certificates import FILES
from sessionpersist.stores.settings import CLUSTER, SENTINEL, STANDALONE, RedisSettings

MOST_DATABASES = 2**31 - 1  # what the model's column holds; how many there are, the server says
MOST_REPLICAS = 100


class RedisForm(ServerForm):
    """One server, or several that are found through Sentinels or nodes of a Cluster."""

    settings = RedisSettings
    meaning = gettext_lazy("A central Redis or Valkey server that all nodes share.")
    when = {
        **ServerForm.when,
        "host": When("mode", (STANDALONE,)),
        "port": When("mode", (STANDALONE,)),
        "nodes": When("mode", (SENTINEL, CLUSTER)),
        "sentinel_name": When("mode", (SENTINEL,)),
        "sentinel_username": When("mode", (SENTINEL,)),
        "sentinel_password": When("mode", (SENTINEL,)),
        "database": When("mode", (STANDALONE, SENTINEL)),
    }
    wide = (*ServerForm.wide, "mode", "nodes", "sentinel_name")
    further = ("wait_replicas",)
    terms = {
        **ServerForm.terms,
        "mode": f"{STANDALONE}, {SENTINEL} or {CLUSTER}",
        "nodes": "the Sentinels, or some nodes of the Cluster, as host:port",
        "database": "number",
    }

    mode = ChoiceField(label=gettext_lazy("Servers"), choices=RedisMode.choices, empty=STANDALONE)
    nodes = NodesField(
        label=gettext_lazy("Nodes"),
        error_messages={"required": gettext_lazy("Enter at least one server, as host:port.")},
        help_text=gettext_lazy(
            "The Sentinels, or some nodes of the Cluster: one host:port a line. The others are found through them."
        ),
    )
    sentinel_name = NameField(
        label=gettext_lazy("Name of the primary"),
        required=True,
        error_messages={"required": gettext_lazy("Enter the name that the Sentinels give the primary.")},
        help_text=gettext_lazy("What the Sentinels call it, such as “mymaster”."),
    )
    sentinel_username = NameField(
        label=gettext_lazy("User name at the Sentinels"),
        help_text=gettext_lazy("Only where the Sentinels have users of their own."),
    )
    sentinel_password = SecretField(
        label=gettext_lazy("Password at the Sentinels"), sent_to=("mode", "nodes")
    )
    username = NameField(
        label=gettext_lazy("User name"), help_text=gettext_lazy("Only where the server has users (ACL).")
    )
    password = SecretField(
        label=gettext_lazy("Password"), sent_to=("mode", "host", "port", "nodes", "sentinel_name")
    )
    database = NumberField(
        label=gettext_lazy("Database"),
        min_value=0,
        max_value=MOST_DATABASES,
        error=gettext_lazy("The database must be a whole number, 0 or higher."),
    )
    wait_replicas = NumberField(
        label=gettext_lazy("Wait for replicas"),
        min_value=0,
        max_value=MOST_REPLICAS,
        empty=0,
        error=gettext_lazy("This must be a whole number from 0 to 100."),
        help_text=gettext_lazy(
            "How many replicas must confirm a login, a change or a logout before it counts, so that no fail-over "
            "undoes it; without them users get a 503. 0 waits for none."
        ),
    )

    field_order = (
        "mode",
        *("host", "port", "nodes", "sentinel_name", "sentinel_username", "sentinel_password"),
        *("username", "password", "database", "wait_replicas", "tls", *FILES),
    )

    def look_up(self) -> None:
        super().look_up()
        login = ("sentinel_username", "sentinel_password")
        username, password = map(self.cleaned_data.get, login)
        if username and not password and not self.errors.keys() & set(login):
            self.add_error("sentinel_password", _("Enter the password of this user."))

    def servers(self) -> Iterator[tuple[str, str, int]]:
        yield from super().servers()
        if nodes := self.cleaned_data.get("nodes"):
            yield from (("nodes", each.host, each.port) for each in addresses(nodes))
