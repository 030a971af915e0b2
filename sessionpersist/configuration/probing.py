"""Trying a store out: the one function behind the button, the command and the check before saving."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from time import monotonic

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores import build_store
from sessionpersist.stores.base import Probed
from sessionpersist.stores.probe import Step, run, timed
from sessionpersist.stores.settings import StoreSettings, reveal
from sessionpersist.stores.texts import printable
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import PROBE_FAILED

REPEATED_AFTER = 60.0  # seconds before the same failure is logged once more
_logged = ("", 0.0)  # the last line, and until when it is not repeated


def probe(settings: StoreSettings, *, prepare: bool = False) -> list[Step]:
    """Try the store of these settings step by step. Never raises, whatever is wrong with a store or its settings.

    With ``prepare``, what the store lacks (a table, an index) is made: for saving, not for a mere test.
    """
    hidden = secrets_of(settings)
    built: list[Probed] = []
    opened = timed("Open", lambda: built.append(build_store(settings)), hidden)
    if not opened.ok:
        return [opened]
    (store,) = built
    steps = run(store, prepare=prepare, hidden=hidden)
    closed = timed("Close", store.close, hidden)
    if not closed.ok:
        steps.append(closed)
    if failed := failure(steps):
        _log(settings, failed)
    return steps


def _log(settings: StoreSettings, failed: Step) -> None:
    """Log a failure with the driver's own words; once, though an open page asks again and again."""
    global _logged
    line = f"{printable(settings.describe())}, {failed.name}: {failed.message}"
    line += f" ({failed.detail})" if failed.detail else ""
    last, quiet_until = _logged
    if line != last or monotonic() >= quiet_until:
        store = printable(settings.describe())
        lines.say(PROBE_FAILED, f"A store was tried and failed: {line}", store=store, step=failed.name)
        _logged = line, monotonic() + REPEATED_AFTER


def identify(settings: StoreSettings) -> str:
    """Return the id of the place that these settings lead to (see ``Probed.place``), or "" where it can't be told.

    Never raises: whatever is wrong with a store, its probe says.
    """
    places: list[str | None] = []

    def ask() -> None:
        with closing(build_store(settings)) as store:
            places.append(store.place())

    timed("Place", ask, secrets_of(settings))
    return (places and places[0]) or ""


def secrets_of(settings: StoreSettings) -> list[str]:
    """Return the secrets that these settings lead to, which no text may show."""
    found: list[str] = []
    for secret in settings.secrets().values():
        found.append(secret)
        with suppress(StoreUnavailable):  # it can't be had, so it can't be shown
            found.append(reveal(secret))
    return [each for each in (*found, *settings.borrowed_secrets()) if each]


def failure(steps: Sequence[Step]) -> Step | None:
    """Return the step that failed, or None where all went well."""
    return next((step for step in steps if not step.ok), None)
