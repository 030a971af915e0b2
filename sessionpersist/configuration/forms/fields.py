"""The kinds of fields that the forms of the stores are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist.configuration.forms.validators import is_ip_address, validate_host, validate_nodes
from sessionpersist.models import LONGEST_PATH
from sessionpersist.stores.secret import Secret
from sessionpersist.stores.settings import lines

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise as Text

LONGEST_NAME = 255  # characters, as the model's columns have it


class NameField(forms.CharField):
    """The name of a user or a thing. No browser fills it in."""

    def __init__(self, *, required: bool = False, **kwargs: Any) -> None:
        widget = forms.TextInput(attrs={"autocomplete": "off"})
        super().__init__(required=required, max_length=LONGEST_NAME, widget=widget, **kwargs)


class PathField(forms.CharField):
    """The path of a file on each node. Whether it is there, the form of the store looks up."""

    def __init__(self, *, required: bool = False, **kwargs: Any) -> None:
        widget = forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
        super().__init__(required=required, max_length=LONGEST_PATH, widget=widget, **kwargs)


class ChoiceField(forms.ChoiceField):
    """A choice; ``empty`` is what is meant where none was sent."""

    def __init__(self, *, empty: str = "", **kwargs: Any) -> None:
        super().__init__(required=False, **kwargs)
        self.empty = empty

    def clean(self, value: Any) -> str:
        chosen: str = super().clean(value)
        return chosen or self.empty

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(initial, data or self.empty)


class HostField(forms.CharField):
    """A host name, an IPv4 or an IPv6 address; brackets around the latter are taken off. ``may_hold_secret``: the form
    also takes a connection string here, in which there may be a password."""

    default_validators = [validate_host]
    default_error_messages = {
        "required": gettext_lazy("Enter the host name or the IP address of the server.")
    }

    def __init__(self, *, may_hold_secret: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.may_hold_secret = may_hold_secret

    def to_python(self, value: Any) -> str | None:
        text: str = super().to_python(value) or ""
        inside = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        return inside if is_ip_address(inside) else text


class NodesField(forms.CharField):
    """Several servers, one ``host:port`` a line."""

    default_validators = [validate_nodes]

    def __init__(self, **kwargs: Any) -> None:
        attrs = {"rows": 3, "autocomplete": "off", "spellcheck": "false"}
        super().__init__(widget=forms.Textarea(attrs=attrs), **kwargs)

    def to_python(self, value: Any) -> str:
        return "\n".join(lines(super().to_python(value) or ""))


class NumberField(forms.IntegerField):
    """A whole number with one sentence for whatever is wrong with it, typed into a plain text input. ``empty`` is what
    is meant where nothing was entered; without it a number is required, unless ``required`` is False.

    A ``type="number"`` input sends nothing at all for “abc”, and changes its value when one scrolls over it.
    """

    def __init__(
        self, *, error: Text, empty: int | None = None, required: bool = True, **kwargs: Any
    ) -> None:
        messages = dict.fromkeys(("required", "invalid", "min_value", "max_value"), error)
        widget = forms.TextInput(attrs={"inputmode": "numeric", "size": "8", "autocomplete": "off"})
        super().__init__(
            error_messages=messages, widget=widget, required=required and empty is None, **kwargs
        )
        self.empty = empty

    def clean(self, value: Any) -> int | None:
        number: int | None = super().clean(value)
        return self.empty if number is None else number

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(initial, self.empty if data in self.empty_values else data)


class PortField(NumberField):
    """A TCP port."""

    def __init__(self, **kwargs: Any) -> None:
        error = gettext_lazy("The port must be a whole number from 1 to 65535.")
        super().__init__(min_value=1, max_value=65535, error=error, label=gettext_lazy("Port"), **kwargs)


class SecretField(forms.CharField):
    """Write-only: what is saved never goes to the browser, and an empty field means “keep it”.

    ``sent_to`` names the fields that decide who gets to see the secret: after a change in one of them the saved one is
    not sent, but asked for again.
    """

    widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})

    def __init__(self, *, sent_to: tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(required=False, strip=False, **kwargs)
        self.sent_to = sent_to

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(data)

    def to_python(self, value: Any) -> Secret:
        return Secret(super().to_python(value) or "")


class ConsentField(forms.BooleanField):
    """A box that is ticked to agree to a consequence. It says nothing about the store, and is saved nowhere."""


class TypeCards(forms.RadioSelect):
    """Radio buttons, each with a line that says what choosing it means."""

    option_template_name = "sessionpersist/type_card.html"

    def __init__(self, meanings: Mapping[str, Text]) -> None:
        super().__init__()
        self.meanings = meanings

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**super().create_option(name, value, *args, **kwargs), "meaning": self.meanings[str(value)]}


def as_text(field: forms.Field, value: Any) -> str:
    """Return the value of a field as it is to be read: the label of a choice, and nothing where it is empty."""
    if isinstance(field, forms.BooleanField):
        return _("yes") if value else _("no")
    if isinstance(field, forms.ChoiceField):
        labels = {str(each): str(label) for each, label in list(field.choices)}  # type: ignore[arg-type]
        return labels.get(str(value), str(value or ""))
    return "" if value is None else str(value)
