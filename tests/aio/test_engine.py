"""What Django promises of a session engine, and what this one adds, on an event loop: the same tests, run as
coroutines."""

from __future__ import annotations

import pytest

from tests.aio.looping import InALoop
from tests.engine import test_stores
from tests.engine.behaviour.asynchronous import Asynchronous
from tests.engine.test_stores import BESIDE_RECORDS

IN_A_TRANSACTION = [
    "test_a_logout_that_was_rolled_back_leaves_the_session_listed",
    "test_login_and_new_key_in_one_transaction_is_one_session",
    "test_login_in_a_transaction_keeps_no_other_login_waiting",
    "test_login_that_was_rolled_back_is_listed_when_it_is_saved_again",
    "test_who_logs_out_and_in_again_in_one_transaction_is_one",
]


# One store on a loop shows what the engine does there; each store is tried on one in tests/aio/test_contract.py.
@pytest.mark.long
class TestInMemory(InALoop, test_stores.TestInMemory):
    pass


class TestRedis(InALoop, test_stores.TestRedis):
    long_parts = (Asynchronous, *BESIDE_RECORDS)


@pytest.mark.long
class TestMongo(InALoop, test_stores.TestMongo):
    pass


@pytest.mark.long
class TestSQLite(InALoop, test_stores.TestSQLite):
    as_before, beside_a_thread = IN_A_TRANSACTION, True


@pytest.mark.long
class TestPostgreSQL(InALoop, test_stores.TestPostgreSQL):
    as_before, beside_a_thread = IN_A_TRANSACTION, True
