"""What the probe calls green, the site and a drain can do; and it leaves nothing behind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sessionpersist.configuration import probing
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores import probe
from sessionpersist.stores.base import LONGEST_USER_ID, Outcome, Record, Rotation, new_version, now_ms
from sessionpersist.stores.memory import MemoryStore
from sessionpersist.stores.probe import Step
from sessionpersist.stores.settings import MemorySettings
from tests.stores.verbs import CLEARING, OF_A_DRAIN, OF_A_REQUEST

SECRET = "hunter2-and-more"
VERBS = OF_A_REQUEST | OF_A_DRAIN - CLEARING
BOTH = [
    *((Outcome.SAVED, outcome) for outcome in Outcome),
    *((outcome, None) for outcome in Outcome),
]


class Watched(MemoryStore):
    """A real store. ``calls`` tells what it was asked; ``change`` may put another answer in the place of the n-th."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "watched", 2.0)
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.change: Callable[[int, str, Any], Any] = lambda number, verb, answer: answer

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in VERBS:
            return found

        def verb(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, arguments))
            number = len(self.calls)
            return self.change(number, name, found(*arguments, **options))

        return verb

    @property
    def verbs(self) -> list[str]:
        return [name for name, _ in self.calls]

    def rows(self) -> int:
        """All that lies in the file beside the id of the place, expired records too."""
        return len(self._page(b"", 1_000))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.close()


def failed(steps: list[Step]) -> Step:
    step = next((step for step in steps if not step.ok), None)
    assert step is not None
    return step


class TestWhatIsTried:
    def test_every_verb_of_the_contract(self, store: Watched) -> None:
        assert all(step.ok for step in probe.run(store))
        assert set(store.verbs) == VERBS

    def test_deleting_comes_before_anything_is_written(self, store: Watched) -> None:
        probe.run(store)
        assert store.verbs[0] == "delete"

    def test_the_largest_values(self, store: Watched) -> None:
        probe.run(store)
        records = [each for _, arguments in store.calls for each in arguments if isinstance(each, Record)]
        assert max(len(record.payload) for record in records) >= 64 * 1024
        longest = max((record.user_id for record in records), key=len)
        assert len(longest) == LONGEST_USER_ID
        assert any(ord(letter) > 0xFFFF for letter in longest)

    def test_many_keys_all_over_the_key_space(self, store: Watched) -> None:
        probe.run(store)
        keys = {key for verb, (given, *_) in with_arguments(store, "create_many") for key in given}
        assert len(keys) >= 16
        assert len({key[0] for key in keys}) > 4

    def test_keys_are_new_each_time(self, store: Watched) -> None:
        probe.run(store)
        first = {arguments[0] for _, arguments in with_arguments(store, "create")}
        store.calls.clear()
        probe.run(store)
        assert first.isdisjoint(arguments[0] for _, arguments in with_arguments(store, "create"))

    def test_sessions_of_users_stay_as_they_are(self, store: Watched) -> None:
        live = Record(b"live", new_version(), now_ms(), now_ms() + 60_000, "7")
        store.create("a" * 64, live)
        assert all(step.ok for step in probe.run(store))
        assert store.get("a" * 64) == live
        assert store.rows() == 1


def with_arguments(store: Watched, verb: str) -> list[tuple[str, tuple[Any, ...]]]:
    return [call for call in store.calls if call[0] == verb]


def calls_of_a_probe(folder: Path) -> int:
    store = Watched(folder)
    probe.run(store)
    store.close()
    return len(store.calls)


class TestWhatFails:
    def test_nothing_is_left_behind_wherever_a_probe_fails(self, store: Watched, tmp_path: Path) -> None:
        for n in range(1, calls_of_a_probe(tmp_path / "other") + 1):
            store.calls.clear()

            def break_one(number: int, verb: str, answer: Any, n: int = n) -> Any:
                if number == n:
                    raise StoreUnavailable("The answer was lost.")
                return answer

            store.change = break_one
            assert failed(probe.run(store)).message == "The answer was lost."
            assert (n, store.rows()) == (n, 0)

    @pytest.mark.parametrize(
        ("verb", "lie"),
        [
            ("get", None),
            ("create", False),
            ("create", True),
            *(("replace", outcome) for outcome in Outcome),
            ("touch", False),
            ("touch", True),
            ("delete", False),
            ("delete", True),
            *(("end_and_replace", outcome) for outcome in Outcome),
            *(("save_both", outcomes) for outcomes in BOTH),
            *(("rotate", rotation) for rotation in Rotation),
            ("scan", iter(())),
            ("count", 0),
            ("get_many", {}),
            ("create_many", set()),
            ("delete_many", set()),
        ],
    )
    def test_a_verb_that_always_says_the_same_is_found_out(self, store: Watched, verb: str, lie: Any) -> None:
        store.change = lambda number, name, answer: lie if name == verb else answer
        assert not failed(probe.run(store)).ok

    @pytest.mark.parametrize(
        "verb",
        ["replace", "touch", "delete", "end", "rotate", "end_and_replace", "save_both", "delete_many"],
    )
    def test_a_verb_that_does_nothing_is_found_out(self, tmp_path: Path, verb: str) -> None:
        class Idle(MemoryStore):
            pass

        answers = {
            "replace": Outcome.SAVED,
            "touch": True,
            "delete": True,
            "end": None,
            "rotate": Rotation.DONE,
            "end_and_replace": Outcome.SAVED,
            "save_both": (Outcome.SAVED, Outcome.SAVED),
            "delete_many": set(),
        }
        setattr(Idle, verb, lambda self, *arguments: answers[verb])
        idle = Idle(tmp_path, "idle", 2.0)
        assert not failed(probe.run(idle)).ok
        idle.close()

    def test_a_store_that_is_gone_is_not_cleaned_up_key_by_key(self, store: Watched) -> None:
        def vanish(number: int, verb: str, answer: Any) -> Any:
            if number > 4:
                raise StoreUnavailable("It is gone.")
            return answer

        store.change = vanish
        assert failed(probe.run(store)).message == "It is gone."
        assert len(store.calls) <= 6


class Lacking(Watched):
    """Lacks its table, as it says, and lets the verbs be rehearsed as far as ``possible``."""

    possible = True

    def missing(self) -> str | None:
        return "The table is missing."

    @contextmanager
    def rehearsal(self) -> Iterator[bool]:
        self.calls.append(("rehearsal", ()))
        yield self.possible
        self.calls.append(("over", (self.rows(),)))


class TestRehearsal:
    def test_verbs_are_tried_within_it(self, tmp_path: Path) -> None:
        store = Lacking(tmp_path)
        steps = probe.run(store)
        assert all(step.ok for step in steps)
        assert next(step.message for step in steps if step.name == "Works") == "The table is missing."
        assert store.verbs[0] == "rehearsal"
        assert store.calls[-1] == ("over", (0,))
        assert set(store.verbs) > VERBS

    def test_where_it_is_not_possible_the_verbs_are_left_alone(self, tmp_path: Path) -> None:
        store = Lacking(tmp_path)
        store.possible = False
        assert all(step.ok for step in probe.run(store))
        assert set(store.verbs) == {"rehearsal", "over"}

    def test_what_a_failed_step_wrote_is_gone_before_it_ends(self, tmp_path: Path) -> None:
        store = Lacking(tmp_path)

        def fail(number: int, verb: str, answer: Any) -> Any:
            if verb == "replace":
                raise StoreUnavailable("No.")
            return answer

        store.change = fail
        assert failed(probe.run(store)).message == "No."
        assert store.calls[-1] == ("over", (0,))

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_one_that_fails_is_a_step_that_failed(self, tmp_path: Path, when: str) -> None:
        class Failing(Lacking):
            @contextmanager
            def rehearsal(self) -> Iterator[bool]:
                if when == "before":
                    raise StoreUnavailable("The user may not make a table.", "database")
                yield True
                raise StoreUnavailable("The table could not be taken back.")

        steps = probe.run(Failing(tmp_path))
        assert failed(steps).name == {"before": "Works", "after": "Clean up"}[when]
        assert [step for step in steps if not step.ok] == [steps[-1]]


class Insane(Exception):
    """An error whose own text can't be had."""

    def __str__(self) -> str:
        return f"{SECRET} \x1b[2J"


def raise_insane(*arguments: Any, **options: Any) -> Any:
    raise Insane


PARTS = [
    *sorted(VERBS),
    *("connection_checks", "prepare", "missing", "warnings", "close", "place", "__init__"),
]


class TestWhateverIsRaised:
    @pytest.fixture(autouse=True)
    def a_secret(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probing, "secrets_of", lambda settings: [SECRET])
        monkeypatch.setattr(probing, "_logged", ("", 0.0))

    @pytest.mark.parametrize("part", PARTS)
    def test_a_probe_does_not_raise_and_hides_secrets(
        self, part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(MemoryStore, part, raise_insane)
        with caplog.at_level(logging.DEBUG, "sessionpersist"):
            steps = probing.probe(MemorySettings(), prepare=True)
        assert "Insane" in f"{steps[-1].message} {steps[-1].detail}"
        assert all(step.warning for step in steps if part == "warnings" and step.detail)
        unforeseen = [each for each in caplog.records if "nobody foresaw" in each.getMessage()]
        assert len(unforeseen) == 1
        assert "raise Insane" in unforeseen[0].getMessage()
        for text in (repr(steps), caplog.text):
            assert SECRET not in text
            assert "\x1b" not in text

    def test_the_words_of_a_driver_are_without_secrets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*arguments: Any) -> Any:
            raise StoreUnavailable(f"Refused {SECRET}.") from OSError(f"no\n{SECRET}")

        monkeypatch.setattr(MemoryStore, "get", refuse)
        step = failed(probing.probe(MemorySettings()))
        assert (step.message, step.detail) == ("Refused ….", "OSError: no …")

    def test_a_failure_is_logged_once_with_the_words_of_the_driver(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*arguments: Any) -> Any:
            raise StoreUnavailable("It refused.") from OSError("E 42")

        monkeypatch.setattr(MemoryStore, "get", refuse)
        for _ in range(3):
            probing.probe(MemorySettings())
        assert [each.getMessage() for each in caplog.records] == [
            "event=probe_failed store=In-Memory step=Read "
            'message="A store was tried and failed: In-Memory, Read: It refused. (OSError: E 42)"'
        ]


def test_a_check_that_interrupts_is_not_swallowed(tmp_path: Path) -> None:
    def interrupt(number: int, verb: str, answer: Any) -> Any:
        raise KeyboardInterrupt

    store = Watched(tmp_path)
    store.change = interrupt
    with pytest.raises(KeyboardInterrupt):
        probe.run(store)
    store.close()
