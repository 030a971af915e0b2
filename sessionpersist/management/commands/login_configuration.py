"""Shows and changes the Login Configuration: for the day when the store is down and nobody can log in to the admin."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Iterator
from time import monotonic
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from sessionpersist import audit, conf
from sessionpersist.configuration.forms import CONFIRMATION, LoginConfigurationForm
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.handover import snapshot
from sessionpersist.management.base import SessionCommand, operator, read_configuration
from sessionpersist.management.commands.validate_connections import line_of
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.stores.secret import Secret
from sessionpersist.stores.settings import ENVIRONMENT, TYPES, StoreSettings, UnreadablePassword, reveal

ABOUT_PASSWORDS = """\
A password is never given on the command line: every user of the machine could read it there, and the shell keeps it.
  --password-env NAME              each node reads it from its own environment; only the variable's name is saved
  --password-stdin < password.txt  it is read from the standard input (or asked for, in a terminal) and saved encrypted
The name has to be one that SESSIONPERSIST["SECRETS_ALLOWED"] allows: by default one that begins with SESSIONPERSIST_.
Without either, the saved password stays, as long as host, port and TLS do.
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
"""
HANDOVER = (
    "Nobody is logged out while the old store runs: a session moves when its user comes back, and drain_sessions moves "
    "the rest. If it is down for good, drain_sessions --abandon gives it up."
)
OVERRULED = (
    "What is configured was changed other than by saving it, and has no effect: the site goes by what was last saved, "
    "{}. Save it once more to have it."
)
# The options whose values go into the fields of the chosen type, by the names of those fields.
VALUES = ("host", "port", "database", "username", "auth_source")


class Command(SessionCommand):
    help = (
        "Show or change where login sessions live. Needs no login and no working session store, only the database of "
        "the configuration, so it is the way out when the store is what is down."
    )
    requires_system_checks = []  # it is for the day when something is wrong

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="show | set")
        show = actions.add_parser("show", help="print what is configured, in force and pending")
        show.add_argument("--json", action="store_true", help="print JSON, for programs")
        self._add_set(actions)

    def handle(self, *, action: str, **options: Any) -> None:
        if action == "show":
            self._show(as_json=options["json"])
        else:
            self._set(options)

    def _add_set(self, actions: Any) -> None:
        parser = actions.add_parser(
            "set",
            help="change it; what is not given stays as it is saved",
            description="Change where login sessions live. The store is tried first; what does not work is not saved.",
            epilog=ABOUT_PASSWORDS + EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add = parser.add_argument
        add("--type", type=str.upper, choices=list(TYPES), help="the kind of store (default: as saved)")
        add("--host", help="REDIS, MONGODB: host name or IP address")
        add("--port", help="REDIS, MONGODB: port")
        add("--database", help="REDIS: number; JDBC: alias in DATABASES; MONGODB: name")
        add("--username", help="REDIS, MONGODB: user name; '' for none")
        add("--auth-source", help="MONGODB: database in which the user is defined")
        add("--tls", action=argparse.BooleanOptionalAction, help="REDIS, MONGODB: use TLS")
        self._add_password(parser)
        add(
            "--accept-node-local",
            action="store_true",
            help="IN_MEMORY: each node then knows only the sessions that it serves itself; asked for where the "
            "site has several nodes",
        )
        add("--no-probe", action="store_true", help="save without trying the store")

    def _add_password(self, parser: argparse.ArgumentParser) -> None:
        password = parser.add_mutually_exclusive_group()
        password.add_argument(
            "--password-env", metavar="NAME", help="read it on each node from this variable"
        )
        password.add_argument("--password-stdin", action="store_true", help="read it from the standard input")
        password.add_argument("--no-password", action="store_true", help="remove the saved one")
        password.add_argument("--password", nargs="?", action=Refused, help=argparse.SUPPRESS)

    def _show(self, *, as_json: bool) -> None:
        found = state(read_configuration())
        if as_json:
            self.stdout.write(json.dumps(found, indent=2))
            return
        self.stdout.write(f"Configured:  {found['configured']}")
        for name, value in found["settings"].items():
            self.stdout.write(f"    {name + ':':<14}{value}")
        self.stdout.write(f"In force:    {found['in_force']}")
        if found["overruled_by"]:
            self.stdout.write(self.style.WARNING(OVERRULED.format(found["overruled_by"])))
        for each in found["pending"]:
            self.stdout.write(f"Pending:     {each['store']}, in {each['seconds']:.0f} s")

    def _set(self, options: dict[str, Any]) -> None:
        if options["type"] is None and not any(given(options)):
            raise CommandError("There is nothing to set: give at least one option. See --help.")
        form = LoginConfigurationForm(form_data(read_configuration(), options), probe=not options["no_probe"])
        valid = form.is_valid()
        for step in form.steps:
            self.stdout.write(line_of(step, self.style))
        if not valid:
            raise CommandError("\n".join(["Nothing was saved.", *explain(form)]))
        newest = newest_revision()
        try:
            saved = form.save(saved_by=operator()).store_settings()
        except ValidationError as error:  # somebody else saved meanwhile
            raise CommandError("\n".join(error.messages)) from error
        audit.changed("saved", operator(), saved.describe())
        self.stdout.write(self.style.SUCCESS(f"Saved: {saved.describe()}."))
        self.stdout.write(what_is_next(saved))
        if newest_revision() != newest:
            self.stdout.write(HANDOVER)


class Refused(argparse.Action):
    """An option that is there to say why it is not."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> None:
        parser.error(
            "a password on the command line can be read by others; see --password-env and --password-stdin"
        )


def form_data(configuration: LoginConfiguration, options: dict[str, Any]) -> dict[str, Any]:
    """Return what the page would send: what is saved, changed by the options."""
    store_type = options["type"] or configuration.persistence_type
    data = LoginConfigurationForm.data_of(configuration) | {"persistence_type": store_type}
    prefix = TYPES[store_type].prefix
    for option, name, value in given(options):
        field = f"{prefix}_{name}"
        if field.removesuffix("_clear") not in LoginConfigurationForm.base_fields:
            raise CommandError(f"{option} does not apply to {store_type}.")
        data[field] = value
        if value is False:
            del data[field]  # as a browser sends an empty checkbox: not at all
    return data


def given(options: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield the options that were given: (as typed, name of the field without its prefix, value)."""
    for name in VALUES:
        if options[name] is not None:
            yield f"--{name.replace('_', '-')}", name, options[name]
    if options["tls"] is not None:
        yield "--tls", "tls", options["tls"]
    if options["password_env"]:
        yield "--password-env", "password", ENVIRONMENT + options["password_env"]
    if options["password_stdin"]:
        yield "--password-stdin", "password", read_password()
    if options["no_password"]:
        yield "--no-password", "password_clear", True
    if options["accept_node_local"]:
        yield "--accept-node-local", "accept_node_local", True


def read_password() -> str:
    """Return the password from the standard input; a person is asked for it without an echo."""
    password = Secret(getpass.getpass() if sys.stdin.isatty() else sys.stdin.read().rstrip("\r\n"))
    if not password:
        raise CommandError("The standard input holds no password.")
    return password


def explain(form: LoginConfigurationForm) -> Iterator[str]:
    """Yield what is wrong, each with the option that is to blame."""
    for field, errors in form.errors.items():
        name = next(
            (
                field.removeprefix(each.prefix + "_")
                for each in TYPES.values()
                if field.startswith(each.prefix)
            ),
            "",
        )
        option = {"": "", "password": "--password-…: "}.get(name, f"--{name.replace('_', '-')}: ")
        yield from (f"{option}{error}" for error in errors)
        if field == CONFIRMATION:
            yield str(form.fields[field].help_text)


def state(configuration: LoginConfiguration) -> dict[str, Any]:
    """Return what is configured and what is in force, without any secret."""
    settings, known = configuration.store_settings(), snapshot.current()
    values, overruled = settings.public(), configuration.overruled_by()
    if hasattr(settings, "password"):
        values["password"] = describe_password(settings.password.reveal())
    return {
        "type": settings.type,
        "configured": settings.describe(),
        "settings": values,
        "overruled_by": overruled.describe() if overruled else None,
        "in_force": known.current.settings.describe(),
        "pending": [
            {"store": each.settings.describe(), "seconds": round(seconds_until(known, each), 1)}
            for each in known.pending
        ],
    }


def describe_password(password: str) -> str:
    """Say what kind of password is saved."""
    if isinstance(password, UnreadablePassword):
        return "can't be decrypted: SECRET_KEY has changed"
    if not password.startswith(ENVIRONMENT):
        return "saved" if password else "none"
    try:
        reveal(password)
    except StoreMisconfigured:
        return f"{password} (not set on this node)"
    return f"{password} (set on this node)"


def what_is_next(saved: StoreSettings) -> str:
    """Say when a choice that was just saved is in force."""
    snapshot.expire()  # what was read before it was saved
    known = snapshot.current()
    waiting = next((each for each in known.pending if each.settings.target == saved.target), None)
    if waiting is None:
        return f"Every process of the site uses it within {conf.refresh_seconds():g} s."
    return f"Every process of the site moves to it in {seconds_until(known, waiting):.0f} s, at one moment."


def seconds_until(known: snapshot.Snapshot, pending: snapshot.Known) -> float:
    """How long until a pending choice is in force."""
    return max(0.0, pending.activates_at - known.clock - monotonic())


def newest_revision() -> int | None:
    """The number of the newest revision; another one means that sessions move to another store."""
    return Revision.objects.order_by("-pk").values_list("pk", flat=True).first()
