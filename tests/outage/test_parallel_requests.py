"""What two requests that overlap do to one session, case by case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.sessions.backends.base import UpdateError

from sessionpersist.engine import ATTEMPTS, SessionStore
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.base import Outcome

from .flaky import FlakyStore, flaky_site


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FlakyStore]:
    with flaky_site(tmp_path) as flaky:
        yield flaky


@pytest.fixture
def two(store: FlakyStore) -> tuple[SessionStore, SessionStore]:
    """Two requests that have both read one session."""
    first = SessionStore()
    first.update({"kept": 1, "shared": 1})
    first.save()
    pair = SessionStore(first.session_key), SessionStore(first.session_key)
    for session in pair:
        assert session["kept"] == 1
    store.calls.clear()
    return pair


def stored(session: SessionStore) -> dict[str, object]:
    return dict(SessionStore(session.session_key).items())


def test_without_a_conflict_a_save_is_one_round_trip(
    two: tuple[SessionStore, SessionStore], store: FlakyStore
) -> None:
    two[0]["new"] = 1
    two[0].save()
    assert store.calls == ["replace"]


def test_a_deletion_and_an_addition_both_survive(two: tuple[SessionStore, SessionStore]) -> None:
    ours, theirs = two
    del theirs["kept"]
    ours["new"] = 2
    theirs.save()
    ours.save()
    assert stored(ours) == {"shared": 1, "new": 2}
    assert dict(ours.items()) == {"shared": 1, "new": 2}


def test_what_both_changed_is_as_the_later_save_has_it(two: tuple[SessionStore, SessionStore]) -> None:
    ours, theirs = two
    theirs["shared"], ours["shared"] = "theirs", "ours"
    theirs.save()
    ours.save()
    assert stored(ours)["shared"] == "ours"


def test_what_one_changed_and_the_other_deleted_is_as_the_later_save_has_it(
    two: tuple[SessionStore, SessionStore],
) -> None:
    ours, theirs = two
    theirs["shared"] = "changed"
    del ours["shared"]
    theirs.save()
    ours.save()
    assert "shared" not in stored(ours)


def test_a_session_can_be_saved_again_after_a_merge(two: tuple[SessionStore, SessionStore]) -> None:
    ours, theirs = two
    for number in range(3):
        theirs[f"theirs-{number}"] = ours[f"ours-{number}"] = number
        theirs.save()
        ours.save()
    expected = {f"{who}-{number}": number for who in ("theirs", "ours") for number in range(3)}
    assert stored(ours) == {"kept": 1, "shared": 1, **expected}


def test_a_login_that_cycles_the_key_takes_along_what_was_saved_meanwhile(
    two: tuple[SessionStore, SessionStore],
) -> None:
    ours, theirs = two
    old_key = ours.session_key
    theirs["basket"] = ["book"]
    theirs.save()
    ours.cycle_key()
    assert stored(ours) == {"kept": 1, "shared": 1, "basket": ["book"]}
    assert not SessionStore().exists(str(old_key))


def test_a_save_after_the_key_was_cycled_elsewhere_is_refused(two: tuple[SessionStore, SessionStore]) -> None:
    ours, theirs = two
    theirs.cycle_key()
    ours["late"] = 1
    with pytest.raises(UpdateError):
        ours.save()
    assert "late" not in stored(theirs)


def test_a_save_after_a_logout_elsewhere_revives_nothing(two: tuple[SessionStore, SessionStore]) -> None:
    ours, theirs = two
    theirs.flush()
    ours["late"] = 1
    with pytest.raises(UpdateError):
        ours.save()
    assert not SessionStore().exists(str(ours.session_key))


def test_a_logout_wins_over_a_save_that_came_between(two: tuple[SessionStore, SessionStore]) -> None:
    ours, theirs = two
    key = str(ours.session_key)
    theirs["between"] = 1
    theirs.save()
    ours.flush()
    assert not SessionStore().exists(key)


def test_a_changed_expiry_and_a_changed_value_both_survive(two: tuple[SessionStore, SessionStore]) -> None:
    ours, theirs = two
    theirs.set_expiry(60)
    ours["new"] = 1
    theirs.save()
    ours.save()
    again = SessionStore(ours.session_key)
    assert again["new"] == 1
    assert again.get_expiry_age() == 60


def test_a_save_of_an_unchanged_session_leaves_parallel_changes_alone(
    two: tuple[SessionStore, SessionStore], store: FlakyStore
) -> None:
    ours, theirs = two
    theirs["new"] = 1
    theirs.save()
    store.calls.clear()
    ours.save()  # as SESSION_SAVE_EVERY_REQUEST does
    assert store.calls == ["touch"]
    assert stored(ours)["new"] == 1


def test_a_cleared_session_that_was_not_read_replaces_what_is_stored(
    two: tuple[SessionStore, SessionStore],
) -> None:
    session = SessionStore(two[0].session_key)
    session.clear()
    session["only"] = 1
    session.save()
    assert stored(session) == {"only": 1}


def test_conflicts_without_end_are_given_up_and_never_told_as_a_lost_session(
    two: tuple[SessionStore, SessionStore], store: FlakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionpersist.engine.pause", lambda attempt: None)
    monkeypatch.setattr(FlakyStore, "replace", lambda self, key, record, expected: Outcome.CONFLICT)
    two[0]["new"] = 1
    with pytest.raises(StoreUnavailable, match="changed by others"):
        two[0].save()
    assert two[0].outage is not None
    assert store.calls.count("replace") == ATTEMPTS
