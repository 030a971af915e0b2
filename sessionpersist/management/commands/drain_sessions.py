"""``manage.py drain_sessions``: move what is left in the draining stores, and end the handover."""

from __future__ import annotations

import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sessionpersist import routing, snapshot
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.models import Revision
from sessionpersist.routing import CurrentView
from sessionpersist.snapshot import Known
from sessionpersist.stores.handover import Role
from sessionpersist.stores.settings import MemorySettings

REPORT_EVERY = 1.0  # seconds between two lines of progress


class Command(BaseCommand):
    help = (
        "Moves the sessions that are still in the stores used before into the current one. Safe beside live traffic, "
        "beside a second copy of itself, and to start again after it was stopped. In-Memory is the memory of a node: "
        "run it on each."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rate", type=float, metavar="N", help="move at most N sessions a second")
        parser.add_argument(
            "--abandon",
            action="store_true",
            help="give the draining stores up: sessions that are still there are logged out",
        )
        parser.add_argument("--no-input", action="store_false", dest="interactive", help="ask nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        if pending := routing.current_view().snapshot.pending:
            raise CommandError(
                f"The switch to {pending[-1].settings.describe()} has not happened yet. Run this again in a moment."
            )
        view = settled_view()
        if not view.store.sources:
            self.stdout.write("No handover is going on: there is nothing to move.")
            return
        for source in view.store.sources:
            if options["abandon"]:
                self._abandon(view, source, options["interactive"])
            else:
                self._drain(view, source, options["rate"])
        snapshot.expire()

    def _drain(self, view: CurrentView, source: Role, rate: float | None) -> None:
        name = describe(view, source)
        try:
            left = source.store.count()
            self.stdout.write(f"{name}: {left:,} sessions to move.")
            moved = self._move_all(view, source, left, rate)
            left = source.store.count()
        except StoreUnavailable as error:
            raise CommandError(
                f"{name}: {error} What was moved stays moved; run this again, or --abandon."
            ) from error
        if left:
            raise CommandError(f"{name}: {left:,} sessions came meanwhile. Run this again.")
        self.stdout.write(self.style.SUCCESS(f"{name}: {moved:,} sessions moved, none is left."))
        if isinstance(known(view, source).settings, MemorySettings):
            self.stdout.write(
                "Run this on every other node too: each keeps the In-Memory sessions of its own users."
            )
        else:
            Revision.objects.drained(source.number, "drained")

    def _move_all(self, view: CurrentView, source: Role, left: int, rate: float | None) -> int:
        moved, begun, reported = 0, time.monotonic(), time.monotonic()
        for key, record in source.store.scan():
            moved += view.store.move(key, source, record)
            if routing.current_view().number != view.number:
                routing.current_store().get(
                    key
                )  # another switch came in between: have it where it belongs now
                raise CommandError("The store was switched again meanwhile. Run this again.")
            if rate:
                time.sleep(max(0.0, begun + moved / rate - time.monotonic()))
            if time.monotonic() - reported >= REPORT_EVERY:
                reported = time.monotonic()
                self._report(moved, left)
        if sys.stdout.isatty():
            self.stdout.write("")
        return moved

    def _report(self, moved: int, left: int) -> None:
        share = min(1.0, moved / left) if left else 1.0
        if sys.stdout.isatty():
            bar = "#" * int(share * 40)
            self.stdout.write(f"\r[{bar:<40}] {share:4.0%} {moved:,}", ending="")
        else:
            self.stdout.write(f"{moved:,} of about {left:,} moved")
        self.stdout.flush()

    def _abandon(self, view: CurrentView, source: Role, interactive: bool) -> None:
        name = describe(view, source)
        if interactive:
            question = f"Sessions that are still in {name} will be logged out. Type “yes” to give it up: "
            if input(question) != "yes":
                raise CommandError("Nothing was given up.")
        Revision.objects.drained(source.number, "abandoned")
        self.stdout.write(f"{name}: given up.")


def settled_view() -> CurrentView:
    """Return the view, once all processes agree on it."""
    view = routing.current_view()
    while (wait := view.undecided()) > 0:
        time.sleep(wait)
        view = routing.current_view()
    return view


def describe(view: CurrentView, source: Role) -> str:
    """Return one line for staff about a draining store."""
    settings = known(view, source).settings
    return settings.describe() + (" (of this node)" if isinstance(settings, MemorySettings) else "")


def known(view: CurrentView, source: Role) -> Known:
    """Return the revision that gave a store its part in the handover."""
    return next(each for each in view.snapshot.draining if each.number == source.number)
