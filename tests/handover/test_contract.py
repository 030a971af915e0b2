"""A handover keeps the contract of a store: for all ordered pairs of types, with sessions that were made after
the switch and with some from before it, which the first verb that meets them carries.

Three things differ on purpose: after a delete an ended record stands in its place; a delete without a version does not
tell whether there was anything, which would be one more exchange; a carry gives a session another version. So here an
ended record of a delete is none, somebody looks before such a delete, and a version is called by its first name.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest
from _pytest.mark import ParameterSet
from pytest_django import DjangoDbBlocker

from sessionpersist.handover.carrying import Found, Place, View
from sessionpersist.handover.driving import Rule, drive
from sessionpersist.stores.base import Outcome, Probed, Record, Store
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.memory import MemoryStore
from sessionpersist.stores.settings import TYPES, DatabaseSettings
from tests.handover.test_stores import RING
from tests.servers import Postgres, Valkey, require, shared
from tests.sizes import long_unless
from tests.stores.contract import CostlyContract, VerbsContract, empty
from tests.stores.databases import added_database
from tests.stores.places import mongo_store, redis_store

ALIAS = "contract_handover"

T = TypeVar("T")
Pair = tuple[str, str]


def pairs(quick: Collection[Pair]) -> list[ParameterSet]:
    """Return all pairs of types; those that are not ``quick`` take too long for the quick tests."""
    return [
        pytest.param(pair, id="-to-".join(pair), marks=long_unless(pair in quick))
        for pair in itertools.permutations(TYPES, 2)
    ]


class Handover(Store):
    """The verbs of one view, of which everybody is sure."""

    number = 0  # of the revision in force; the records of the contract carry the number 0

    def __init__(self, current: Probed, source: Probed) -> None:
        self.stores = (current, source)
        self.view: View = SureView(Place(current, self.number, 0), [Place(source, 0, 0)])
        self._deleted: set[str] = set()

    def get(self, key: str) -> Record | None:
        record = self.driven(self.view.get(key))
        return None if record and record.ended and key in self._deleted else record

    def create(self, key: str, record: Record) -> bool:
        if key in self._deleted:
            self._deleted.discard(key)
            self.view.current.store.end(key, 0)
        return self.driven(self.view.current.create(key, record))

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        return self.driven(self.view.replace(key, record, expected))

    def touch(self, key: str, expires_at: int) -> bool:
        return self.driven(self.view.touch(key, expires_at))

    def delete(self, key: str, version: int | None = None) -> bool:
        found = self.driven(self.view.locate(key))
        if version is None and (found is None or found.record.ended):
            return False
        deleted = self.driven(self.view.delete(key, version))
        if deleted:
            self._deleted.add(key)
        return deleted

    def end(self, key: str, expires_at: int, reason: int = 0) -> None:
        self.driven(self.view.end(key, expires_at, reason))

    def close(self) -> None:
        for each in self.stores:
            each.close()

    def driven(self, rule: Rule[T]) -> T:
        return drive(rule, lambda: self.view)


class HandoverFromBefore(Handover):
    """Every session is made in the source."""

    number = 1

    def __init__(self, current: Probed, source: Probed) -> None:
        super().__init__(current, source)
        self.view = self.noting = NotingView(self.view.current, self.view.sources)

    def get(self, key: str) -> Record | None:
        record = super().get(key)
        return record and record._replace(version=self.noting.first.get(record.version, record.version))

    def create(self, key: str, record: Record) -> bool:
        if not super().create(key, record):
            return False
        self.view.current.store.end(key, 0)
        return self.view.sources[0].store.create(key, record)

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        return super().replace(key, record, self.noting.carried.get(expected, expected))

    def delete(self, key: str, version: int | None = None) -> bool:
        return super().delete(key, version and self.noting.carried.get(version, version))


class SureView(View):
    stale = False

    def undecided(self) -> float:
        return 0.0


class NotingView(SureView):
    """Notes how a version was called before its record was carried."""

    def __init__(self, current: Place, sources: Sequence[Place]) -> None:
        super().__init__(current, sources)
        self.first: dict[int, int] = {}
        self.carried: dict[int, int] = {}

    def put(self, key: str, found: Found, moved: Record) -> Rule[bool]:
        version = found.record.version
        first = self.first[moved.version] = self.first.get(version, version)
        put = yield from super().put(key, found, moved)
        if put:
            self.carried[first] = moved.version
        return put


def store_of(kind: str, folder: Path, prefix: str) -> Probed:
    """Return a store of this type, with records apart from those of other tests: in this folder, under this prefix,
    or in the database ALIAS, which is of one test."""
    match kind:
        case "IN_MEMORY":
            return MemoryStore(folder, "site", timeout=5)
        case "REDIS":
            return redis_store(Valkey, prefix=prefix)
        case "JDBC":
            return DatabaseStore(DatabaseSettings(database=ALIAS), timeout=5)
        case "MONGODB":
            return mongo_store(prefix=prefix)
    pytest.fail(f"Say here how to open {kind}.")


class HandoverContract(VerbsContract):
    old: ClassVar[str]
    new: ClassVar[str]
    folder: ClassVar[Path]
    prefix: ClassVar[str]
    handover: ClassVar[type[Handover]] = Handover
    rotates_at_once = False

    # Whether it is the rotate or somebody else who has ended the session can't be told here.
    test_of_a_rotate_and_an_end_the_end_stays = None  # type: ignore[assignment]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def pair(
        cls,
        request: pytest.FixtureRequest,
        tmp_path_factory: pytest.TempPathFactory,
        django_db_blocker: DjangoDbBlocker,
    ) -> Iterator[None]:
        cls.old, cls.new = request.param
        cls.folder = tmp_path_factory.mktemp("memory")
        cls.prefix = secrets.token_hex(4)
        require(Postgres)
        url = shared(Postgres).create_database(f"contract_{cls.prefix}")
        with django_db_blocker.unblock(), added_database(ALIAS, url):
            yield

    def make_store(self) -> Handover:
        current, source = (store_of(kind, self.folder, self.prefix) for kind in (self.new, self.old))
        return self.handover(current, source)

    @pytest.fixture(scope="class")
    @classmethod
    def surroundings(cls, pair: None) -> None:
        """Another pair has other stores."""

    def prepare(self, store: Handover) -> None:
        for each in store.stores:
            each.prepare()

    def make_ready(self, store: Handover) -> None:
        for each in store.stores:
            empty(each)


# All that the old store has to say here is that it has nothing: one pair will do.
@pytest.mark.parametrize("pair", pairs(RING[1::2][:1]), indirect=True, scope="class")
class TestSessionsFromAfterTheSwitch(HandoverContract):
    long_parts = (CostlyContract,)


# The rules are the same for all pairs, and each type has its own contract: one pair.
@pytest.mark.parametrize("pair", pairs(RING[:1]), indirect=True, scope="class")
class TestSessionsFromBeforeTheSwitch(HandoverContract):
    handover = HandoverFromBefore

    # Such a version would be of a later revision than the current one.
    test_versions_of_all_63_bits_are_told_apart = None  # type: ignore[assignment]
    # A child does not know how its parent calls a version.
    test_a_forked_child_reads_and_writes_and_the_parent_goes_on = None  # type: ignore[assignment]
