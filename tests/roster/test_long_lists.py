"""The list of a user who logs in again and again, such as a script: it has an end, and the sessions go on."""

from __future__ import annotations

import pytest

from sessionpersist import sessions
from sessionpersist.handover import routing
from sessionpersist.roster import limit, records
from sessionpersist.roster.entering import run
from sessionpersist.roster.records import Owner
from sessionpersist.testing import override_login_configuration
from tests.engine.behaviour.rosters import is_live, logged_in, somebody

MOST = 20


def length(user_id: str) -> int:
    return len(run(records.read(routing.current_store(), Owner.of(user_id))).entries)


@pytest.mark.django_db
@pytest.mark.usefixtures("switches_at_once")
def test_it_stays_short_and_keeps_those_that_were_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "MOST_LISTED", MOST)
    user_id = somebody()
    with override_login_configuration(persistence_type="IN_MEMORY"):
        every, lengths = [], []
        for _ in range(4 * MOST):
            every.append(logged_in(user_id))
            lengths.append(length(user_id))
        assert MOST <= max(lengths) <= MOST + MOST // 10
        assert all(map(is_live, every)), "not listed is not ended"
        listed = sessions.listed(user_id, every[-1])
        assert listed.more
        assert listed.sessions[0].current
        assert sessions.end_all(user_id) == lengths[-1]
        assert not any(map(is_live, every[-MOST // 2 :]))
