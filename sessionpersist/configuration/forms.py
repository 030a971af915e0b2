"""The form of the Login Configuration. It needs no request: the page uses it, and so does the command.

    form = LoginConfigurationForm(data)
    if form.is_valid():  # has tried the store, and made its table or index
        form.save(saved_by="ada")

Only the fields of the chosen type count. Those of the others are neither validated nor required, and are left
as they are saved.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, connections, router, transaction
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist import conf
from sessionpersist.configuration import allowed, probing
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.handover import nodes, places, snapshot, times
from sessionpersist.initial import initial_settings
from sessionpersist.models import LoginConfiguration, PersistenceType, Revision
from sessionpersist.stores.hosts import check_host
from sessionpersist.stores.probe import Step
from sessionpersist.stores.secret import Secret
from sessionpersist.stores.settings import TYPES, StoreSettings, UnreadablePassword, build, reveal
from sessionpersist.stores.transactions import after_commit

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise as Text

    ModelForm = forms.ModelForm[LoginConfiguration]
else:
    ModelForm = forms.ModelForm  # not subscriptable at run time

MEANINGS: dict[str, Text] = {
    PersistenceType.IN_MEMORY: gettext_lazy(
        "The memory of this node. Needs nothing, not shared with other nodes."
    ),
    PersistenceType.REDIS: gettext_lazy("A central Redis or Valkey server that all nodes share."),
    PersistenceType.JDBC: gettext_lazy("A table in one of the relational databases of this project."),
    PersistenceType.MONGODB: gettext_lazy("A collection in a MongoDB database that all nodes share."),
}

PORT_RANGE: Text = gettext_lazy("The port must be a whole number from 1 to 65535.")
DATABASE_NUMBER: Text = gettext_lazy("The database must be a whole number, 0 or higher.")
REMOVE_PASSWORD: Text = gettext_lazy("Remove the saved password")
REQUIRED: dict[str, Text] = {
    "redis_host": gettext_lazy("Enter the host name or the IP address of the server."),
    "redis_port": PORT_RANGE,
    "redis_database": DATABASE_NUMBER,
    "jdbc_database": gettext_lazy("Choose a database."),
    "mongodb_host": gettext_lazy("Enter the host name or the IP address of the server."),
    "mongodb_port": PORT_RANGE,
    "mongodb_database": gettext_lazy("Enter the name of the database."),
}

HOST_NAME = re.compile(r"(?!-)[\w-]{1,63}(?<!-)(\.(?!-)[\w-]{1,63}(?<!-))*\.?")
# The first that matches says what is wrong. No text repeats what was typed: there may be a password in it.
NOT_A_HOST: tuple[tuple[str, Text], ...] = (
    (r"@", gettext_lazy("Enter the host alone: user name and password have fields of their own.")),
    (r"://", gettext_lazy("Enter the host alone, without a scheme such as “redis://”.")),
    (r"\s", gettext_lazy("A host has no spaces in it.")),
    (r"[/\\?#]", gettext_lazy("Enter the host alone, without a slash or a path.")),
    (r":", gettext_lazy("Enter the host alone: the port has a field of its own.")),
)

NOT_IN_A_LINE = {
    "Cc",
    "Zl",
    "Zp",
}  # Unicode's categories: control characters, and marks that end a line or paragraph
CONFIRMATION = "memory_accept_node_local"  # the field that is asked for where In-Memory would log users out
LONGEST_MONGODB_NAME = 63  # bytes
REDIS_DATABASES = 2**31 - 1  # what the model's column holds; how many there are, the server says


class Overtaken(ValidationError):
    """Somebody else saved the configuration after this form was filled in."""


def is_ip_address(text: str) -> bool:
    """Return whether it is an IPv4 or IPv6 address, without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def refuse_control_characters(text: str) -> None:
    """Refuse what could end a line of a protocol: a field is sent to whatever listens at the host that was entered."""
    if any(unicodedata.category(character) in NOT_IN_A_LINE for character in text):
        raise ValidationError(
            _("This field must not contain control characters, such as line breaks."), code="invalid"
        )


def validate_host(host: str) -> None:
    """Refuse what is not a host name or an IP address by itself."""
    if is_ip_address(host):
        return
    for pattern, message in NOT_A_HOST:
        if re.search(pattern, host):
            raise ValidationError(message, code="invalid")
    if len(host) > 253 or not HOST_NAME.fullmatch(host):
        raise ValidationError(_("This is not a host name or an IP address."), code="invalid")


def validate_mongodb_name(name: str) -> None:
    """Refuse what MongoDB does not take as the name of a database."""
    if found := re.search(r"[/\\.\"$\s]", name):
        message = _("The name of a MongoDB database must not contain {character}.")
        character = _("spaces") if found[0].isspace() else f"“{found[0]}”"
        raise ValidationError(message.format(character=character), code="invalid")
    if len(name.encode()) > LONGEST_MONGODB_NAME:
        message = _("The name of a MongoDB database has at most {limit} bytes.")
        raise ValidationError(message.format(limit=LONGEST_MONGODB_NAME), code="invalid")


def validate_mongodb_auth_source(name: str) -> None:
    """Like any database, but for the one that stands for users kept outside MongoDB."""
    if name != "$external":
        validate_mongodb_name(name)


def first_complaint(*validators: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return these validators as one, so that a field shows one complaint at a time."""

    def validate(value: Any) -> None:
        for each in validators:
            each(value)

    return validate


class HostField(forms.CharField):
    """A host name, an IPv4 or an IPv6 address; brackets around the latter are taken off."""

    default_validators = [validate_host]

    def to_python(self, value: Any) -> str | None:
        text: str = super().to_python(value) or ""
        inside = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        return inside if is_ip_address(inside) else text


class NumberField(forms.IntegerField):
    """A whole number with one sentence for whatever is wrong with it, typed into a plain text input.

    A ``type="number"`` input sends nothing at all for “abc”, and changes its value when one scrolls over it.
    """

    def __init__(self, *, error: Text, **kwargs: Any) -> None:
        messages = dict.fromkeys(("invalid", "min_value", "max_value"), error)
        widget = forms.TextInput(attrs={"inputmode": "numeric", "size": "8", "autocomplete": "off"})
        super().__init__(error_messages=messages, widget=widget, required=False, **kwargs)


class PasswordField(forms.CharField):
    """Write-only: what is saved never goes to the browser, and an empty field means “keep it”."""

    widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, strip=False, **kwargs)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(data)

    def to_python(self, value: Any) -> Secret:
        return Secret(super().to_python(value) or "")


class TypeCards(forms.RadioSelect):
    """Radio buttons, each with a line that says what choosing it means."""

    option_template_name = "sessionpersist/type_card.html"

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**super().create_option(name, value, *args, **kwargs), "meaning": MEANINGS[str(value)]}


@dataclass(frozen=True)
class Group:
    """The fields of one type, as the page shows them."""

    type: str
    label: str
    fields: list[forms.BoundField]


class LoginConfigurationForm(ModelForm):
    """See the module's text. ``steps`` is what the probe found, if there was one.

    ``probe=False`` leaves the store untried. ``prepare=False`` tries it and makes nothing on its server: that is
    for the button. ``any_variable=True`` is for a configuration that comes from the settings, which may name any.
    """

    persistence_type = forms.ChoiceField(
        label=gettext_lazy("Session persistence"), choices=PersistenceType.choices, widget=TypeCards
    )
    redis_host = HostField(label=gettext_lazy("Host"), required=False)
    redis_port = NumberField(label=gettext_lazy("Port"), min_value=1, max_value=65535, error=PORT_RANGE)
    redis_database = NumberField(
        label=gettext_lazy("Database"), min_value=0, max_value=REDIS_DATABASES, error=DATABASE_NUMBER
    )
    redis_password = PasswordField(label=gettext_lazy("Password"))
    redis_password_clear = forms.BooleanField(label=REMOVE_PASSWORD, required=False)
    jdbc_database = forms.CharField(label=gettext_lazy("Database"), required=False, widget=forms.Select)
    mongodb_host = HostField(label=gettext_lazy("Host"), required=False)
    mongodb_port = NumberField(label=gettext_lazy("Port"), min_value=1, max_value=65535, error=PORT_RANGE)
    mongodb_database = forms.CharField(
        label=gettext_lazy("Database name"), required=False, validators=[validate_mongodb_name]
    )
    mongodb_auth_source = forms.CharField(
        label=gettext_lazy("Authentication database"),
        required=False,
        validators=[validate_mongodb_auth_source],
        help_text=gettext_lazy("Where the user is defined; “admin” if left empty."),
    )
    mongodb_password = PasswordField(label=gettext_lazy("Password"))
    mongodb_password_clear = forms.BooleanField(label=REMOVE_PASSWORD, required=False)
    memory_accept_node_local = forms.BooleanField(
        label=gettext_lazy("I accept that each node then knows only the sessions that it serves itself"),
        required=False,
    )
    edition = forms.IntegerField(widget=forms.HiddenInput)

    use_required_attribute = False  # a browser can't point at a field of a group that is hidden
    field_order = (
        "persistence_type",
        *("redis_host", "redis_port", "redis_username", "redis_password", "redis_password_clear"),
        *("redis_database", "redis_tls"),
        "jdbc_database",
        *("mongodb_host", "mongodb_port", "mongodb_username", "mongodb_password", "mongodb_password_clear"),
        *("mongodb_database", "mongodb_auth_source", "mongodb_tls"),
        CONFIRMATION,
    )

    class Meta:
        model = LoginConfiguration
        fields = (
            "persistence_type",
            *("redis_host", "redis_port", "redis_username", "redis_password", "redis_database", "redis_tls"),
            "jdbc_database",
            *("mongodb_host", "mongodb_port", "mongodb_database", "mongodb_username", "mongodb_password"),
            *("mongodb_auth_source", "mongodb_tls"),
        )
        labels = {
            "redis_username": gettext_lazy("User name"),
            "redis_tls": gettext_lazy("Use TLS"),
            "mongodb_username": gettext_lazy("User name"),
            "mongodb_tls": gettext_lazy("Use TLS"),
        }
        help_texts = {"redis_username": gettext_lazy("Only where the server has users (ACL).")}
        widgets = dict.fromkeys(
            ("redis_username", "mongodb_username"), forms.TextInput(attrs={"autocomplete": "off"})
        )

    def __init__(
        self,
        data: Any = None,
        *,
        probe: bool = True,
        prepare: bool = True,
        any_variable: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs["instance"] = kwargs.get("instance") or LoginConfiguration.get_solo()
        super().__init__(data, **kwargs)
        self.steps: list[Step] = []
        self.tried = ""  # which store that was, for staff
        self._looks_up = True
        self._refusal: ValidationError | None = None
        # Where the store is that was entered and tried, and where the one is of before anybody had saved one.
        self.place = self.initial_place = ""
        self.renamed = False
        self._probe, self._prepare, self._any_variable = probe, prepare, any_variable
        self.saved = {field.name: getattr(self.instance, field.name) for field in self.instance._meta.fields}
        self.initial["edition"] = self.instance.edition
        self.initial["jdbc_database"] = self.instance.jdbc_database or DEFAULT_DB_ALIAS
        self.fields["jdbc_database"].widget.choices = self._database_choices
        for prefix in ("redis", "mongodb"):
            self._set_up_password(prefix)
        self._set_up_node_local()
        for field in self.fields.values():
            if isinstance(field, forms.CharField):
                field.validators = [first_complaint(refuse_control_characters, *field.validators)]
        # Which store was entered, for the records: only its type, until the fields that name it are known to be valid.
        self.target = TYPES[self.chosen].label if self.chosen in TYPES else _("no known type")

    @classmethod
    def data_of(cls, configuration: LoginConfiguration) -> dict[str, Any]:
        """Return what the page would send if nobody changed anything, for callers without a browser."""
        form = cls(instance=configuration)
        data = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
        return {name: value for name, value in data.items() if value is not None and value is not False}

    @classmethod
    def data_of_revision(cls, revision: Revision) -> dict[str, Any]:
        """Return what the page would send to choose the store of an earlier revision again, its password included."""
        configuration, prefix = LoginConfiguration.get_solo(), TYPES[revision.persistence_type].prefix
        saved_password = getattr(configuration, f"{prefix}_password", "")
        configuration.persistence_type = revision.persistence_type
        for name, value in revision.settings.items():
            setattr(configuration, f"{prefix}_{name}", value)
        data = cls.data_of(configuration)
        if isinstance(revision.password, UnreadablePassword):
            return data  # the form says what is to be done about it
        if revision.password:
            data[f"{prefix}_password"] = revision.password
        elif saved_password:
            data[f"{prefix}_password_clear"] = True
        return data

    @property
    def chosen(self) -> str:
        """The type whose fields count: the one that was sent, else the saved one."""
        return str(self["persistence_type"].value() or "")

    def groups(self) -> Iterator[Group]:
        """Yield the fields, one group a type that has any."""
        for store_type, label in PersistenceType.choices:
            fields = [self[name] for name in self.fields if name.startswith(TYPES[store_type].prefix + "_")]
            if fields:
                yield Group(store_type, str(label), fields)

    @cached_property
    def changed_data(self) -> list[str]:
        """The fields that were changed and count."""
        changed = (name for name in super().changed_data if name != "edition")
        return [name for name in changed if not self._is_of_other_type(name) and not self._is_saved(name)]

    def full_name(self, name: str) -> str:
        """Return a label that says by itself which field is meant: there are two hosts."""
        label = str(self.fields[name].label)
        owner = next((cls.label for cls in TYPES.values() if name.startswith(cls.prefix + "_")), None)
        return f"{owner}: {label}" if owner else label

    def look_nothing_up(self, refusal: ValidationError | None = None) -> None:
        """Before validating: ask nobody for the address of a host, nor the environment for a variable. Whoever does not
        get what they asked for learns nothing of either, and why is the error. Such a form must not be saved."""
        self._looks_up, self._refusal = False, refusal

    def clean(self) -> dict[str, Any]:
        super().clean()
        self._keep_fields_of_other_types()
        if self._names_a_store():
            self.target = self.store_settings().describe()
        if self._refusal:
            self.add_error(None, self._refusal)
        elif self.cleaned_data.get("edition", self.saved["edition"]) != self.saved["edition"]:
            self.add_error(None, overtaken_by(LoginConfiguration.get_solo()))
        elif self.chosen in TYPES:
            self._check_required()
            if self._looks_up:
                self._check_host()
                self._check_login()
            self._check_node_local()
            if self._probe and not self.errors:
                self.try_store()
        return self.cleaned_data

    def try_store(self) -> None:
        """Probe the store that was entered; a failure becomes an error on the likely field."""
        settings = self.store_settings()
        self.tried = settings.describe()
        self.steps = probing.probe(settings, prepare=self._prepare)
        if failed := probing.failure(self.steps):
            self.add_error(self._field_of(failed), failed.message)
            return
        if self.chosen != PersistenceType.IN_MEMORY:  # which is another place on each node
            self._look_at_place()

    def _look_at_place(self) -> None:
        """Find out where the store that was entered really is: under another name it may be the one in use."""
        self.place = probing.identify(self.store_settings())
        if self._prepare:
            self.initial_place = places.before_saving()
        in_use = Revision.objects.order_by("-pk").first()
        place = in_use.place if in_use else self.initial_place
        settings = in_use.store_settings() if in_use else initial_settings()
        self.renamed = bool(place) and place == self.place and settings.target != self.store_settings().target
        if self.renamed:
            text = _("This is the store in use, {store}, under another name: no session has to move.")
            message = text.format(store=settings.describe())
            self.steps.append(Step("Place", True, 0.0, message, warning=True))

    def store_settings(self) -> StoreSettings:
        """Return the settings that were entered. Only once the fields are valid."""
        prefix = TYPES[self.chosen].prefix + "_"
        entered = ((name, value) for name, value in self.cleaned_data.items() if name.startswith(prefix))
        return build(self.chosen, {name.removeprefix(prefix): value for name, value in entered})

    def save(self, commit: bool = True, *, saved_by: str = "") -> LoginConfiguration:
        """Save, unless somebody else has meanwhile: then nothing is, and Overtaken says who did and when."""
        if not commit:
            return super().save(commit=False)
        # Django leaves a field as it was where what was entered is empty, has a default and was not sent.
        self.instance.redis_password = self.cleaned_data["redis_password"]
        self.instance.mongodb_password = self.cleaned_data["mongodb_password"]
        rows = LoginConfiguration.objects.using(router.db_for_write(LoginConfiguration))
        rows = rows.filter(pk=self.instance.pk)
        with transaction.atomic(using=rows.db):
            LoginConfiguration.make_row(rows.db)  # SQLite knows no FOR UPDATE: it locks with the first write
            current = rows.select_for_update().first()
            if current is not None and current.edition != self.cleaned_data["edition"]:
                raise overtaken_by(current)
            self.instance.save(saved_by=saved_by, place=self.place, initial_place=self.initial_place)
        after_commit(snapshot.expire, rows.db)  # in a TestCase the one of the transaction above never runs
        return self.instance

    def rebase(self) -> None:
        """Keep what was typed, and let the next attempt to save go on from what is saved now."""
        data = copy(self.data)
        data["edition"] = LoginConfiguration.get_solo().edition  # type: ignore[index] # a copy may be changed
        self.data = data

    def ask_for_passwords_again(self) -> None:
        """Before the form is shown once more: passwords that were typed do not come back, so say it."""
        for name in ("redis_password", "mongodb_password"):
            if self.data.get(name):
                self.fields[name].widget.attrs["placeholder"] = _("Enter it again")
                self[name].help_text = _("A password is not sent back to the browser: enter it once more.")

    def make_read_only(self) -> None:
        """For who may look but not change: no field takes anything, and none asks for anything."""
        for prefix in ("redis", "mongodb"):
            self.fields.pop(f"{prefix}_password_clear", None)
            password = self.fields[f"{prefix}_password"]
            password.help_text = ""
            password.widget.attrs["placeholder"] = _("Saved") if self.saved[f"{prefix}_password"] else ""
        for field in self.fields.values():
            field.disabled = True

    def _set_up_password(self, prefix: str) -> None:
        self.initial.pop(f"{prefix}_password", None)  # so that nothing can show it
        field = self.fields[f"{prefix}_password"]
        if self.saved[f"{prefix}_password"]:
            field.widget.attrs["placeholder"] = _("Saved; leave empty to keep it")
        else:
            del self.fields[f"{prefix}_password_clear"]
        text = _("Or env:NAME, to read it on each node from that environment variable. Allowed are {names}.")
        field.help_text = text.format(names=allowed.names_in_words())

    def _set_up_node_local(self) -> None:
        """The confirmation is asked for only where there is something to confirm."""
        entering = self.saved["persistence_type"] != PersistenceType.IN_MEMORY
        names = nodes.live_names() if entering else []
        if len(names) < 2:
            del self.fields[CONFIRMATION]
            return
        text = _(
            "In-Memory is the memory of one node, and this site has {count}: {names}. Behind a load balancer users are "
            "logged out for good: as soon as a request reaches a node that does not hold the session, that node "
            "answers as to a stranger, and the browser gives up its cookie. Confirm only if the load balancer always "
            "sends a user to the same node."
        )
        field = self.fields[CONFIRMATION]
        field.help_text = text.format(count=len(names), names=", ".join(names))

    def _check_node_local(self) -> None:
        asked = CONFIRMATION in self.fields and self._prepare and self.chosen == PersistenceType.IN_MEMORY
        if asked and not self.cleaned_data.get(CONFIRMATION):
            self.add_error(CONFIRMATION, _("Confirm this, or choose a store that all nodes share."))

    def _is_saved(self, name: str) -> bool:
        """Return whether a password was typed that is the saved one: whoever switches back sends it again."""
        return name.endswith("_password") and self[name].data == self.saved[name]

    def _is_of_other_type(self, name: str) -> bool:
        prefixes = (cls.prefix + "_" for store_type, cls in TYPES.items() if store_type != self.chosen)
        return name.startswith(tuple(prefixes))

    def _keep_fields_of_other_types(self) -> None:
        for name in filter(self._is_of_other_type, self.fields):
            self.errors.pop(name, None)
            self.cleaned_data[name] = self.saved.get(name)

    def _names_a_store(self) -> bool:
        """Return whether the fields that say which store it is are valid. No text that is anything else gets to a log:
        there may be a password in it."""
        if self.chosen not in TYPES:
            return False
        names = [name for name in REQUIRED if not self._is_of_other_type(name)]
        known = (
            self.chosen != PersistenceType.JDBC or str(self.cleaned_data.get("jdbc_database")) in connections
        )
        return known and all(self.cleaned_data.get(name) not in (None, "") for name in names)

    def _check_required(self) -> None:
        for name, message in REQUIRED.items():
            missing = name not in self.errors and self.cleaned_data.get(name) in (None, "")
            if missing and not self._is_of_other_type(name):
                self.add_error(name, str(message))
        alias = self.cleaned_data.get("jdbc_database")
        if self.chosen == PersistenceType.JDBC and alias and alias not in connections:
            message = _("The project has no database “{alias}” in DATABASES.")
            self.add_error("jdbc_database", message.format(alias=alias))

    def _check_host(self) -> None:
        name = f"{TYPES[self.chosen].prefix}_host"
        host = self.cleaned_data.get(name)
        if not host or self._is_of_other_type(name):
            return
        try:
            check_host(
                host, self.cleaned_data.get(f"{TYPES[self.chosen].prefix}_port") or 0, conf.timeout_seconds()
            )
        except StoreMisconfigured as error:
            self.add_error(name, str(error))

    def _check_login(self) -> None:
        """Settle which password counts, and whether user name and password go together."""
        prefix = TYPES[self.chosen].prefix
        name = f"{prefix}_password"
        if name not in self.cleaned_data or self._is_of_other_type(name):
            return
        try:
            password = self.cleaned_data[name] = self._settled_password(prefix)
            if not self._any_variable:
                allowed.check_variable(password)
            reveal(password)
        except (ValidationError, StoreMisconfigured) as error:
            self.add_error(name, error if isinstance(error, ValidationError) else str(error))
            return
        if f"{prefix}_username" in self.errors:
            return
        username = self.cleaned_data.get(f"{prefix}_username")
        if username and not password:
            self.add_error(name, _("Enter the password of this user."))
        if password and not username and self.chosen == PersistenceType.MONGODB:
            self.add_error(f"{prefix}_username", _("Enter the user name that this password belongs to."))

    def _settled_password(self, prefix: str) -> str:
        """Return the password that was typed; else the saved one, or none if that is to be removed."""
        typed: str = self.cleaned_data[f"{prefix}_password"]
        removed = self.cleaned_data.get(f"{prefix}_password_clear", False)
        saved: str = self.saved[f"{prefix}_password"]
        if typed and removed:
            raise ValidationError(_("Either enter a password or remove the saved one."))
        if typed or removed or not saved:
            return typed
        if self._leads_elsewhere(prefix):
            raise ValidationError(
                _(
                    "Enter the password again: the saved one is sent only to the host and port that it was saved for."
                )
            )
        return saved

    def _leads_elsewhere(self, prefix: str) -> bool:
        """Return whether others could learn the saved password: at another host or port, or without TLS."""
        host, port, tls = (f"{prefix}_{name}" for name in ("host", "port", "tls"))
        moved = any(
            self.cleaned_data.get(name, self.saved[name]) != self.saved[name] for name in (host, port)
        )
        return moved or bool(self.saved[tls] and not self.cleaned_data.get(tls))

    def _field_of(self, step: Step) -> str | None:
        """Return the field that a step of the probe blames, or None: the form as a whole."""
        if step.field is None:
            return None
        name = f"{TYPES[self.chosen].prefix}_{step.field}"
        if name not in self.fields and self.chosen == PersistenceType.JDBC:
            return "jdbc_database"  # host, port and password of a project's database are not entered here
        return name if name in self.fields else None

    @cached_property
    def _databases(self) -> list[probing.DatabaseState]:
        return probing.look_at_databases()

    def _database_choices(self) -> Iterable[tuple[str, str]]:
        """The drop-down of databases. Called when it is shown, as it looks at each of them."""
        yield from ((state.alias, str(state)) for state in self._databases)
        saved = self.saved["jdbc_database"]
        if saved and saved not in connections:
            yield saved, _("{alias} (no longer in DATABASES)").format(alias=saved)


def overtaken_by(current: LoginConfiguration) -> Overtaken:
    """Return the sentences for somebody whose form was overtaken: who did it, when, and what is saved now."""
    if current.saved_by and current.saved_at:
        when = date_format(times.local(current.saved_at), "DATETIME_FORMAT")
        first = _("{who} saved this configuration on {when}, after you opened this page.")
        first = first.format(who=current.saved_by, when=when)
    else:
        first = _("Somebody else saved this configuration after you opened this page.")
    now = _("Saved now: {store}.").format(store=current.store_settings().describe())
    advice = _(
        "Nothing of yours was saved. What you typed is still here, except for a password: save again to put "
        "it in the place of theirs."
    )
    return Overtaken(f"{first} {now} {advice}", code="overtaken")
