"""Shows and changes the Login Configuration: for the day when the store is down and nobody can log in to the admin."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from sessionpersist import conf
from sessionpersist.configuration.forms import STORE_FORMS, LoginConfigurationForm
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.handover import snapshot
from sessionpersist.management import options, status
from sessionpersist.management.base import SessionCommand, operator, read_configuration
from sessionpersist.management.commands.validate_connections import line_of
from sessionpersist.management.options import Given
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.session.policy import FIELDS
from sessionpersist.stores.secret import UnreadablePassword
from sessionpersist.stores.settings import ENVIRONMENT, FILE, TYPES, StoreSettings, reveal

ABOUT_SECRETS = """\
A secret is never given on the command line: every user of the machine could read it there, and the shell keeps it.
A password, for one, is given in one of these ways:
  --password-env NAME              each node reads it from its own environment; only the variable's name is saved
  --password-file PATH             each node reads it from its own file; only the path is saved
  --password-stdin < password.txt  it is read from the standard input (or asked for, in a terminal) and saved encrypted
SESSIONPERSIST["SECRETS_ALLOWED"] says which names and folders may be used: by default names that begin with
SESSIONPERSIST_.
Without any of them, the saved secret stays, as long as what decides where it is sent does:
"""
EXAMPLES = """
examples:
  manage.py login_configuration show
  manage.py login_configuration set --type IN_MEMORY
  manage.py login_configuration set --type REDIS --host redis.example.org \\
      --password-env SESSIONPERSIST_REDIS_PASSWORD
  manage.py login_configuration set --type JDBC --database default
  manage.py login_configuration set --type MONGODB --host db.example.org --database sessions \\
      --username app --password-stdin < password.txt
  manage.py login_configuration set --idle-minutes 30 --max-sessions 3
  manage.py login_configuration set --idle-minutes ''
"""
HANDOVER = (
    "Nobody is logged out while the old store runs: a session moves when its user comes back, and the rest moves by "
    "itself or with drain_sessions. If it is down for good, run drain_sessions --abandon."
)
UNSET = {each.name: each.get_default() for each in LoginConfiguration._meta.concrete_fields}
OVERRULED = (
    "The configuration was changed without being saved, so the change has no effect: the site uses what was last "
    "saved, {}. Save it again to apply it."
)


class Command(SessionCommand):
    help = (
        "Show or change where login sessions live, their time-outs and limits. Needs no login and no working session "
        "store, only the database of the configuration, so it is the way out when the store is what is down."
    )
    requires_system_checks = []  # it is for the day when something is wrong

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="show | status | set")
        show = actions.add_parser("show", help="print what is configured, in force and pending")
        how = "print how the site is: the store and its health, what is draining, nodes, policy"
        for each in (show, actions.add_parser("status", help=how)):
            each.add_argument("--json", action="store_true", help="print JSON, for programs")
        self._add_set(actions)

    def handle(self, *, action: str, **given_options: Any) -> None:
        if action == "show":
            self._show(as_json=given_options["json"])
        elif action == "status":
            self._status(as_json=given_options["json"])
        else:
            self._set(given_options)

    def _add_set(self, actions: Any) -> None:
        parser = actions.add_parser(
            "set",
            help="change it; what is not given stays as it is saved",
            description="Change where login sessions live, their time-outs and limits. A changed store is tried first; "
            "what does not work is not saved.",
            epilog=ABOUT_SECRETS + options.about_saved_secrets() + EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        kind = "the kind of store (default: as saved)"
        parser.add_argument("--type", type=str.upper, choices=list(TYPES), help=kind)
        options.add_options(parser)
        parser.add_argument("--no-probe", action="store_true", help="save without trying the store")

    def _show(self, *, as_json: bool) -> None:
        found = state(read_configuration())
        if as_json:
            self.write_json(found)
            return
        self.stdout.write(f"Configured:  {found['configured']}")
        for name, value in found["settings"].items():
            self.stdout.write(f"    {name + ':':<14}{value}")
        for name, value in found["policy"].items():
            if value != UNSET[name]:
                self.stdout.write(f"    {name + ':':<14} {value}")
        self.stdout.write(f"In force:    {found['in_force']}")
        if found["overruled_by"]:
            self.stdout.write(self.style.WARNING(OVERRULED.format(found["overruled_by"])))
        for each in found["pending"]:
            self.stdout.write(f"Pending:     {each['store']}, in {each['seconds']:.0f} s")
        if found["adopt_from"]:
            self.stdout.write(f"Adopts from: {found['adopt_from']}")

    def _status(self, *, as_json: bool) -> None:
        found = status.read(read_configuration())
        if as_json:
            self.write_json(found)
            return
        for line in status.in_words(found):
            self.stdout.write(line)

    def _set(self, given_options: dict[str, Any]) -> None:
        changes = list(options.given(given_options))
        if given_options["type"] is None and not changes:
            raise CommandError("There is nothing to set: give at least one option. See --help.")
        data = form_data(read_configuration(), given_options["type"], changes)
        form = LoginConfigurationForm(data, probe=not given_options["no_probe"])
        valid = form.is_valid()
        for step in form.steps:
            self.stdout.write(line_of(step, self.style))
        if not valid:
            raise CommandError("\n".join(["Nothing was saved.", *explain(form)]))
        newest = newest_revision()
        try:
            row = form.save(saved_by=operator())
        except ValidationError as error:  # somebody else saved meanwhile
            raise CommandError("\n".join(error.messages)) from error
        saved = row.store_settings()
        form.put_on_record("saved", operator())
        if given_options["type"] is None and all(each.name in FIELDS for each in changes):
            self.stdout.write(self.style.SUCCESS(f"Saved: {row.policy().describe()}."))
            self.stdout.write(f"Every process of the site goes by it within {conf.refresh_seconds():g} s.")
            return
        self.stdout.write(self.style.SUCCESS(f"Saved: {saved.describe()}."))
        self.stdout.write(what_is_next(saved))
        if newest_revision() != newest:
            self.stdout.write(HANDOVER)


def form_data(
    configuration: LoginConfiguration, store_type: str | None, changes: Iterable[Given]
) -> dict[str, Any]:
    """Return what the page would send: what is saved, changed by the options."""
    store_type = store_type or configuration.persistence_type
    data = LoginConfigurationForm.data_of(configuration) | {"persistence_type": store_type}
    form = STORE_FORMS[store_type]
    secrets = form.settings.secret_names()
    # What is given beside a connection string counts; of the secrets, the string has to know that they are given.
    for each in sorted(changes, key=lambda each: (each.name not in secrets, each.name != "host")):
        if each.name in FIELDS:
            data[each.name] = each.value
            continue
        if each.name not in form.base_fields:
            raise CommandError(f"{each.option} does not apply to {store_type}.")
        field = form.settings.field(form.removal_of(each.name) if each.removes else each.name)
        data[field] = each.value
        if each.value is False:
            del data[field]  # as a browser sends an empty checkbox: not at all
        if each.name == "host":
            with suppress(StoreMisconfigured):  # which the form says, on its field
                data = form.taken_apart(data)
    return data


def explain(form: LoginConfigurationForm) -> Iterator[str]:
    """Yield what is wrong, each with the option that is to blame."""
    assert form.store is not None
    names = {form.store.settings.field(name): name for name in form.store.fields}
    names |= {name: name for name in form.policy.fields}
    for field, errors in form.errors.items():
        name = names.get(field, "")
        option = f"{options.option_of(name)}: " if name else ""
        yield from (f"{option}{error}" for error in errors)
        if name in form.store.consents:
            yield str(form.store.fields[name].help_text)


def state(configuration: LoginConfiguration) -> dict[str, Any]:
    """Return what is configured and what is in force, without any secret."""
    settings, known = configuration.store_settings(), snapshot.current()
    values, overruled = settings.public(), configuration.overruled_by()
    values |= {name: describe_secret(secret) for name, secret in settings.secrets().items()}
    return {
        "type": settings.type,
        "configured": settings.describe(),
        "settings": values,
        "policy": configuration.policy_fields(),
        "overruled_by": overruled.describe() if overruled else None,
        "in_force": known.current.settings.describe(),
        "pending": [
            {"store": each.settings.describe(), "seconds": round(seconds_until(known, each), 1)}
            for each in known.pending
        ],
        "adopt_from": conf.get("ADOPT_FROM"),
    }


def describe_secret(secret: str) -> str:
    """Say what kind of secret is saved."""
    if isinstance(secret, UnreadablePassword):
        return "can't be decrypted: SECRET_KEY has changed"
    if not secret.startswith((ENVIRONMENT, FILE)):
        return "saved" if secret else "none"
    there = "set" if secret.startswith(ENVIRONMENT) else "readable"
    try:
        reveal(secret)
    except StoreMisconfigured:
        return f"{secret} (not {there} on this node)"
    return f"{secret} ({there} on this node)"


def what_is_next(saved: StoreSettings) -> str:
    """Say when a choice that was just saved is in force."""
    snapshot.expire()  # what was read before it was saved
    known = snapshot.current()
    waiting = next((each for each in known.pending if each.settings.target == saved.target), None)
    if waiting is None:
        return f"Every process of the site uses it within {conf.refresh_seconds():g} s."
    return f"Every process of the site switches to it in {seconds_until(known, waiting):.0f} s, all at the same moment."


def seconds_until(known: snapshot.Snapshot, pending: snapshot.Known) -> float:
    """How long until a pending choice is in force."""
    return max(0.0, pending.activates_at - known.clock - monotonic())


def newest_revision() -> int | None:
    """The number of the newest revision; another one means that sessions move to another store."""
    return Revision.objects.order_by("-pk").values_list("pk", flat=True).first()
