"""``manage.py drain_sessions``: move what is left in the draining stores, and end the handover."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import CommandError, CommandParser

from sessionpersist import audit
from sessionpersist.configuration.leftovers import REMOVABLE, Leftovers, leftovers
from sessionpersist.configuration.panels.handover import read_moving
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import draining, routing
from sessionpersist.handover.draining import BATCH, Draining, Left, NotNow
from sessionpersist.management.base import SessionCommand, ask, operator, read_configuration
from sessionpersist.models import Revision

REPORT_EVERY = 1.0  # seconds between two lines of progress; a terminal has its bar moved at each batch
BAR = 40  # characters
INTERRUPTED = 130  # the exit code that a shell gives a program ended by Ctrl-C


class Command(SessionCommand):
    help = (
        "Move the sessions that are still in the stores used before into the current one. Safe beside live traffic, "
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
        parser.add_argument(
            "--yes", "--no-input", action="store_false", dest="interactive", help="ask nothing"
        )

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
            self.stdout.write(f"{name}: {to_move(counted)}")
            moved = self._move(store, counted, rate)
            left = store.finish()
        except StoreUnavailable as error:
            raise CommandError(
                f"{name}: {error} What was moved stays moved; run this again, or --abandon."
            ) from error
        if left:
            raise CommandError(f"{name}: {what_stays(moved, left)}")
        self.stdout.write(self.style.SUCCESS(f"{name}: {sessions(moved)} moved, none is left."))
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
        self.stdout.write(f"{name}: {to_move(counted)}")
        Revision.objects.begin()  # the sessions stay where they move to, whatever ADOPT_FROM says later
        moved = self._move(old, counted, rate)
        left = old.left().count - old.stuck
        if old.stuck:
            self.stdout.write(self.style.WARNING(f"{name}: {old.about_stuck()}"))
        if left > 0:
            raise CommandError(
                f"{name}: {sessions(moved)} moved, {left:,} arrived in the meantime. Run this again."
            )
        self.stdout.write(self.style.SUCCESS(f"{name}: {sessions(moved)} moved. {REMOVABLE}"))

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
            message = f"Stopped: {sessions(moved)} moved. Run this again to go on."
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
        moving = read_moving(store, count=interactive)
        if interactive:
            told = " ".join(filter(None, (moving.at_stake, moving.how_known)))
            if ask(f"{moving.store}: {told} Type “yes” to give it up: ") != "yes":
                raise CommandError("Nothing was given up.")
        draining.abandon(store.number)
        audit.changed("abandoned", operator(), moving.store)
        self.stdout.write(f"{moving.store}: given up.")


def sessions(number: int) -> str:
    """Count sessions: 1 session, 3,000 sessions."""
    return f"{number:,} session" if number == 1 else f"{number:,} sessions"


def to_move(counted: Left) -> str:
    """Say how many there are, as far as they were counted."""
    return f"{'at least ' if counted.more else ''}{sessions(counted.count)} to move."


def what_stays(moved: int, left: int) -> str:
    """Say what was moved, and why the rest is still there. (What is no session of ours is not counted.)"""
    stay = f"{left:,} {'is' if left == 1 else 'are'} still there"
    if moved:
        return f"{sessions(moved)} moved, {stay}: they arrived in the meantime, or can't be moved yet. Run this again."
    return (
        f"No session could be moved, {stay}: saved by a process that follows another switch than this one. The page "
        "Login Configuration shows what each node uses. Run this again once all use the same store."
    )


def positive(text: str) -> float:
    """A number above 0. Raises ArgumentTypeError."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
