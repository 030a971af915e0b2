"""What holds for a statement that goes past Django's cursor, whatever the database: who must see it, or keep it out,
still does."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

import pytest
from django.db import connections, transaction
from django.test import SimpleTestCase
from django.test.utils import CaptureQueriesContext

from sessionpersist.stores.database.store import DatabaseStore
from tests.stores.contract import a_key, a_record


class Straight:
    """``alias`` is the database of the fixture ``store``."""

    alias: ClassVar[str]

    def test_inside_a_transaction_a_session_takes_part_in_it(self, store: DatabaseStore) -> None:
        key = a_key()
        store.get(key)
        with suppress(ZeroDivisionError), transaction.atomic(using=self.alias):
            assert store.create(key, a_record())
            assert store.get(key) is not None
            raise ZeroDivisionError
        assert store.get(key) is None

    def test_who_watches_the_statements_of_a_connection_sees_ours(self, store: DatabaseStore) -> None:
        store.get(a_key())
        seen: list[str] = []

        def watch(execute: Any, sql: str, *arguments: Any) -> Any:
            seen.append(sql)
            return execute(sql, *arguments)

        with connections[self.alias].execute_wrapper(watch):
            store.get(a_key())
        with CaptureQueriesContext(connections[self.alias]) as captured:
            store.get(a_key())
        seen += [each["sql"] for each in captured]
        assert ["sessionpersist_storedsession" in each for each in seen] == [True, True]

    def test_a_test_that_may_use_no_database_is_told_so(self, store: DatabaseStore) -> None:
        assert store.get(a_key()) is None

        case: Any = SimpleTestCase
        case._add_databases_failures()
        try:
            with pytest.raises(AssertionError, match="not allowed"):
                store.get(a_key())
        finally:
            case._remove_databases_failures()
