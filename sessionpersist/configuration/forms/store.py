"""What the forms of the stores have in common."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.forms.utils import ErrorDict
from django.utils.translation import gettext as _

from sessionpersist.configuration import allowed
from sessionpersist.configuration.forms.fields import ConsentField, NodesField, SecretField, as_text
from sessionpersist.configuration.forms.validators import first_complaint, refuse_control_characters
from sessionpersist.configuration.store_sentences import said
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.settings import StoreSettings, build, of_type, reveal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_stubs_ext import StrOrPromise as Text

    from sessionpersist.models import LoginConfiguration


@dataclass(frozen=True)
class When:
    """A field counts, and is shown, only while another one counts and has one of these values (a box: "True")."""

    field: str
    values: tuple[str, ...]


class StoreField(forms.BoundField):
    """A field as the page shows it."""

    form: StoreForm

    @property
    def when(self) -> When | None:
        """While what choice it is shown; the field is named as the page names it."""
        condition = self.form.condition_of(self.name)
        return condition and When(self.form.settings.field(condition.field), condition.values)

    @property
    def layout(self) -> str:
        """The classes that say how much room the field takes."""
        if isinstance(self.field, ConsentField):
            return "sp-consent"
        if self.name in self.form.removals.values():
            return "sp-removal"
        return "sp-wide" if self.name in self.form.wide else ""


class StoreForm(forms.Form):
    """The form of one store. A subclass declares the fields under the names that the store's settings give them.

    ``data`` is what the whole page sent, ``saved`` the configuration as it is. Only the form of the chosen store
    ``counts``: the others are shown, but not validated. ``any_variable`` is for a configuration that comes from the
    settings, whose secrets may be read from any variable. Without ``saving`` nothing is asked for but what a test of
    the connection needs.
    """

    settings: ClassVar[type[StoreSettings]]
    meaning: ClassVar[Text]  # one line for the choice of the store
    when: ClassVar[dict[str, When]] = {}
    wide: ClassVar[tuple[str, ...]] = ()  # the fields that take a whole row
    further: ClassVar[tuple[str, ...]] = ()  # the fields that most sites leave alone: shown on demand
    terms: ClassVar[dict[str, str]] = {}  # what the command calls a field where the label does not say enough

    bound_field_class = StoreField
    use_required_attribute = False  # a browser can't point at a field of a group that is hidden

    def __init__(
        self,
        data: Any,
        saved: LoginConfiguration,
        *,
        counts: bool = True,
        saving: bool = True,
        any_variable: bool = False,
    ) -> None:
        self.saved = of_type(self.settings, vars(saved))
        secrets = self.settings.secret_names()
        super().__init__(data, initial={name: self.saved[name] for name in self.saved if name not in secrets})
        self.counts, self.saving, self.any_variable = counts, saving, any_variable
        self.looks_up = True
        # Which store was entered, for the records: only its type, until the fields that name it are known to be valid.
        self.target = self.settings.label
        # The box that removes a saved secret, by the name of its field.
        self.removals = {name: self.removal_of(name) for name in self.secrets if self.saved[name]}
        self._set_up_secrets()
        for field in self.fields.values():
            if isinstance(field, forms.CharField) and not isinstance(field, NodesField):
                field.validators = [first_complaint(refuse_control_characters, *field.validators)]

    # What the page and the command read.

    @classmethod
    def about(cls, name: str) -> str:
        """Say what a field is, for the help of the command."""
        return cls.terms.get(name) or cls.words_for(name)

    @classmethod
    def words_for(cls, name: str) -> str:
        """Return the label of a field as it stands in a sentence."""
        label = str(cls.base_fields[name].label)
        return label[0].lower() + label[1:]

    @staticmethod
    def removal_of(secret: str) -> str:
        """Return the name of the box that removes this saved secret."""
        return f"{secret}_clear"

    @classmethod
    def guards_of(cls, secret: str) -> list[str]:
        """Return the fields that decide who gets to see this secret, and how."""
        field = cls.base_fields[secret]
        assert isinstance(field, SecretField)
        return [*field.sent_to, *(["tls"] if "tls" in cls.base_fields else [])]

    @classmethod
    def taken_apart(cls, data: Any) -> Any:
        """Return what the page sent, with a text that says more than its own field taken apart into the others.

        Raises StoreMisconfigured, on the field, where such a text can't be read.
        """
        return data

    @property
    def type(self) -> str:
        return self.settings.type

    @property
    def label(self) -> str:
        return self.settings.label

    @property
    def secrets(self) -> list[str]:
        return [name for name in self.fields if name in self.settings.secret_names()]

    @property
    def consents(self) -> list[str]:
        return [name for name, field in self.fields.items() if isinstance(field, ConsentField)]

    def plain_fields(self) -> list[forms.BoundField]:
        """Return the fields that are always shown."""
        return [bound for bound in self.visible_fields() if bound.name not in self.further]

    def further_fields(self) -> list[forms.BoundField]:
        """Return the fields that are shown on demand."""
        return [self[name] for name in self.further]

    def uses_further_fields(self) -> bool:
        """Return whether one of them is set, or has an error: then all are shown at once."""
        return any(
            bound.errors or str(bound.value() or "") not in ("", "0") for bound in self.further_fields()
        )

    def add_prefix(self, field_name: str) -> str:
        return self.settings.field(field_name)

    def initial_data(self) -> dict[str, Any]:
        """Return what the page would send for this store if nobody changed anything."""
        return {
            bound.html_name: self.get_initial_for_field(bound.field, bound.name)
            for bound in map(self.__getitem__, self.fields)
        }

    @cached_property
    def changed_data(self) -> list[str]:
        """The fields that were changed and count."""
        return [name for name in super().changed_data if self._applies(name) and not self._is_saved(name)]

    def anything_typed(self) -> bool:
        """Return whether any field differs from what is saved, whether or not it counts. Validates nothing."""
        return bool(super().changed_data)

    def store_settings(self) -> StoreSettings:
        """Return the settings that were entered. Only once the fields are valid."""
        return build(self.settings.type, self.saved | self.cleaned_data)

    def values(self) -> dict[str, Any]:
        """Return the fields of the model that were entered."""
        names = [each.name for each in fields(self.settings) if each.name in self.cleaned_data]
        return {self.settings.field(name): self.cleaned_data[name] for name in names}

    # Validation.

    def full_clean(self) -> None:
        if self.counts:
            super().full_clean()
        else:
            self._errors, self.cleaned_data = ErrorDict(), {}

    def clean(self) -> dict[str, Any]:
        for name in self.fields:
            if not self._applies(name):
                self.errors.pop(name, None)
                self.cleaned_data[name] = self._unset(name)
        if not self.errors.keys() - set(self.secrets):  # no other text gets to a log: it may be a password
            self.target = self.store_settings().describe()
        if self.looks_up:
            self.look_up()
        return self.cleaned_data

    def look_up(self) -> None:
        """Check what takes a look at this node or at a name server; a failure is an error of its field."""
        for name in self.secrets:
            if name in self.cleaned_data and self._applies(name):
                self._settle(name)

    def field_of(self, blamed: str) -> str | None:
        """Return the field that a step of the probe blames, or None: the form as a whole."""
        return blamed if blamed in self.fields else None

    def condition_of(self, name: str) -> When | None:
        """Return while what choice a field counts, or None: always."""
        removed = {removal: secret for secret, removal in self.removals.items()}
        return self.when.get(removed.get(name, name))

    def _applies(self, name: str) -> bool:
        """Return whether a field counts by the choices that were made. Those that do not are unset when it is saved."""
        condition = self.condition_of(name)
        if condition is None:
            return True
        chosen = self.cleaned_data.get(condition.field)  # without one that is invalid, nobody knows
        return self._applies(condition.field) and str(chosen) in condition.values

    def _unset(self, name: str) -> Any:
        """Return the value of a field that nobody has set."""
        return next((each.default for each in fields(self.settings) if each.name == name), False)

    def _is_saved(self, name: str) -> bool:
        """Return whether a secret was typed that is the saved one: a switch back sends it again."""
        return name in self.secrets and self[name].data == self.saved[name]

    # Secrets.

    def _set_up_secrets(self) -> None:
        text = _(
            "Or env:NAME or file:/path, to read it on each node from that variable or file. Allowed: {names}."
        )
        for name in self.secrets:
            field = self.fields[name]
            field.help_text = text.format(names=allowed.names_in_words())
            if name in self.removals:
                field.widget.attrs["placeholder"] = _("Saved; leave empty to keep it")
        for name, removal in self.removals.items():
            label = _("Remove the saved {secret}").format(secret=self.words_for(name))
            self.fields[removal] = forms.BooleanField(label=label, required=False)
            order = [each for each in self.fields if each != removal]
            order.insert(order.index(name) + 1, removal)
            self.order_fields(order)

    def _settle(self, name: str) -> None:
        """Settle which secret counts, and whether it may be read."""
        try:
            secret = self.cleaned_data[name] = self._settled(name)
            if not self.any_variable:
                allowed.check_variable(secret)
            reveal(secret, name)
        except ValidationError as error:
            self.add_error(name, error)
        except StoreMisconfigured as error:
            self.add_error(name, said(error))

    def _settled(self, name: str) -> str:
        """Return the secret that was typed; else the saved one, or none if that is to be removed."""
        typed: str = self.cleaned_data[name]
        removed = self.cleaned_data.get(self.removals.get(name, ""), False)
        saved: str = self.saved[name]
        if typed and removed:
            text = _("Either enter the {secret} or remove the saved one.")
            raise ValidationError(text.format(secret=self.words_for(name)))
        if typed or removed or not saved:
            return typed
        if self._leads_elsewhere(name):
            raise ValidationError(self._asked_again(name))
        return saved

    def _asked_again(self, name: str) -> str:
        """Ask for a secret whose saved value is not used, and say which fields decide that, of those that count."""
        text = _(
            "Enter the {secret} again: the saved one is used only while these stay as they are: {fields}."
        )
        guards = [
            each
            for each in self.guards_of(name)
            if self._applies(each) and (each != "tls" or self.saved[each])
        ]
        labels = ", ".join(str(self.fields[each].label) for each in guards)
        return text.format(secret=self.words_for(name), fields=labels)

    def _leads_elsewhere(self, name: str) -> bool:
        """Return whether others could learn the saved secret: at another address, or without TLS."""
        field = self.fields[name]
        assert isinstance(field, SecretField)
        moved = any(
            self.cleaned_data.get(each, self.saved[each]) != self.saved[each] for each in field.sent_to
        )
        return moved or bool(self.saved.get("tls") and not self.cleaned_data.get("tls"))

    # Ways of showing it.

    def ask_for_secrets_again(self) -> None:
        """Before the form is shown once more: secrets that were typed do not come back, so say it."""
        for name in self.secrets:
            if self.data.get(self.add_prefix(name)):
                self.fields[name].widget.attrs["placeholder"] = _("Enter it again")
                text = _("The {secret} is not sent back to the browser: enter it again.")
                self[name].help_text = text.format(secret=self.words_for(name))

    def reading(self) -> Iterator[tuple[str, str]]:
        """Yield the label of each saved field that counts, and its value as a text, for a page without a form."""
        aside = {*self.removals.values(), *self.consents}
        for bound in self.visible_fields():
            if bound.name not in aside and self._holds(bound.name):
                yield str(bound.label), self._as_text(bound.name)

    def _holds(self, name: str) -> bool:
        """Return whether a saved field counts by the saved choices."""
        condition = self.condition_of(name)
        if condition is None:
            return True
        return self._holds(condition.field) and str(self.saved[condition.field]) in condition.values

    def _as_text(self, name: str) -> str:
        if name in self.secrets:
            return _("saved, not shown") if self.saved[name] else _("none")
        return as_text(self.fields[name], self.get_initial_for_field(self.fields[name], name))
