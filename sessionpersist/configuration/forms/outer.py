"""The form of the whole configuration: the choice of the store, around the forms of each store and of the policy."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import router, transaction
from django.forms.utils import ErrorDict
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist import audit
from sessionpersist.configuration import probing
from sessionpersist.configuration.forms.fields import TypeCards
from sessionpersist.configuration.forms.policy import PolicyForm
from sessionpersist.configuration.forms.registry import STORE_FORMS
from sessionpersist.configuration.forms.store import StoreForm
from sessionpersist.configuration.store_sentences import in_language, store_name
from sessionpersist.handover import places, snapshot, times
from sessionpersist.initial import initial_settings
from sessionpersist.models import PERSISTENCE_TYPES, LoginConfiguration, Revision
from sessionpersist.stores.probe import Step
from sessionpersist.stores.secret import UnreadablePassword
from sessionpersist.stores.settings import StoreSettings, fields_of
from sessionpersist.stores.transactions import after_commit

if TYPE_CHECKING:
    from collections.abc import Iterator


class Overtaken(ValidationError):
    """Somebody else saved the configuration after this form was filled in."""


class LoginConfigurationForm(forms.Form):
    """``store`` is the form of the chosen store, ``stores`` are all; ``policy`` is that of time-outs and limits.
    ``steps`` is what the probe found, if there was one.

    ``probe=False`` leaves the store untried. ``prepare=False`` tries it, makes nothing on its server and leaves the
    policy aside: that is for the button. ``any_variable=True`` is for a configuration that comes from the settings,
    which may name any.
    """

    persistence_type = forms.ChoiceField(
        label=gettext_lazy("Session persistence"),
        choices=PERSISTENCE_TYPES,
        widget=TypeCards({name: form.meaning for name, form in STORE_FORMS.items()}),
    )
    edition = forms.IntegerField(widget=forms.HiddenInput)

    use_required_attribute = False

    def __init__(
        self,
        data: Any = None,
        *,
        probe: bool = True,
        prepare: bool = True,
        any_variable: bool = False,
        instance: LoginConfiguration | None = None,
    ) -> None:
        self.instance = saved = instance or LoginConfiguration.get_solo()
        initial = {"persistence_type": saved.persistence_type, "edition": saved.edition}
        super().__init__(data, initial=initial)
        chosen = str(self["persistence_type"].value() or "")
        self.stores = [
            form(data, saved, counts=name == chosen, saving=prepare, any_variable=any_variable)
            for name, form in STORE_FORMS.items()
        ]
        self.store = next((each for each in self.stores if each.counts), None)
        self.policy = PolicyForm(data, saved, counts=prepare)
        self.steps: list[Step] = []
        self.tried = ""  # which store that was, for staff
        # Where the store is that was entered and tried, and where the one is of before anybody had saved one.
        self.place = self.initial_place = ""
        self.renamed = False
        self._probe, self._prepare, self._from_settings = probe, prepare, any_variable
        self._refusal: ValidationError | None = None

    @classmethod
    def data_of(cls, configuration: LoginConfiguration) -> dict[str, Any]:
        """Return what the page would send if nobody changed anything, for callers without a browser."""
        form = cls(instance=configuration)
        data = {**form.initial, **form.policy.initial}
        for store in form.stores:
            data |= store.initial_data()
        return {name: value for name, value in data.items() if value is not None and value is not False}

    @classmethod
    def data_of_revision(cls, revision: Revision) -> dict[str, Any]:
        """Return what the page would send to choose the store of an earlier revision again, its secrets included."""
        settings, configuration = revision.store_settings(), LoginConfiguration.get_solo()
        form = STORE_FORMS[settings.type](None, configuration)
        for name, value in fields_of(settings).items():
            setattr(configuration, name, value)
        data = cls.data_of(configuration)
        for name, secret in settings.secrets().items():
            if isinstance(secret, UnreadablePassword):
                continue  # the form says what is to be done about it
            if secret:
                data[settings.field(name)] = secret
            elif name in form.removals:
                data[settings.field(form.removals[name])] = True
        return data

    @property
    def target(self) -> str:
        """Which store was entered, for the records: no more of it than is known to be valid."""
        return self.store.target if self.store else _("no known type")

    @property
    def errors(self) -> ErrorDict:
        """The errors of this form, of the policy and of the chosen store, by the names that the page gives the
        fields."""
        found = ErrorDict(super().errors | self.policy.errors)
        if self.store and self.is_bound and not self.is_policy_only:
            found |= {self.store.settings.field(name): errors for name, errors in self.store.errors.items()}
        return found

    @property
    def consent(self) -> forms.BoundField | None:
        """The box to tick where saving would log users out; None where it would not."""
        return next((store[name] for store in self.stores for name in store.consents), None)

    def changes(self) -> list[str]:
        """Return the labels of the fields that were changed and count."""
        names = [name for name in self.changed_data if name != "edition"]
        changed = [str(self.fields[name].label) for name in names]
        if self.store:
            consents = self.store.consents
            found = (name for name in self.store.changed_data if name not in consents)
            changed += [self._label(self.store, name) for name in found]
        return changed

    @cached_property
    def is_policy_only(self) -> bool:
        """Whether the policy alone was changed. The store in force stays then as it is, and need not even answer."""
        is_saving = self._prepare and not self._from_settings
        if not is_saving or not self.policy.has_changed():
            return False
        typed = self.has_changed() or (self.store is not None and self.store.anything_typed())
        return not typed and self.instance.overruled_by() is None

    def problems(self) -> Iterator[str]:
        """Yield what is wrong, each with its field, for a page that shows only a confirmation."""
        shown = {self.consent.html_name} if self.consent else set()
        labels = {name: str(field.label) for name, field in self.policy.fields.items()}
        if store := self.store:
            labels |= {store.settings.field(name): self._label(store, name) for name in store.fields}
        for name, errors in self.errors.items():
            label = f"{labels[name]}: " if name in labels else ""
            yield from (f"{label}{error}" for error in errors if name not in shown)

    def look_nothing_up(self, refusal: ValidationError | None = None) -> None:
        """Before validating: ask nobody for the address of a host, nor the environment for a variable. Users who do not
        get what they asked for learn nothing of either; the error says why. Such a form must not be saved."""
        self._refusal = refusal
        if self.store:
            self.store.looks_up = False

    def clean(self) -> dict[str, Any]:
        super().clean()
        edition = self.instance.edition
        if not self._refusal and self.cleaned_data.get("edition", edition) != edition:
            self.look_nothing_up(overtaken_by(LoginConfiguration.get_solo()))
        if self._refusal:
            self.add_error(None, self._refusal)
        elif self._probe and not self.errors and not self.is_policy_only:
            self.try_store()
        return self.cleaned_data

    def try_store(self) -> None:
        """Probe the store that was entered; a failure becomes an error on the likely field."""
        assert self.store is not None
        settings = self.store_settings()
        self.tried = settings.describe()
        self.steps = probing.probe(settings, prepare=self._prepare)
        failed = probing.failure(self.steps)
        if failed is None:
            if not settings.per_node:
                self._look_at_place(settings)
            return
        field = failed.field and self.store.field_of(failed.field)
        if field:
            self.store.add_error(field, in_language(failed.message))
        else:
            self.add_error(None, in_language(failed.message))

    def store_settings(self) -> StoreSettings:
        """Return the settings that were entered. Only once the fields are valid."""
        assert self.store is not None
        return self.store.store_settings()

    def save(self, *, saved_by: str = "") -> LoginConfiguration:
        """Save. If somebody else has saved in the meantime, nothing is saved, and Overtaken says who did and when."""
        assert self.store is not None
        values = self.policy.cleaned_data
        if not self.is_policy_only:
            values = values | {"persistence_type": self.store.type} | self.store.values()
        for name, value in values.items():
            setattr(self.instance, name, value)
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

    def put_on_record(self, what: str, who: str) -> None:
        """Note in the audit log what was just saved: the policy, the store, or both."""
        if self.policy.has_changed():
            audit.changed("saved time-outs and limits", who, self.instance.policy().describe())
        if not self.is_policy_only:
            audit.changed(what, who, self.instance.store_settings().describe())

    def rebase(self) -> None:
        """Keep what was typed, and let the next attempt to save go on from what is saved now."""
        data = copy(self.data)
        data["edition"] = LoginConfiguration.get_solo().edition  # type: ignore[index] # a copy may be changed
        self.data = data

    def ask_for_secrets_again(self) -> None:
        """Before the form is shown once more; see ``StoreForm``."""
        for store in self.stores:
            store.ask_for_secrets_again()

    def reading(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Yield what is saved, a title and its labels and values each, for users who may look but not change."""
        assert self.store is not None
        yield self.store.label, list(self.store.reading())
        yield _("Session time-outs and limits"), list(self.policy.reading())

    def _label(self, store: StoreForm, name: str) -> str:
        """Return a label that says by itself which field is meant: there are two hosts."""
        return f"{store.label}: {store.fields[name].label}"

    def _look_at_place(self, entered: StoreSettings) -> None:
        """Find out where the store that was entered really is: under another name it may be the one in use."""
        self.place = probing.identify(entered)
        if self._prepare:
            self.initial_place = places.learn_before_saving()
        in_use = Revision.objects.order_by("-pk").first()
        place = in_use.place if in_use else self.initial_place
        settings = in_use.store_settings() if in_use else initial_settings()
        self.renamed = bool(place) and place == self.place and settings.target != entered.target
        if self.renamed:
            text = _("This is the store in use, {store}, under another name: no session has to move.")
            message = text.format(store=store_name(settings))
            self.steps.append(Step("Place", True, 0.0, message, warning=True))


def overtaken_by(current: LoginConfiguration) -> Overtaken:
    """Return the sentences for somebody whose form was overtaken: who did it, when, and what is saved now."""
    if current.saved_by and current.saved_at:
        when = date_format(times.local(current.saved_at), "DATETIME_FORMAT")
        first = _("{who} saved this configuration on {when}, after you opened this page.")
        first = first.format(who=current.saved_by, when=when)
    else:
        first = _("Somebody else saved this configuration after you opened this page.")
    now = _("Saved now: {store}.").format(store=store_name(current.store_settings()))
    advice = _(
        "Nothing of yours was saved. What you typed is still here, except for a password: save again to "
        "replace theirs."
    )
    return Overtaken(f"{first} {now} {advice}", code="overtaken")
