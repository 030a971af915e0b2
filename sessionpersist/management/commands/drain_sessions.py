"""``manage.py drain_sessions``: move what is left in the draining stores, and end the handover."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import CommandError, CommandParser

from sessionpersist import draining, routing
from sessionpersist.draining import BATCH, Draining, Left, NotNow
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.leftovers import REMOVABLE, Leftovers, leftovers
from sessionpersist.management.base import SessionCommand, read_configuration

REPORT_EVERY = 1.0  # seconds between two lines of progress; a terminal has its bar moved at each batch
BAR = 40  # characters
INTERRUPTED = 130  # the exit code that a shell gives a program ended by Ctrl-C


class Command(SessionCommand):
    help = (
        "Moves the sessions that are still in the stores used before into the current one. Safe beside live traffic, "
        "beside a second copy of itself, and to start again after it was stopped. In-Memory is the memory of a node: "
        "run it on each."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rate", type=positive, metavar="N", help="move at most N sessions a second")
        parser.add_argument(
            "--abandon",
            action="store_true",
            help="give the draining stores up: sessions that are still there are logged out",
        )
        parser.add_argument("--no-input", action="store_false", dest="interactive", help="ask nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        read_configuration()
        try:
            stores, old = self._draining_when_calm(), leftovers()
            if not stores and old is None:
                self.stdout.write("No handover is going on: there is nothing to move.")
            for store in stores:
                if options["abandon"]:
                    self._abandon(store, options["interactive"])
                else:
                    self._drain(store, options["rate"])
            if old is not None and not options["abandon"]:
                self._take_over(old, options["rate"])
        except NotNow as error:
            raise CommandError(f"{error} Run this again in a moment.") from error
        except KeyboardInterrupt:
            raise CommandError("Stopped. Run this again to go on.", returncode=INTERRUPTED) from None

    def _draining_when_calm(self) -> list[Draining]:
        """Return the draining stores, once all processes agree on them: that takes at most twice GUARD_SECONDS."""
        while True:
            stores = draining.going_on()
            view = stores[0].view if stores else routing.current_view()
            if view.snapshot.pending or not (wait := view.undecided()):
                draining.require_calm(view)
                return stores
            time.sleep(wait)

    def _drain(self, store: Draining, rate: float | None) -> None:
        name = store.describe()
        try:
            counted = store.left()
            at_least = "at least " if counted.more else ""
            self.stdout.write(f"{name}: {at_least}{counted.count:,} sessions to move.")
            moved = self._move(store, counted, rate)
            left = store.finish()
        except StoreUnavailable as error:
            raise CommandError(
                f"{name}: {error} What was moved stays moved; run this again, or --abandon."
            ) from error
        if left:
            raise CommandError(f"{name}: {left:,} sessions came meanwhile. Run this again.")
        self.stdout.write(self.style.SUCCESS(f"{name}: {moved:,} sessions moved, none is left."))
        if store.per_node and any(store.number == each.number for each in draining.going_on()):
            self.stdout.write(
                "Run this on every other node too: each keeps the In-Memory sessions of its own users."
            )

    def _take_over(self, old: Leftovers, rate: float | None) -> None:
        """Move what is left at the engine of ADOPT_FROM."""
        name = old.describe()
        if not old.listable:
            self.stdout.write(f"{name}: {old.until()}")
            return
        counted = old.left()
        at_least = "at least " if counted.more else ""
        self.stdout.write(f"{name}: {at_least}{counted.count:,} sessions to move.")
        moved = self._move(old, counted, rate)
        left = old.left().count - old.stuck
        if left > 0:
            raise CommandError(f"{name}: {left:,} sessions came meanwhile. Run this again.")
        if old.stuck:
            self.stdout.write(self.style.WARNING(f"{name}: {old.about_stuck()}"))
        self.stdout.write(self.style.SUCCESS(f"{name}: {moved:,} sessions moved. {REMOVABLE}"))

    def _move(self, store: Draining | Leftovers, counted: Left, rate: float | None) -> int:
        moved, begun = 0, time.monotonic()
        reported = begun
        try:
            for count in store.batches(BATCH if rate is None else max(1, min(BATCH, int(rate)))):
                moved += count
                if sys.stdout.isatty() or time.monotonic() - reported >= REPORT_EVERY:
                    reported = time.monotonic()
                    self._report(moved, counted)
                if rate:
                    time.sleep(max(0.0, begun + moved / rate - time.monotonic()))
        except KeyboardInterrupt:
            message = f"Stopped: {moved:,} sessions moved. Run this again to go on."
            raise CommandError(message, returncode=INTERRUPTED) from None
        finally:
            if moved and sys.stdout.isatty():
                self.stdout.write("")  # the end of the line with the bar
        return moved

    def _report(self, moved: int, counted: Left) -> None:
        total = max(moved, counted.count)
        if sys.stdout.isatty() and counted.more:  # how far it is, nobody knows
            self.stdout.write(f"\r{moved:,} of at least {total:,} moved", ending="")
        elif sys.stdout.isatty():
            share = moved / total if total else 1.0
            self.stdout.write(f"\r[{'#' * int(share * BAR):<{BAR}}] {share:4.0%} {moved:,}", ending="")
        else:
            self.stdout.write(f"{moved:,} of {'at least' if counted.more else 'about'} {total:,} moved")
        self.stdout.flush()

    def _abandon(self, store: Draining, interactive: bool) -> None:
        name = store.describe() if not store.per_node else f"{store.settings.describe()} of every node"
        if interactive:
            question = f"{how_many(store)} still in {name} will be logged out. Type “yes” to give it up: "
            if ask(question) != "yes":
                raise CommandError("Nothing was given up.")
        draining.abandon(store.number)
        self.stdout.write(f"{name}: given up.")


def ask(question: str) -> str:
    """Return the answer; none where nobody is there to give one, or whoever is presses Ctrl-C."""
    try:
        return input(question)
    except (EOFError, KeyboardInterrupt):
        return ""


def how_many(store: Draining) -> str:
    """Say how many sessions are left in a store, as far as it can tell."""
    try:
        left = store.left()
    except StoreUnavailable:
        return "Sessions that are"
    return f"{'At least ' if left.more else ''}{left.count:,} sessions that are"


def positive(text: str) -> float:
    """A number above 0. Raises ArgumentTypeError."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
