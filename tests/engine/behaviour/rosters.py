"""Who is signed in where, and the limit on that."""

from __future__ import annotations

import secrets
import time
from contextlib import nullcontext

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.base import UpdateError
from django.db import connections, transaction
from pytest_django import Settings

from sessionpersist import engine, sessions
from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import SessionLimitReached
from sessionpersist.handover import routing
from sessionpersist.roster import limit, records
from sessionpersist.roster.entering import run
from sessionpersist.roster.records import Owner, storable_user_id
from sessionpersist.session.policy import DAY, HOUR, MINUTE
from sessionpersist.session.reasons import Reason
from sessionpersist.session.sealing import stored_key
from sessionpersist.stores.base import now_ms
from sessionpersist.stores.transactions import outside
from sessionpersist.testing import override_login_configuration
from tests.engine.behaviour.time_outs import Clock, Decide, visit
from tests.engine.support import Fields, key_of, new_session, record_of


def somebody() -> str:
    """The id of a user who has no session yet."""
    return f"user-{secrets.token_hex(8)}"


def logged_in(user_id: str) -> SessionStore:
    """A session of this user, begun some milliseconds after any other."""
    time.sleep(0.005)
    return new_session(**{USER_ID: user_id})


def is_live(session: SessionStore) -> bool:
    return SessionStore().exists(key_of(session))


def ids_of(user_id: str) -> list[str]:
    return [each.id for each in sessions.of(user_id)]


class Rosters:
    def test_each_login_is_listed_the_current_one_first(self) -> None:
        user_id = somebody()
        first, _, _ = logged_in(user_id), logged_in(user_id), logged_in(user_id)
        listed = sessions.of(user_id, current=first)
        assert [each.current for each in listed] == [True, False, False]
        assert listed[1].last_use > listed[2].last_use >= listed[0].last_use
        assert len({each.id for each in listed}) == 3
        assert sessions.of(somebody()) == []

    def test_session_without_a_user_is_not_listed(self) -> None:
        session = new_session(cat="tabby")
        session[USER_ID] = user_id = somebody()
        assert sessions.of(user_id) == []
        session.save()
        assert len(sessions.of(user_id)) == 1
        del session[USER_ID]
        session.save()
        assert sessions.of(user_id) == []

    def test_session_that_is_gone_is_not_listed(self) -> None:
        user_id = somebody()
        flushed, kept = logged_in(user_id), logged_in(user_id)
        flushed.flush()
        (listed,) = sessions.of(user_id, current=kept)
        assert listed.current

    def test_session_that_changes_its_user_changes_the_list(self) -> None:
        before, after = somebody(), somebody()
        session = logged_in(before)
        session[USER_ID] = after
        session.save()
        assert sessions.of(before) == []
        assert len(sessions.of(after)) == 1

    def test_session_under_a_new_key_is_the_same_login(self) -> None:
        user_id = somebody()
        session = logged_in(user_id)
        before = ids_of(user_id)
        session.cycle_key()
        assert ids_of(user_id) == before
        assert sessions.of(user_id, current=session)[0].current

    def test_one_that_is_ended_is_out_and_the_others_are_not(self) -> None:
        user_id = somebody()
        ended, kept = logged_in(user_id), logged_in(user_id)
        late = SessionStore(key_of(ended))
        late["cat"] = "tabby"
        (chosen,) = set(ids_of(user_id)) - {each.id for each in sessions.of(user_id, kept) if each.current}
        assert sessions.end(user_id, chosen)
        assert (is_live(ended), is_live(kept)) == (False, True)
        with pytest.raises(UpdateError):
            late.save()
        reader = SessionStore(key_of(ended))
        assert dict(reader.items()) == {}
        assert reader.ended_reason is Reason.BY_USER
        assert not sessions.end(user_id, chosen)
        assert len(ids_of(user_id)) == 1

    def test_session_of_another_user_is_not_ended(self) -> None:
        mine, yours = somebody(), somebody()
        session = logged_in(yours)
        logged_in(mine)
        assert not sessions.end(mine, ids_of(yours)[0])
        assert not sessions.end(mine, "")
        assert is_live(session)

    def test_all_but_one_are_ended(self) -> None:
        user_id = somebody()
        mine, *others = (logged_in(user_id) for _ in range(3))
        assert sessions.end_all(user_id, but=mine) == 2
        assert [is_live(each) for each in (mine, *others)] == [True, False, False]
        assert sessions.end_all(user_id) == 1
        assert sessions.of(user_id) == []

    def test_ended_session_does_not_come_back_under_a_new_key(self) -> None:
        user_id = somebody()
        session = logged_in(user_id)
        assert session[USER_ID] == user_id
        sessions.end_all(user_id)
        with pytest.raises(UpdateError):
            session.cycle_key()
        assert not is_live(session)
        assert sessions.of(user_id) == []

    def test_ended_session_that_is_still_listed_gets_no_new_key(self, fields: Fields) -> None:
        """Whoever ended it was killed before the list was changed."""
        user_id = somebody()
        with override_login_configuration(**fields, max_sessions=1, at_limit="REFUSE"):
            session = logged_in(user_id)
            assert session[USER_ID] == user_id
            routing.current_store().end(stored_key(key_of(session)), now_ms() + HOUR, int(Reason.BY_STAFF))
            with pytest.raises(UpdateError):
                session.cycle_key()
            assert not is_live(session)
            assert sessions.of(user_id) == []
            assert is_live(logged_in(user_id))

    def test_login_in_a_session_that_is_being_ended_does_not_happen(self, fields: Fields) -> None:
        """Another login took its place in the roster before it was saved for the first time."""
        user_id = somebody()
        mine = new_session(cat="tabby")
        with override_login_configuration(**fields, max_sessions=1):
            mine[USER_ID] = user_id
            mine._enter(mine._session_cache, "")
            newer = logged_in(user_id)
            with pytest.raises(UpdateError):
                mine.save()
        assert is_live(newer)
        assert len(sessions.of(user_id)) == 1

    def test_at_the_limit_the_least_recently_used_ends(self, fields: Fields) -> None:
        user_id = somebody()
        with override_login_configuration(**fields, max_sessions=2):
            first, second = logged_in(user_id), logged_in(user_id)
            first["cat"] = "tabby"
            time.sleep(0.005)
            first.save()
            third = logged_in(user_id)
        assert [is_live(each) for each in (first, second, third)] == [True, False, True]
        reader = SessionStore(key_of(second))
        reader.load()
        assert reader.ended_reason is Reason.SIGNED_IN_ELSEWHERE

    def test_lower_limit_ends_as_many_as_are_too_many(self, fields: Fields) -> None:
        user_id = somebody()
        held = [logged_in(user_id) for _ in range(4)]
        with override_login_configuration(**fields, max_sessions=2):
            held.append(logged_in(user_id))
        assert [is_live(each) for each in held] == [False, False, False, True, True]

    def test_logout_makes_room(self, fields: Fields) -> None:
        user_id = somebody()
        with override_login_configuration(**fields, max_sessions=2, at_limit="REFUSE"):
            first, second = logged_in(user_id), logged_in(user_id)
            with pytest.raises(SessionLimitReached):
                logged_in(user_id)
            assert first[USER_ID] == user_id
            first.flush()
            third = logged_in(user_id)
        assert [is_live(each) for each in (second, third)] == [True, True]

    def test_new_key_and_second_login_are_not_counted(self, fields: Fields) -> None:
        user_id = somebody()
        with override_login_configuration(**fields, max_sessions=1, at_limit="REFUSE"):
            session = logged_in(user_id)
            session.cycle_key()
            session.note_login(user_id)
            session["cat"] = "tabby"
            session.save()
        assert is_live(session)

    def test_refused_login_leaves_the_session_without_the_user(self, fields: Fields) -> None:
        user_id = somebody()
        with override_login_configuration(**fields, max_sessions=1, at_limit="REFUSE"):
            kept, refused = logged_in(user_id), new_session(cat="tabby")
            refused[USER_ID] = user_id
            with pytest.raises(SessionLimitReached) as error:
                refused.note_login(user_id)
            assert error.value.user_id == user_id
            assert user_id not in str(error.value)
            refused.save()
        assert dict(SessionStore(key_of(refused)).items()) == {"cat": "tabby"}
        assert is_live(kept)

    def test_roster_says_nothing_to_the_store(self) -> None:
        user_id = somebody()
        session = logged_in(user_id)
        record = record_of(session)
        assert record is not None
        found = routing.current_store().get(Owner.of(user_id).keys[0])
        assert found is not None
        assert found.user_id == ""
        for text in (user_id, key_of(session), stored_key(key_of(session)), record.user_id):
            assert text.encode() not in found.payload

    def test_what_the_policy_has_ended_is_neither_listed_nor_counted(
        self, clock: Clock, decide: Decide
    ) -> None:
        user_id = somebody()
        decide(idle_minutes=30, absolute_hours=8, max_sessions=2)
        idle, used = logged_in(user_id), logged_in(user_id)
        clock.passes(20 * MINUTE)
        visit(used)
        decide(idle_minutes=10, absolute_hours=8, max_sessions=2)
        assert [each.current for each in sessions.of(user_id, used)] == [True]
        newer = logged_in(user_id)
        assert [is_live(each) for each in (idle, used, newer)] == [False, True, True]
        decide(idle_minutes=60, absolute_hours=8, max_sessions=2)
        assert not is_live(idle)  # it was not to come back: nobody would have counted it
        assert len(sessions.of(user_id)) == 2
        decide(absolute_hours=8)
        clock.passes(8 * HOUR)
        assert sessions.of(user_id) == []

    @pytest.mark.parametrize(("before", "after"), [(30, 5), (5, 30)])
    def test_last_use_is_listed_right_when_the_time_out_has_changed(
        self, clock: Clock, decide: Decide, before: int, after: int
    ) -> None:
        user_id = somebody()
        decide(idle_minutes=before)
        session = logged_in(user_id)
        clock.passes(2 * MINUTE)
        decide(idle_minutes=after)
        visit(session)
        used_at = now_ms()
        clock.passes(3 * MINUTE)
        (listed,) = sessions.of(user_id)
        assert abs(listed.last_use.timestamp() * 1000 - used_at) < MINUTE / 2
        clock.passes((after - 4) * MINUTE)
        assert len(sessions.of(user_id)) == 1

    def test_roster_outlives_a_session_that_is_used_for_long(self, clock: Clock, decide: Decide) -> None:
        user_id = somebody()
        decide(idle_minutes=60 * 24 * 10)
        session = logged_in(user_id)
        for _ in range(20):
            clock.passes(9 * DAY)
            visit(session)
        assert len(sessions.of(user_id)) == 1
        assert sessions.end_all(user_id) == 1
        assert not is_live(session)

    def test_session_that_is_not_listed_is_once_its_end_has_moved_for_long(
        self, clock: Clock, decide: Decide, settings: Settings
    ) -> None:
        user_id = somebody()
        settings.SESSIONPERSIST |= {"ROSTER": False}
        decide(idle_minutes=60 * 24 * 11)
        session = logged_in(user_id)
        assert sessions.of(user_id) == []
        settings.SESSIONPERSIST |= {"ROSTER": True}
        decide(idle_minutes=60 * 24 * 11)
        clock.passes(10 * DAY + HOUR)
        visit(session)
        assert len(sessions.of(user_id)) == 1

    def test_session_with_many_keys_is_listed_with_few(self) -> None:
        user_id = somebody()
        session = logged_in(user_id)
        keys = {key_of(session)}
        for _ in range(30):
            session.cycle_key()
            keys.add(key_of(session))
        (entry,) = run(records.read(routing.current_store(), Owner.of(user_id))).entries
        assert len(entry.keys) <= limit.MOST_KEYS
        assert sessions.end_all(user_id) == 1
        assert not any(SessionStore().exists(key) for key in keys)

    def test_login_that_was_not_saved_in_time_can_not_be_saved_after_another(
        self, clock: Clock, decide: Decide
    ) -> None:
        """From a review: a process that sleeps, or whose clock is behind, was taken for dead and then saved."""
        user_id = somebody()
        decide(max_sessions=1)
        late = new_session(cat="tabby")
        late[USER_ID] = user_id
        late._enter(late._session_cache, "")
        clock.passes(70_000)
        newer = logged_in(user_id)
        with pytest.raises(UpdateError):
            late.save()
        assert (is_live(late), is_live(newer)) == (False, True)
        assert len(sessions.of(user_id)) == 1

    def test_login_that_was_rolled_back_is_listed_when_it_is_saved_again(self, fields: Fields) -> None:
        """From a review: the roster was rolled back, too, and believed."""
        user_id = somebody()
        session = new_session(cat="tabby")
        session[USER_ID] = user_id
        if alias := fields.get("jdbc_database"):
            with transaction.atomic(alias):
                session.save()
                transaction.set_rollback(True, alias)
        session.save()
        assert len(sessions.of(user_id)) == 1

    def test_session_of_an_earlier_release_is_listed_once_it_is_saved(
        self, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        user_id = somebody()
        with monkeypatch.context() as before:
            before.setattr(engine, "recorded_user", storable_user_id)
            settings.SESSIONPERSIST |= {"ROSTER": False}
            session = logged_in(user_id)
        settings.SESSIONPERSIST |= {"ROSTER": True}
        assert sessions.of(user_id) == []
        again = SessionStore(key_of(session))
        again["cat"] = "tabby"
        again.save()
        assert len(sessions.of(user_id)) == 1
        assert sessions.end_all(user_id) == 1
        assert not is_live(session)

    def test_login_in_a_transaction_keeps_no_other_login_waiting(self, fields: Fields) -> None:
        """From a review: the roster was locked until the view had ended, and others timed out until the breaker
        opened."""
        user_id, alias = somebody(), fields.get("jdbc_database")
        if alias is None or connections[alias].vendor == "sqlite":
            return  # without transactions, or with one writer at a time in any case
        session = new_session(cat="tabby")
        session[USER_ID] = user_id
        with transaction.atomic(alias):
            session.save()
            outside(lambda: logged_in(user_id))
        assert len(sessions.of(user_id)) == 2

    @pytest.mark.parametrize("at_limit", ["END_OLDEST", "REFUSE"])
    def test_who_logs_out_and_in_again_in_one_transaction_is_one(self, fields: Fields, at_limit: str) -> None:
        """From a review: what others did not see of the transaction was taken for one session too many."""
        user_id, alias = somebody(), fields.get("jdbc_database")
        with override_login_configuration(**fields, max_sessions=1, at_limit=at_limit):
            session = SessionStore(key_of(logged_in(user_id)))
            assert session[USER_ID] == user_id
            with transaction.atomic(alias) if alias else nullcontext():
                session.flush()
                session[USER_ID] = user_id
                session.save()
            assert is_live(session)
            assert len(sessions.of(user_id)) == 1

    def test_login_and_new_key_in_one_transaction_is_one_session(self, fields: Fields) -> None:
        """The roster is changed outside the transaction, where the session is not there yet."""
        user_id, alias = somebody(), fields.get("jdbc_database")
        with override_login_configuration(**fields, max_sessions=1, at_limit="REFUSE"):
            session = new_session(cat="tabby")
            with transaction.atomic(alias) if alias else nullcontext():
                session[USER_ID] = user_id
                session.cycle_key()
                session.cycle_key()
            assert is_live(session)
            assert len(sessions.of(user_id)) == 1

    def test_a_logout_that_was_rolled_back_leaves_the_session_listed(self, fields: Fields) -> None:
        """From a review: the login after it in the same transaction, which looked for the dead, dropped the session."""
        user_id, alias = somebody(), fields.get("jdbc_database")
        if alias is None or connections[alias].vendor == "sqlite":
            return
        with override_login_configuration(**fields, max_sessions=records.CHECKED_FROM):
            every = [logged_in(user_id) for _ in range(records.CHECKED_FROM + 1)]
        last = SessionStore(key_of(every[-1]))
        assert last[USER_ID] == user_id
        with transaction.atomic(alias):
            last.flush()
            last[USER_ID] = user_id
            last.save()
            transaction.set_rollback(True, alias)
        assert is_live(every[-1])
        assert len(sessions.of(user_id)) == records.CHECKED_FROM
