"""The probe that the button, the command and saving share: connect, then use every verb on a throw-away record."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.base import Check, Outcome, Record, Step, Store, new_version, now_ms

TRIAL_LIFE = 60_000  # milliseconds: what a probe that was killed leaves behind is gone after a minute


def run(store: Store, *, prepare: bool = False) -> list[Step]:
    """Run the checks up to the first that fails, then collect the warnings; one Step each.

    With ``prepare`` the store makes what it lacks on its server before its verbs are tried; without, a store that
    lacks something is only told of it, as its verbs can't work yet.
    """
    steps: list[Step] = []
    for name, check in _checks(store, prepare):
        steps.append(timed(name, check))
        if not steps[-1].ok:
            return steps
    return [*steps, *_warnings(store)]


def _checks(store: Store, prepare: bool) -> Iterator[Check]:
    yield from store.connection_checks()
    lacking = True

    def prepared() -> str | None:
        nonlocal lacking
        if prepare:
            store.prepare()
        remark = store.missing()
        lacking = remark is not None
        return remark

    yield "Prepared", prepared
    if not lacking:
        yield from _verbs(store)


def timed(name: str, check: Callable[[], str | None]) -> Step:
    """Run one check and return it as a Step, with its time."""
    begun = time.perf_counter()
    try:
        message, ok, field = check() or "", True, None
    except StoreUnavailable as error:
        message, ok, field = str(error), False, error.field
    return Step(name, ok, round((time.perf_counter() - begun) * 1000, 2), message, field)


def _warnings(store: Store) -> Iterator[Step]:
    try:
        for text in store.warnings():
            yield Step("Warning", True, 0.0, text, warning=True)
    except StoreUnavailable as error:
        yield Step(
            "Warning", True, 0.0, f"The store could not be looked at more closely. {error}", warning=True
        )


def _verbs(store: Store) -> Iterator[Check]:
    """The verbs that requests use, on a random key that no session has."""
    key = secrets.token_hex(32)
    now = now_ms()
    first = Record(b"probe", new_version(), now, now + TRIAL_LIFE)
    second = first._replace(payload=b"probe again", version=new_version())

    def expect(truth: bool, message: str) -> None:
        if not truth:
            raise StoreUnavailable(message)

    def write() -> None:
        expect(store.create(key, first), "The store refused a new record.")

    def read() -> None:
        expect(store.get(key) == first, "The store gave back something else than what was written.")

    def compare_and_set() -> None:
        expect(store.replace(key, second, first.version) is Outcome.SAVED, "The store refused an update.")
        expect(
            store.replace(key, first, first.version) is Outcome.CONFLICT,
            "The store let an outdated update pass.",
        )

    def delete() -> None:
        expect(store.delete(key), "The store could not delete the record.")
        expect(store.get(key) is None, "The store still answers with a deleted record.")

    def expire() -> None:
        expect(store.create(key, first._replace(expires_at=now - 1)), "The store refused a new record.")
        expect(store.get(key) is None, "The store answers with an expired record.")
        # Nothing deletes an expired record at once; a live one in its place can be deleted.
        expect(store.create(key, first) and store.delete(key), "The store could not delete the record.")

    yield "Write", write
    yield "Read", read
    yield "Compare and set", compare_and_set
    yield "Delete", delete
    yield "Expiry", expire
