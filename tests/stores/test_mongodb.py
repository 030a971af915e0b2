"""MONGODB: the contract."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NoReturn

import bson
import pytest
from bson import Binary, Decimal128, Int64, MaxKey, Timestamp
from bson.codec_options import CodecOptions
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from pymongo import errors, monitoring
from pymongo.collection import Collection
from pymongo.database import Database

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.base import (
    LONGEST_USER_ID,
    MAX_PAYLOAD_BYTES,
    PLACE,
    Outcome,
    Probed,
    Record,
    now_ms,
)
from sessionpersist.stores.mongodb.store import GRACE, TTL_INDEX, MongoStore, document_of
from tests.servers import MongoDB, shared
from tests.stores.contract import (
    ForeignRecords,
    GetsAPlace,
    HasAPlace,
    RoundTrips,
    StoreContract,
    a_key,
    a_record,
)
from tests.stores.places import mongo_store


class Commands(monitoring.CommandListener):
    """Notes the commands that are sent."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


LISTENER = Commands()
monitoring.register(LISTENER)


class ReadsOfADrain:
    """Documents of which a page is to hold none, or few."""

    @pytest.mark.parametrize(
        "change",
        [
            {"user_id": "x" * (LONGEST_USER_ID + 1)},
            {"payload": bytes(MAX_PAYLOAD_BYTES + 1)},
            {"payload": Binary(b"payload", 5)},
            {"user_id": "no text"},
        ],
        ids=["a long user id", "a large payload", "bytes of another kind", "a user id that is no text"],
    )
    def test_a_foreign_record_that_no_filter_knows_is_no_session_and_ends_no_drain(
        self, store: Probed, live: tuple[str, Record], change: dict[str, Any]
    ) -> None:
        assert isinstance(store, MongoStore)
        raw = bson.encode({"_id": (key := a_key()), **document_of(a_record()), **change})
        store._sessions.with_options(codec_options=CodecOptions(RawBSONDocument)).insert_one(
            RawBSONDocument(raw.replace(b"no text", b"n\xff\xfetext"[:7]))
        )
        assert store.get(key) is None
        assert dict(store.scan()) == {key: None, live[0]: live[1]}
        assert store.get_many([key, live[0]]) == {live[0]: live[1]}
        assert store.count() == 1
        store.delete(live[0])
        assert (store.count(), store.count(at_most=50)) == (0, 0)

    def test_large_records_are_read_a_few_at_a_time(self, store: Probed) -> None:
        assert isinstance(store, MongoStore)
        records = {a_key(): a_record(bytes(MAX_PAYLOAD_BYTES)) for _ in range(5)}
        for key, record in records.items():
            store.create(key, record)
        assert len(store._page("")) == 2
        assert dict(store.scan()) == records
        assert store.get_many([*records, a_key()]) == records
        assert store.count() == 5


class TestMongoStore(StoreContract, RoundTrips, HasAPlace, GetsAPlace, ForeignRecords, ReadsOfADrain):
    def make_store(self) -> Probed:
        return mongo_store(prefix="contract")

    def make_store_of_a_new_place(self) -> Probed:
        return mongo_store(prefix=f"place_{a_key()[:8]}")

    def foreign(self, store: MongoStore) -> dict[str, Callable[[str], object]]:
        whole = document_of(a_record())
        other: dict[str, list[Any]] = {
            "payload": ["text", 7, {"$": b""}, [b"", b"x"]],
            "version": ["7", 1.5, True, -1, Decimal128("7"), DatetimeMS(7), [7]],
            "created_at": ["now", now_ms(), DatetimeMS(-1), Timestamp(1, 1), [DatetimeMS(7)]],
            "expires_at": ["never", now_ms() + 60_000, 2**62, Int64(2**62), MaxKey(), [DatetimeMS(2**50)]],
            "user_id": [7, b"7", ["7"], {"id": "7"}],
        }
        documents: dict[str, dict[str, Any]] = {"nothing": {}}
        for field, values in other.items():
            documents[f"without {field}"] = {name: whole[name] for name in whole if name != field}
            for value in (None, *values):
                documents[f"{field}: {value!r}"] = whole | {field: value}

        def writer(document: dict[str, Any]) -> Callable[[str], object]:
            return lambda key: store._sessions.insert_one({"_id": key, **document})

        return {what: writer(document) for what, document in documents.items()}

    def commands(self, store: Probed, action: Callable[[], object]) -> int:
        before = len(LISTENER.names)
        action()
        return len(LISTENER.names) - before

    def test_the_mark_of_a_logout_may_be_the_first_that_a_store_is_told(self) -> None:
        """Nothing but the index would ever delete it."""
        store = mongo_store(prefix=f"first-{a_key()[:8]}")
        store.end(a_key(), now_ms() + 60_000)
        assert store.missing() is None
        store.close()

    def test_a_read_that_meets_a_server_that_is_no_longer_primary_waits_for_the_new_one(
        self, store: Probed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key, record = a_key(), a_record()
        store.create(key, record)

        def stepped_down(*arguments: Any, **options: Any) -> NoReturn:
            raise errors.NotPrimaryError("not primary")

        monkeypatch.setattr(store, "_straight", lambda *given: None)  # as in a replica set
        monkeypatch.setattr(Database, "command", stepped_down)
        assert store.get(key) == record

    def test_records_that_a_majority_has_not_acknowledged_are_not_said_to_be_created(
        self, store: Probed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A drain deletes at the source what was created: a failover must not take it back."""

        def unacknowledged(*arguments: Any, **options: Any) -> NoReturn:
            fault = {"code": 64, "errmsg": "waiting for replication timed out"}
            raise errors.BulkWriteError({"writeErrors": [], "writeConcernErrors": [fault], "nInserted": 1})

        monkeypatch.setattr(Collection, "insert_many", unacknowledged)
        with pytest.raises(StoreUnavailable):
            store.create_many({a_key(): a_record()})


Failing = Callable[[errors.PyMongoError], None]


class TestWithoutDetours:
    """A server that is alone is asked past the driver's sessions and what it does to try again."""

    @pytest.fixture
    def store(self) -> Iterator[MongoStore]:
        with closing(mongo_store()) as made:
            made.prepare()
            yield made

    @pytest.fixture
    def live(self, store: MongoStore) -> tuple[str, Record]:
        key, record = a_key(), a_record()
        assert store.create(key, record)
        return key, record

    @pytest.fixture
    def failing(
        self, store: MongoStore, live: tuple[str, Record], monkeypatch: pytest.MonkeyPatch
    ) -> Failing:
        """Have the way without detours fail; the driver's own does not."""

        def fail(error: errors.PyMongoError) -> None:
            client: Any = store._database().client
            lend = client._conn_for_writes

            def broken(session: Any, operation: str) -> Any:
                monkeypatch.setattr(client, "_conn_for_writes", lend)
                raise error

            monkeypatch.setattr(client, "_conn_for_writes", broken)

        return fail

    def test_a_request_takes_no_detour(
        self, store: MongoStore, live: tuple[str, Record], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key, record = live
        for owner, name in [(Database, "command"), (Collection, "update_one"), (Collection, "delete_one")]:
            monkeypatch.setattr(owner, name, None)
        assert store.get(key) == record
        assert store.touch(key, later := record.expires_at + 1000)
        assert store.replace(key, new := a_record(b"new"), record.version) is Outcome.SAVED
        assert new.expires_at != later
        assert store.get(key) == new
        assert store.delete(key, new.version)
        assert store.get(key) is None

    def test_a_read_whose_connection_breaks_is_the_drivers_to_try_again(
        self, store: MongoStore, live: tuple[str, Record], failing: Failing
    ) -> None:
        key, record = live
        failing(errors.AutoReconnect("closed"))
        assert store.get(key) == record

    def test_a_write_whose_connection_breaks_is_not_tried_again_behind_our_back(
        self, store: MongoStore, live: tuple[str, Record], failing: Failing
    ) -> None:
        key, record = live
        failing(errors.AutoReconnect("closed"))
        with pytest.raises(StoreUnavailable) as caught:
            store.replace(key, a_record(b"new"), record.version)
        assert caught.value.connection_lost
        assert store.get(key) == record

    def test_a_write_that_an_overloaded_server_has_not_begun_is_the_drivers_to_try_again(
        self, store: MongoStore, live: tuple[str, Record], failing: Failing
    ) -> None:
        key, record = live
        busy = {"errorLabels": ["RetryableError", "SystemOverloadedError"]}
        failing(errors.OperationFailure("busy", 462, busy))
        assert store.replace(key, new := a_record(b"new"), record.version) is Outcome.SAVED
        failing(errors.OperationFailure("busy", 462, busy))
        assert store.delete(key, new.version)

    def test_a_write_that_the_server_refuses_has_failed(self) -> None:
        with closing(mongo_store(prefix=f"refused_{a_key()[:8]}")) as store:
            store.prepare()
            store._sessions.create_index("user_id", unique=True)
            store.create(a_key(), taken := a_record()._replace(user_id="7"))
            store.create(key := a_key(), record := a_record()._replace(user_id="8"))
            with pytest.raises(StoreUnavailable) as caught:
                store.replace(key, record._replace(user_id=taken.user_id), record.version)
            assert caught.value.answered
            assert store.get(key) == record
            store._sessions.drop()


class TestTtlIndex:
    """The server deletes by its own clock, which may be ahead of the nodes'."""

    @pytest.fixture
    def store(self) -> Iterator[MongoStore]:
        store = mongo_store(prefix=f"ttl_{secrets.token_hex(4)}")
        yield store
        store._sessions.drop()
        store.close()

    @staticmethod
    def with_the_index_of_an_earlier_release(store: MongoStore) -> None:
        store._sessions.create_index("expires_at", name=TTL_INDEX, expireAfterSeconds=0)

    @staticmethod
    def grace(store: MongoStore) -> int:
        return int(store._sessions.index_information()[TTL_INDEX]["expireAfterSeconds"])

    @staticmethod
    def complaints(store: MongoStore) -> list[str]:
        return [each for each in store.warnings() if TTL_INDEX in each]

    def test_a_new_one_gives_an_hour_of_grace(self, store: MongoStore) -> None:
        store.prepare()
        store.prepare()
        assert self.grace(store) == GRACE == 3600
        assert store.missing() is None
        assert not self.complaints(store)

    def test_an_old_one_is_changed(self, store: MongoStore) -> None:
        self.with_the_index_of_an_earlier_release(store)
        server = shared(MongoDB)
        if server.external:
            pytest.skip("needs a user with dbAdmin")
        login: dict[str, Any] = {
            "username": server.admin_username,
            "password": server.admin_password,
            "auth_source": "admin",
        }
        with closing(mongo_store(prefix=store.prefix, **login)) as admin:
            assert admin.create(key := a_key(), record := a_record())
            assert admin.get(key) == record
            assert self.grace(store) == GRACE
            assert not self.complaints(store)

    def test_an_old_one_that_the_user_may_not_change_goes_on_working(self, store: MongoStore) -> None:
        """collMod is not part of the role readWrite."""
        if shared(MongoDB).external:
            pytest.skip("needs a user without dbAdmin")
        self.with_the_index_of_an_earlier_release(store)
        assert store.create(key := a_key(), record := a_record())
        assert store.get(key) == record
        store.prepare()
        assert store.missing() is None
        assert self.grace(store) == 0
        assert len(self.complaints(store)) == 1

    def test_another_index_in_its_place_is_said(self, store: MongoStore) -> None:
        store._sessions.create_index("user_id", name=TTL_INDEX)
        with pytest.raises(StoreUnavailable):
            store.prepare()

    def test_what_the_server_still_keeps_is_absent(self, store: MongoStore) -> None:
        key, live, record = a_key(), a_key(), a_record()
        store.create(key, old := a_record(life=-1))
        store.create(live, record)
        assert store._sessions.count_documents({"_id": {"$ne": PLACE}}) == 2
        assert store.get(key) is None
        assert store.get_many([key, live]) == dict(store.scan()) == {live: record}
        assert store.count() == 1
        assert store.touch(key, now_ms() + 60_000) is False
        assert store.replace(key, record, old.version).name == "MISSING"
        assert store.delete(key) is False
        assert store.create(key, record) is True
