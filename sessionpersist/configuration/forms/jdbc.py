"""The form of the JDBC store."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist.configuration.databases import DatabaseState, look_at_databases
from sessionpersist.configuration.forms.store import StoreForm
from sessionpersist.stores.settings import DatabaseSettings


class JdbcForm(StoreForm):
    settings = DatabaseSettings
    meaning = gettext_lazy("A table in one of the relational databases of this project.")
    wide = ("database",)
    terms = {"database": "alias in DATABASES"}

    database = forms.CharField(
        label=gettext_lazy("Database"),
        widget=forms.Select,
        error_messages={"required": gettext_lazy("Choose a database.")},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["database"] = self.saved["database"] or DEFAULT_DB_ALIAS
        widget: Any = self.fields["database"].widget
        widget.choices = self._choices

    def clean_database(self) -> str:
        alias: str = self.cleaned_data["database"]
        if alias not in connections:
            message = _("The project has no database “{alias}” in DATABASES.")
            raise ValidationError(message.format(alias=alias))
        return alias

    def field_of(self, blamed: str) -> str:
        """The host, port and password of a project's database are not entered here."""
        return "database"

    @cached_property
    def _databases(self) -> list[DatabaseState]:
        return look_at_databases()

    def _choices(self) -> Iterable[tuple[str, str]]:
        """The drop-down of databases. Called when it is shown, as it looks at each of them."""
        yield from ((state.alias, str(state)) for state in self._databases)
        saved = self.saved["database"]
        if saved and saved not in connections:
            yield saved, _("{alias} (no longer in DATABASES)").format(alias=saved)
