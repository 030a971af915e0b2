"""A store behind a circuit breaker: the same verbs, and an answer at once where the store keeps failing.

A connection that broke while it lay in the pool (the server was restarted) is worth one more try, at once, on a new
one. That is safe for every verb here: reads, touches, deletions and ends can be repeated, and a create, a replace or a
rotate whose first try did go through is recognised by the version it wrote, which nobody else can have drawn; it is
written once more, as nobody has waited for the replicas of the first. A server that
was restarted hangs up at once: where the first try took more than half of the time-out, there is no second.

A refusal is not an outage: the breaker hears of a server that can't be asked. What the server answers to one request
(it is full, the user may not), a session that is too large, a foreign record and a caller's own fault say nothing
against other requests.
"""

from __future__ import annotations

import enum
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from time import monotonic
from typing import TypeVar, TypeVarTuple

from sessionpersist import conf
from sessionpersist.awaiting import in_loop, in_thread
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores import telling
from sessionpersist.stores.base import ENDED, Drainable, Outcome, Probed, Record, Rotation, Saving, saved
from sessionpersist.stores.breaker import Breaker
from sessionpersist.stores.reachability import Crowded
from sessionpersist.stores.texts import LONGEST_TEXT, driver_words, printable
from sessionpersist.telemetry import lines, recorder, tracing
from sessionpersist.telemetry.lines import STORE_BACK, STORE_CROWDED, STORE_LOST, STORE_REFUSED, Line
from sessionpersist.telemetry.recorder import RETRIES

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MOST_PARTS = 1000  # servers of a store of which each has a breaker

# What comes of a verb that the store has not answered, in metrics: it was not asked, it has refused, it is gone.
TURNED_AWAY, REFUSED, UNAVAILABLE = "turned_away", "refused", "unavailable"
OUTCOMES: dict[enum.Enum, str] = {each: each.name.lower() for each in (*Outcome, *Rotation)}

# Seconds between two lines of the log about requests that a server refused, or was not asked for.
REFUSALS_EVERY = 60.0


class GuardedStore(Drainable):
    """``store`` is the one behind the breaker: what is asked there, the breaker does not hear of."""

    def __init__(self, store: Probed, description: str) -> None:
        """``description`` names the store in the log; it holds no secret."""
        self.store, self.description = store, description
        self.kind, self.blocks = kind_of(store), store.blocks
        self.breaker = Breaker()
        self._quiet_until: dict[Line, float] = {}
        self._answered_at = float("-inf")
        self._last_fault = ""  # a sentence; the error itself would keep a request's variables alive

    @property
    def answered_at(self) -> float:
        """When the last call began that the store has answered, on the monotonic clock. An eternity ago where it was
        never called, or has failed since."""
        return self._answered_at if self.breaker.healthy else float("-inf")

    def get(self, key: str) -> Record | None:
        return self._guarded("get", self.store.get, key)

    def create(self, key: str, record: Record) -> bool:
        def again() -> bool:
            return self._saved_again(Saving(key, record, None)) is Outcome.SAVED

        return self._guarded("create", self.store.create, key, record, again=again)

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        def again() -> Outcome:
            return self._saved_again(Saving(key, record, expected))

        return self._guarded("replace", self.store.replace, key, record, expected, again=again)

    def touch(self, key: str, expires_at: int) -> bool:
        return self._guarded("touch", self.store.touch, key, expires_at)

    def delete(self, key: str, version: int | None = None) -> bool:
        return self._guarded("delete", self.store.delete, key, version)

    def end(self, key: str, expires_at: int, reason: int = 0) -> None:
        self._guarded("end", self.store.end, key, expires_at, reason)

    def rotate(self, old_key: str, version: int | None, new_key: str, record: Record) -> Rotation:
        def again() -> Rotation:
            answer = self.store.rotate(old_key, version, new_key, record)
            if answer is not Rotation.TAKEN or not self._wrote(new_key, record):
                return answer
            return Rotation.DONE if self.store.delete(old_key, version) else Rotation.LEFT

        return self._guarded("rotate", self.store.rotate, old_key, version, new_key, record, again=again)

    def end_and_replace(
        self, ended: Mapping[str, int], until: int, key: str, record: Record, expected: int
    ) -> Outcome:
        call = self.store.end_and_replace

        def again() -> Outcome:
            return self._unless_written(call(ended, until, key, record, expected), key, record)

        return self._guarded("end_and_replace", call, ended, until, key, record, expected, again=again)

    def save_both(self, first: Saving, second: Saving) -> tuple[Outcome, Outcome | None]:
        def again() -> tuple[Outcome, Outcome | None]:
            both = self.store.save_both(first, second)
            if both[0] is not Outcome.CONFLICT or not self._wrote(first.key, first.record):
                return both
            if second.old_key:  # it went along with the first, or is left alone
                return Outcome.SAVED, Outcome.SAVED if self._wrote(second.key, second.record) else None
            return Outcome.SAVED, self._saved_again(second)

        return self._guarded("save_both", self.store.save_both, first, second, again=again)

    def close(self) -> None:
        self.store.close()

    def scan(self) -> Iterator[tuple[str, Record | None]]:
        return self.store.scan()

    def count(self, at_most: int | None = None, *, rosters: bool = False) -> int:
        # Staff count, and a count that takes too long says nothing against what requests ask.
        return self._guarded("count", lambda: self.store.count(at_most, rosters=rosters), blamed=False)

    def get_many(self, keys: Collection[str]) -> dict[str, Record]:
        return self._guarded("get_many", self.store.get_many, keys)

    def create_many(self, records: Mapping[str, Record]) -> set[str]:
        # A store may not say what a first try has created: whoever drains then looks at it one by one.
        return self._guarded("create_many", self.store.create_many, records)

    def delete_many(self, versions: Mapping[str, int]) -> set[str]:
        return self._guarded("delete_many", self.store.delete_many, versions)

    def clearing(self) -> Iterator[int]:
        return self.store.clearing()

    def clear_expired(self) -> int:
        return self._guarded("clear_expired", self.store.clear_expired)

    def prepare(self) -> None:
        """See Probed.prepare()."""
        self._guarded("prepare", self.store.prepare)

    def place(self) -> str | None:
        """See Probed.place()."""
        return self._guarded("place", self.store.place)

    def _saved_again(self, saving: Saving) -> Outcome:
        """Save what may have been saved by a first try."""
        return self._unless_written(saved(self.store, saving), saving.key, saving.record)

    def _unless_written(self, outcome: Outcome, key: str, record: Record) -> Outcome:
        """Return what came of a second try: a conflict with what the first one has written is none."""
        return Outcome.SAVED if outcome is Outcome.CONFLICT and self._wrote(key, record) else outcome

    def _wrote(self, key: str, record: Record) -> bool:
        return self.store.replace(key, record, record.version) is Outcome.SAVED

    def open_breakers(self) -> int:
        """Return whether the circuit is open, as a number."""
        return int(self.breaker.is_open)

    def _guarded(
        self,
        verb: str,
        call: Callable[[*Ts], T],
        *arguments: *Ts,
        again: Callable[[], T] | None = None,
        blamed: bool = True,
    ) -> T:
        """Call a verb of the store if the breaker admits it. ``again`` is the second try, where it differs from the
        first; unless the store is ``blamed``, the breaker does not hear of a fault."""
        if self.blocks and in_loop():
            return in_thread(lambda: self._guarded(verb, call, *arguments, again=again, blamed=blamed))
        if tracing.tracer is None:
            return self._watched(verb, call, arguments, again, blamed)
        with tracing.span(self.kind, verb):
            return self._watched(verb, call, arguments, again, blamed)

    def _watched(
        self,
        verb: str,
        call: Callable[[*Ts], T],
        arguments: tuple[*Ts],
        again: Callable[[], T] | None,
        blamed: bool,
    ) -> T:
        begun = monotonic()
        if not (self.breaker.healthy or self.breaker.admits()):
            recorder.operation(self.kind, verb, TURNED_AWAY, 0.0)
            raise StoreUnavailable(
                f"{self.description} has failed repeatedly and is being given a moment. "
                f"The last failure: {self._last_fault}"
            )
        try:
            return self._noted(verb, call(*arguments), begun)
        except StoreUnavailable as error:
            if not error.connection_lost or monotonic() - begun > conf.timeout_seconds() / 2:
                self._note_failure(verb, error, begun, blamed)
                raise
        # Outside the handler: a second failure is not to have the first as its context, which would explain it wrongly.
        recorder.add(RETRIES, self.kind, verb)
        try:
            return self._noted(verb, again() if again else call(*arguments), begun)
        except StoreUnavailable as error:
            self._note_failure(verb, error, begun, blamed)
            raise

    def _noted(self, verb: str, answer: T, begun: float) -> T:
        if recorder.listeners:
            recorder.operation(self.kind, verb, outcome_of(verb, answer), monotonic() - begun)
        self._answered_at = begun
        if not self.breaker.healthy and self.breaker.succeeded():
            self._report_recovered()
        return answer

    def _note_failure(self, verb: str, error: StoreUnavailable, begun: float, blamed: bool) -> None:
        recorder.operation(self.kind, verb, outcome_of_failure(error), monotonic() - begun)
        if isinstance(error, Crowded):
            self._note_at_times(STORE_CROWDED, str(error), error)
        elif error.answered:
            self._note_refusal(error)
        elif blamed:
            self._note_fault(error)

    def _note_fault(self, error: StoreUnavailable) -> None:
        self._last_fault = printable(error, LONGEST_TEXT)  # before others are turned away for it
        if self.breaker.failed():
            self._report_lost(error)
        recorder.refresh()

    def _note_refusal(self, error: StoreUnavailable) -> None:
        """The server has answered, so it can be asked."""
        if self.breaker.succeeded():
            self._report_recovered()
        self._note_at_times(STORE_REFUSED, f"{self.description} refused a request: {_in_full(error)}", error)

    def _note_at_times(self, event: Line, sentence: str, error: StoreUnavailable) -> None:
        """Have the log hear of it at most once a minute."""
        if (now := monotonic()) >= self._quiet_until.get(event, 0.0):
            self._quiet_until[event] = now + REFUSALS_EVERY
            self._say(event, sentence, error)

    def _report_lost(self, error: StoreUnavailable) -> None:
        self._say(STORE_LOST, f"{self.description} is lost: {_in_full(error)}", error)
        telling.lost(type(self.store), self.description, error)

    def _say(self, event: Line, sentence: str, error: StoreUnavailable) -> None:
        lines.say(event, sentence, store=self.description, error=type(error.__cause__ or error).__name__)

    def _report_recovered(self) -> None:
        lines.say(STORE_BACK, f"{self.description} is back.", store=self.description)
        recorder.refresh()
        telling.recovered(type(self.store), self.description)


class Parted(Probed):
    """A store whose records are on several servers, each of which can fail alone."""

    @abstractmethod
    def part_of(self, key: str) -> str:
        """Return which server a record is on, for staff; "" where that is not known yet."""


class PartedStore(Drainable):
    """A breaker for each server of a store: where one fails, the users of the others do not notice.

    What is about many records has a breaker of its own.
    """

    def __init__(self, store: Parted, description: str) -> None:
        self.store, self.description = store, description
        self.whole = GuardedStore(store, description)
        self.kind, self.blocks = self.whole.kind, store.blocks
        self._parts: dict[str, GuardedStore] = {"": self.whole}

    @property
    def answered_at(self) -> float:
        """See GuardedStore: of the server that has answered last."""
        return max(part.answered_at for part in tuple(self._parts.values()))

    def open_breakers(self) -> int:
        """Return how many circuits are open."""
        return sum(part.open_breakers() for part in tuple(self._parts.values()))

    def _part(self, key: str) -> GuardedStore:
        part = self.store.part_of(key)
        found = self._parts.get(part)
        if found is None:
            if len(self._parts) >= MOST_PARTS:  # most of them are gone: each restart can bring a new address
                self._parts = {"": self.whole}
            made = GuardedStore(self.store, f"{self.description}, server {part},")
            found = self._parts.setdefault(part, made)
        return found

    def get(self, key: str) -> Record | None:
        return self._part(key).get(key)

    def create(self, key: str, record: Record) -> bool:
        return self._part(key).create(key, record)

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        return self._part(key).replace(key, record, expected)

    def touch(self, key: str, expires_at: int) -> bool:
        return self._part(key).touch(key, expires_at)

    def delete(self, key: str, version: int | None = None) -> bool:
        return self._part(key).delete(key, version)

    def end(self, key: str, expires_at: int, reason: int = 0) -> None:
        self._part(key).end(key, expires_at, reason)

    # rotate, end_and_replace and save_both have the default, as the keys may lie on different servers.

    def clearing(self) -> Iterator[int]:
        return self.whole.clearing()

    def clear_expired(self) -> int:
        return self.whole.clear_expired()

    def scan(self) -> Iterator[tuple[str, Record | None]]:
        return self.whole.scan()

    def count(self, at_most: int | None = None, *, rosters: bool = False) -> int:
        return self.whole.count(at_most, rosters=rosters)

    def get_many(self, keys: Collection[str]) -> dict[str, Record]:
        parts: dict[int, tuple[GuardedStore, list[str]]] = {}
        for key in keys:
            part = self._part(key)
            parts.setdefault(id(part), (part, []))[1].append(key)
        return {key: each for part, own in parts.values() for key, each in part.get_many(own).items()}

    def create_many(self, records: Mapping[str, Record]) -> set[str]:
        return self.whole.create_many(records)

    def delete_many(self, versions: Mapping[str, int]) -> set[str]:
        return self.whole.delete_many(versions)

    def prepare(self) -> None:
        self.whole.prepare()

    def place(self) -> str | None:
        return self.whole.place()

    def close(self) -> None:
        self.store.close()


def behind_breakers(store: Probed, description: str) -> GuardedStore | PartedStore:
    """Return the store behind its breaker, or behind one for each of its servers."""
    return PartedStore(store, description) if isinstance(store, Parted) else GuardedStore(store, description)


def kind_of(store: Probed) -> str:
    """Return the kind of a store as metrics have it, such as IN_MEMORY: the ``type`` of its settings."""
    return store.name.upper().replace("-", "_")


def _in_full(error: StoreUnavailable) -> str:
    """Our sentence, and the driver's own words where there are any."""
    words = driver_words(error)
    said = printable(error, LONGEST_TEXT)
    return f"{said} ({words})" if words else said


def outcome_of_failure(error: StoreUnavailable) -> str:
    """Name why a store was of no use to a request."""
    if isinstance(error, Crowded):
        return TURNED_AWAY
    return REFUSED if error.answered else UNAVAILABLE


def outcome_of(verb: str, answer: object) -> str:
    """Name what a store has answered: ``found``, ``ended`` or ``missing`` to a read; ``created`` or ``taken``;
    ``saved``, ``conflict`` or ``missing``; to a rotate ``done``, ``left`` or ``taken``; else ``done`` or
    ``missing``."""
    if isinstance(answer, Record):
        return "ended" if answer.version == ENDED else "found"
    if answer is None:
        return "missing" if verb == "get" else "done"
    if isinstance(answer, tuple):  # of two savings, the last that was tried
        first, second = answer
        answer = second or first
    if isinstance(answer, enum.Enum):
        return OUTCOMES[answer]
    if verb == "create":
        return "created" if answer else "taken"
    return "missing" if answer is False else "done"
