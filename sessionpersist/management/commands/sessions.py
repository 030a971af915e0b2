"""``manage.py sessions``: who is signed in where, and ending it, without the admin."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from sessionpersist import audit, conf, sessions
from sessionpersist.configuration import accounts
from sessionpersist.configuration.panels.sessions import (
    NOT_LISTED,
    StoreCount,
    read_counts,
    warning_of_earlier_release,
)
from sessionpersist.configuration.panels.status import read_status
from sessionpersist.handover import draining
from sessionpersist.management.base import SessionCommand, ask, operator, read_configuration
from sessionpersist.roster.existing import enter_existing
from sessionpersist.session.reasons import Reason
from sessionpersist.sessions import UserSession
from sessionpersist.stores.texts import printable


class Command(SessionCommand):
    help = (
        "Show who is signed in where, and end sessions: of a user, or of everybody. A session is named by an id of its "
        "own, which leads to no cookie. In-Memory is the memory of a node: run this on each."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        metavar = "list | end | end-everybody | enter"
        actions = parser.add_subparsers(dest="action", required=True, metavar=metavar)
        listing = actions.add_parser(
            "list", help="the sessions of a user; without one, how many each store has"
        )
        listing.add_argument("--user", help="user name or primary key")
        ending = actions.add_parser("end", help="end the sessions of a user, or some of them")
        ending.add_argument("--user", required=True, help="user name or primary key")
        ending.add_argument(
            "--session", action="append", metavar="ID", help="end this one only; may be repeated"
        )
        everybody = actions.add_parser("end-everybody", help="end the sessions of all users, on every node")
        entering = actions.add_parser(
            "enter", help="list the sessions that were saved before they were listed; may be repeated"
        )
        for each in (ending, everybody):
            each.add_argument("--yes", "--no-input", action="store_true", help="ask nothing")
        for each in (listing, ending, everybody, entering):
            each.add_argument("--json", action="store_true", help="print JSON, for programs")

    def handle(self, *, action: str, **options: Any) -> None:
        read_configuration()
        if action != "end-everybody":  # which asks no store
            draining.require_memory_of_site(read_status().settings)
        getattr(self, f"_{action.replace('-', '_')}")(options)

    def _list(self, options: dict[str, Any]) -> None:
        if options["user"] is None:
            counts = read_counts()
            self._print(options, [count_as_json(each) for each in counts], map(count_in_words, counts))
            return
        found = sessions.of(listed_user(options["user"]))
        lines = [in_words(each) for each in found] or ["This user is not signed in anywhere."]
        self._print(options, [as_json(each) for each in found], lines)

    def _end(self, options: dict[str, Any]) -> None:
        user, chosen = listed_user(options["user"]), options["session"]
        name = user.get_username()
        if not chosen and not options["yes"]:
            confirm(f"This ends all sessions of {name}. Type “yes” to go on: ")
        over = [each for each in chosen or () if sessions.end(user, each, reason=Reason.BY_STAFF)]
        ended = len(over) if chosen else sessions.end_all(user, reason=Reason.BY_STAFF)
        if ended:
            audit.ended_by_staff(operator(), user.pk, ended)
        self._print(options, {"user": name, "ended": ended}, [f"{name}: {ended} ended."])
        if missing := sorted(set(chosen or ()) - set(over)):
            raise CommandError(f"{name} has no such session: {', '.join(map(printable, missing))}.")

    def _end_everybody(self, options: dict[str, Any]) -> None:
        if warning := warning_of_earlier_release():
            self.stderr.write(warning)
        if not options["yes"]:
            confirm("This ends every session of all users, on every node. Type “yes” to go on: ")
        sessions.end_everybody(ended_by=operator())
        when = f"in {conf.activation_seconds():g} s, on all nodes at the same moment"
        self._print(options, {"ended": "everybody"}, [f"Everybody is logged out {when}."])

    def _enter(self, options: dict[str, Any]) -> None:
        if not sessions.are_listed():
            raise CommandError(str(NOT_LISTED))
        entered = sum(enter_existing())
        self._print(options, {"entered": entered}, [f"{entered} entered."])

    def _print(self, options: dict[str, Any], found: Any, lines: Any) -> None:
        if options["json"]:
            self.write_json(found)
            return
        for line in lines:
            self.stdout.write(line)


def listed_user(text: str) -> Any:
    """Return the user of a name or a primary key. Raises CommandError."""
    if not sessions.are_listed():
        raise CommandError(str(NOT_LISTED))
    user = accounts.by_name_or_key(text)
    if user is None:
        raise CommandError("There is no user with this name or primary key.")
    return user


def confirm(question: str) -> None:
    """Raise CommandError unless whoever runs this agrees."""
    if ask(question) != "yes":
        raise CommandError("Nothing was ended.")


def as_json(each: UserSession) -> dict[str, Any]:
    """Return a session as programs read it."""
    found = asdict(each) | {"begun": each.begun.isoformat(), "last_use": each.last_use.isoformat()}
    del found["current"]  # nobody is logged in here
    return found


def in_words(each: UserSession) -> str:
    """Return a session as a line."""
    times = f"since {each.begun:%Y-%m-%d %H:%M}, last used {each.last_use:%Y-%m-%d %H:%M} UTC"
    remembered = ", remembered" if each.remembered else ""
    return (
        f"{each.id}  {each.device or 'unknown device'}, {each.place or 'unknown place'}, {times}{remembered}"
    )


def count_as_json(each: StoreCount) -> dict[str, Any]:
    """Return the number of sessions in a store as programs read it; "at_least": the counting ended there."""
    left = each.left
    number = {"sessions": left and left.count, "at_least": bool(left and left.more)}
    return {"store": each.store, **number, "moving": each.moving, "problem": each.problem}


def count_in_words(each: StoreCount) -> str:
    """Return the number of sessions in a store as a line."""
    return f"{each.store}: {each.problem or each.count}{' (still to move)' if each.moving else ''}"
