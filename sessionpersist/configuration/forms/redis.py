"""The form of the REDIS store."""

from __future__ import annotations

from django.utils.translation import gettext_lazy

from sessionpersist.configuration.forms.fields import NameField, NumberField
from sessionpersist.configuration.forms.server import ServerForm
from sessionpersist.stores.settings import RedisSettings

MOST_DATABASES = 2**31 - 1  # what the model's column holds; how many there are, the server says


class RedisForm(ServerForm):
    settings = RedisSettings
    meaning = gettext_lazy("A central Redis or Valkey server that all nodes share.")

    terms = {**ServerForm.terms, "database": "number"}

    username = NameField(
        label=gettext_lazy("User name"), help_text=gettext_lazy("Only where the server has users (ACL).")
    )
    database = NumberField(
        label=gettext_lazy("Database"),
        min_value=0,
        max_value=MOST_DATABASES,
        error=gettext_lazy("The database must be a whole number, 0 or higher."),
    )

    field_order = ("host", "port", "username", "password", "database", "tls")
