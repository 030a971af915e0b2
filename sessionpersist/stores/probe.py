"""The probe that the button, the command and saving share: connect, then use every verb on throw-away records.

The values are the worst that a site has: a large payload, the longest user id, letters of any script, many keys that
lie all over the key space, so that one node of a cluster is not taken for a whole store. Only ``clearing`` is not
called: it deletes as ``delete`` does, and may have hours of other people's work to do.
"""

from __future__ import annotations

import os
import secrets
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from itertools import islice

from sessionpersist.exceptions import ForeignRecord, SessionTooLarge, StoreUnavailable
from sessionpersist.stores.base import (
    LONGEST_USER_ID,
    Check,
    Outcome,
    Probed,
    Record,
    Rotation,
    Saving,
    new_version,
    now_ms,
    saved,
)
from sessionpersist.stores.texts import LONGEST_TEXT, driver_words, printable
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import PROBE_UNFORESEEN

TRIAL_LIFE = 60_000  # milliseconds: what a probe that was killed leaves behind is gone after a minute
REASON = 255  # of an ended record, for the probe: the largest
LARGE = 64 * 1024  # bytes of a payload
MANY = 32  # keys: a node that has half of a cluster is taken for the whole once in four billion probes


@dataclass(frozen=True)
class Step:
    """One step of a probe: what was tried, how long it took, and what came of it."""

    name: str
    ok: bool
    milliseconds: float
    message: str = ""
    field: str | None = None
    warning: bool = False
    detail: str = (
        ""  # the driver's own words, without secrets, for the log and for ``validate_connections -v 2``
    )


def run(store: Probed, *, prepare: bool = False, hidden: Sequence[str] = ()) -> list[Step]:
    """Run the checks up to the first that fails, then collect the warnings; one Step each. Never raises.

    With ``prepare`` the store makes what it lacks on its server before its verbs are tried; without, they are tried as
    far as its server allows (see ``Probed.rehearsal``). ``hidden`` are secrets that no text may show.
    """
    steps: list[Step] = []
    with ExitStack() as stack:
        checks = stack.enter_context(closing(_checks(store, prepare, stack)))
        while found := _next(checks, steps, hidden):
            steps.append(timed(*found, hidden))
            if not steps[-1].ok:
                break
        _let_go(stack, steps, hidden)
    if all(step.ok for step in steps):
        steps += _warnings(store, hidden)
    return steps


def timed(name: str, check: Callable[[], str | None], hidden: Sequence[str] = ()) -> Step:
    """Run one check and return it as a Step, with its time. Never raises, whatever a server makes a driver raise."""
    begun = time.perf_counter()
    try:
        message, ok, field, detail = check() or "", True, None, ""
    except Exception as error:  # noqa: BLE001 - the last translation: a page must come up, whatever a server says
        message, field, detail = _explained(error, hidden)
        ok = False
    milliseconds = round((time.perf_counter() - begun) * 1000, 2)
    return Step(name, ok, milliseconds, shown(message, hidden), field, detail=shown(detail, hidden))


def shown(text: str, hidden: Sequence[str]) -> str:
    """Return a text as it may be shown: without secrets, in one line."""
    for secret in filter(None, hidden):
        text = text.replace(secret, "…")
    return printable(text, LONGEST_TEXT)


def _explained(error: Exception, hidden: Sequence[str]) -> tuple[str, str | None, str]:
    """What to say of an error, the field that is the likely cause, and the driver's own words."""
    if isinstance(error, StoreUnavailable):
        return str(error), error.field, driver_words(error)
    if isinstance(error, SessionTooLarge | ForeignRecord):
        return str(error), None, driver_words(error)
    name = type(error).__name__
    words = shown(printable(f"{name}: {error}"), hidden)
    # The lines of code, which show no values; the text of the error only as it may be shown.
    frames = "".join(traceback.format_tb(error.__traceback__))
    lines.say(PROBE_UNFORESEEN, f"A store was tried, and nobody foresaw this: {words}\n{frames}", error=name)
    return f"The server answered in a way that is not understood ({name}); the log says more.", None, words


def _next(checks: Iterator[Check], steps: list[Step], hidden: Sequence[str]) -> Check | None:
    """The next check; None after the last, or where the store can't even tell its checks."""
    found: list[Check] = []
    step = timed("Open", lambda: found.extend(islice(checks, 1)), hidden)
    if not step.ok:
        steps.append(step)
    return found[0] if found else None


def _let_go(stack: ExitStack, steps: list[Step], hidden: Sequence[str]) -> None:
    """Leave nothing behind. Where that fails it is a step, unless another has failed before it."""
    step = timed("Clean up", stack.close, hidden)
    if not step.ok and all(each.ok for each in steps):
        steps.append(step)


def _warnings(store: Probed, hidden: Sequence[str]) -> Iterator[Step]:
    texts: list[str] = []
    step = timed("Warning", lambda: texts.extend(store.warnings()), hidden)
    for text in texts:
        yield Step("Warning", True, 0.0, shown(text, hidden), warning=True)
    if not step.ok:
        text = f"The store could not be looked at more closely. {step.message}"
        yield Step("Warning", True, 0.0, text, warning=True, detail=step.detail)


def _checks(store: Probed, prepare: bool, stack: ExitStack) -> Generator[Check, None, None]:
    yield from store.connection_checks()
    possible = True

    def prepared() -> str | None:
        nonlocal possible
        if prepare:
            store.prepare()
        remark = store.missing()
        if remark is not None:
            possible = stack.enter_context(store.rehearsal())
        return remark

    yield "Works", prepared
    if possible:
        trial = Trial(store)
        stack.callback(trial.clean_up)
        yield from trial.checks()


class Trial:
    """The verbs of the contract on random keys, which no session has."""

    def __init__(self, store: Probed) -> None:
        self.store = store
        self.key, self.other, self.ended = (secrets.token_hex(32) for _ in range(3))
        now = now_ms()
        user_id = ("Zoë-мир-世界-🔑" * LONGEST_USER_ID)[:LONGEST_USER_ID]
        self.first = Record(os.urandom(LARGE), new_version(), now, now + TRIAL_LIFE, user_id)
        self.second = self.first._replace(payload=os.urandom(LARGE), version=new_version())
        small = self.first._replace(payload=b"probe")
        self.many = {secrets.token_hex(32): small._replace(version=new_version()) for _ in range(MANY)}
        self._written: set[str] = set()  # what has to be cleaned up

    def checks(self) -> Iterator[Check]:
        yield "Write", self.write
        yield "Read", self.read
        yield "Compare and set", self.compare_and_set
        yield "Delete", self.delete
        yield "Expiry", self.expire
        yield "Log out", self.end
        yield "Many at once", self.write_many
        yield "List", self.list
        yield "Delete many", self.delete_many

    def write(self) -> None:
        # First of all, so that a store that may not delete is left without a record.
        expect(not self.store.delete(self.key), "The store deleted a record that was not there.")
        expect(self._create(self.key, self.first), "The store refused a new record.")
        expect(not self.store.create(self.key, self.second), "The store wrote over a record.")

    def read(self) -> None:
        found = self.store.get(self.key)
        expect(same(found, self.first), "The store gave back something else than what was written.")
        self.store.place()

    def compare_and_set(self) -> None:
        replace, first, second = self.store.replace, self.first, self.second
        expect(replace(self.key, second, first.version) is Outcome.SAVED, "The store refused an update.")
        outdated = replace(self.key, first, first.version)
        expect(outdated is Outcome.CONFLICT, "The store let an outdated update pass.")
        expect(
            replace(self.ended, first, first.version) is Outcome.MISSING,
            "The store updated a record that was not there.",
        )
        expect(same(self.store.get(self.key), second), "The store lost an update.")

    def delete(self) -> None:
        outdated = self.store.delete(self.key, self.first.version)
        expect(not outdated, "The store deleted another version of the record.")
        expect(self._create(self.ended, self.first), "The store refused a new record.")
        expect(self._move() is Rotation.TAKEN, "The store wrote over a record.")
        expect(self.store.delete(self.ended, self.first.version), "The store could not delete the record.")
        expect(self._move() is Rotation.DONE, "The store could not move a record to another key.")
        expect(self.store.get(self.key) is None, "The store still answers with a deleted record.")
        expect(self.store.delete(self.ended, self.first.version), "The store could not delete the record.")
        expect(self.store.get(self.ended) is None, "The store still answers with a deleted record.")

    def expire(self) -> None:
        store, key, now = self.store, self.key, now_ms()
        expect(self._create(key, self.first._replace(expires_at=now - 1)), "The store refused a new record.")
        expect(store.get(key) is None, "The store answers with an expired record.")
        # Nothing deletes an expired record at once; a live one in its place can be deleted.
        expect(store.create(key, self.first), "The store refused a record in the place of an expired one.")
        later = self.first.expires_at + 1000
        expect(store.touch(key, later), "The store could not prolong a record.")
        store.touch(key, now + 1)
        found = store.get(key)
        expect(found is not None and found.expires_at == later, "The store did not prolong a record.")
        expect(store.delete(key), "The store could not delete the record.")
        self._written.discard(key)
        expect(not store.touch(key, later), "The store prolonged a record that was not there.")

    def end(self) -> None:
        store, key = self.store, self.ended
        self._written.add(key)
        store.end(key, now_ms() + TRIAL_LIFE, REASON)
        found = store.get(key)
        kept = found is not None and found.ended and found.reason == REASON
        expect(kept, "The store does not keep that a session was logged out.")
        expect(not store.create(key, self.first), "The store wrote over a session that was logged out.")
        self._end_with_another()
        self._bury(key)
        expect(store.get(key) is None, "The store could not delete the record.")

    def write_many(self) -> None:
        self._written |= set(self.many)
        expect(self.store.create_many(self.many) == set(self.many), "The store refused several new records.")
        found = self.store.get_many(self.many)
        expect(
            all(same(found.get(key), record) for key, record in self.many.items()),
            "The store gave back something else than what was written.",
        )

    def list(self) -> None:
        # Of millions only the first: those of the probe lie among them.
        expect(next(iter(self.store.scan()), None) is not None, "The store could not list its records.")
        expect(self.store.count(at_most=1) == 1, "The store could not count its records.")

    def delete_many(self) -> None:
        key, *others = self.many
        versions = {each: self.many[each].version for each in others}
        changed = self.store.delete_many({key: new_version(), **versions})
        expect(key in changed, "The store deleted another version of the record.")
        expect(self.store.delete(key, self.many[key].version), "The store could not delete the record.")
        expect(not self.store.get_many(self.many), "The store still answers with a deleted record.")
        self._written -= set(self.many)

    def clean_up(self) -> None:
        """Delete what a step that failed has left, as far as the store can; the rest expires within a minute."""
        with suppress(Exception):  # the step has said what is wrong
            if self._written & set(self.many):
                self.store.delete_many({key: record.version for key, record in self.many.items()})
            for key in self._written & {self.key, self.ended, self.other}:
                self._bury(key)

    def _create(self, key: str, record: Record) -> bool:
        self._written.add(key)
        return self.store.create(key, record)

    def _end_with_another(self) -> None:
        """As a login does that is one too many: the list of the sessions is saved as one of them ends."""
        store, first, second = self.store, self.first, self.second
        expect(self._create(self.key, first), "The store refused a new record.")
        done = [
            store.end_and_replace(
                {self.ended: REASON - 1}, now_ms() + TRIAL_LIFE, self.key, second, first.version
            )
            for _ in range(2)
        ]
        expect(done == [Outcome.SAVED, Outcome.CONFLICT], "The store let an outdated update pass, or none.")
        found = store.get(self.ended)
        kept = found is not None and found.ended and found.reason == REASON - 1
        expect(kept, "The store does not keep that a session was logged out.")
        expect(same(store.get(self.key), second), "The store lost an update.")
        self._save_both()
        expect(store.delete(self.key), "The store could not delete the record.")
        self._written.discard(self.key)

    def _save_both(self) -> None:
        """As a login does that ends nobody: the list of the sessions is saved together with the session."""
        store, other, first, second = self.store, self.other, self.first, self.second
        expect(self._create(other, second), "The store refused a new record.")
        both = Saving(self.key, first, second.version), Saving(other, first, second.version)
        (listed, outcome), again = store.save_both(*both), store.save_both(*both)
        refused = again == (Outcome.CONFLICT, None)
        expect(listed is Outcome.SAVED and refused, "The store let an outdated update pass, or none.")
        if outcome is None:  # it has left the second alone
            outcome = saved(store, both[1])
        expect(outcome is Outcome.SAVED, "The store let an outdated update pass, or none.")
        found = [store.get(each.key) for each in both]
        expect(all(same(each, first) for each in found), "The store lost an update.")
        expect(store.delete(other), "The store could not delete the record.")
        self._written.discard(other)

    def _move(self) -> Rotation:
        return self.store.rotate(self.key, self.second.version, self.ended, self.first)

    def _bury(self, key: str) -> None:
        """Delete whatever lies there, an expired or an ended record too, which no verb does: let it expire, and put a
        live one in its place."""
        self.store.end(key, now_ms() - 1)
        if self.store.create(key, self.first._replace(payload=b"", user_id="")):
            self.store.delete(key)
        self._written.discard(key)


def expect(truth: bool, message: str) -> None:
    """Raise StoreUnavailable unless it is so."""
    if not truth:
        raise StoreUnavailable(message)


def same(found: Record | None, written: Record) -> bool:
    """Return whether a record came back as it was written. Its user is a mere remark, which a store may shorten."""
    return found is not None and found._replace(user_id="") == written._replace(user_id="")
