"""The form of the MONGODB store."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist.configuration.forms.server import ServerForm
from sessionpersist.configuration.forms.validators import validate_mongodb_auth_source, validate_mongodb_name
from sessionpersist.stores.settings import MongoSettings


class MongoForm(ServerForm):
    settings = MongoSettings
    meaning = gettext_lazy("A collection in a MongoDB database that all nodes share.")

    terms = {
        **ServerForm.terms,
        "database": "name",
        "auth_source": "database in which the user is defined",
    }

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

    field_order = ("host", "port", "username", "password", "database", "auth_source", "tls")

    def check_login(self, username: str, password: str) -> None:
        super().check_login(username, password)
        if password and not username:
            self.add_error("username", _("Enter the user name that this password belongs to."))
