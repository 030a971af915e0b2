"""MONGODB: one document a session, through PyMongo. A TTL index lets the server delete what has expired.

What a replica set has acknowledged is never lost in a fail-over: every write, a logout too, waits for the journals of a
majority. What is read comes from the primary. One that was deposed and has not heard of it, cut off from the others,
can't acknowledge a write, but would still say that there is no session where a login has made one at its successor. So
whatever finds nothing asks once more, in a way that a majority vouches for.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any, Self

import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from pymongo import DeleteOne, ReadPreference, ReplaceOne, UpdateOne, WriteConcern, _csot, errors
from pymongo.collection import Collection as Documents
from pymongo.database import Database
from pymongo.helpers_shared import _check_write_command_response
from pymongo.read_concern import ReadConcern

from sessionpersist import conf
from sessionpersist.exceptions import ForeignRecord, SessionTooLarge, StoreUnavailable
from sessionpersist.stores.base import (
    AFTER_ROSTERS,
    ENDED,
    PLACE,
    ROSTER,
    Check,
    Outcome,
    Probed,
    Record,
    Rotation,
    ended_record,
    new_place,
    note_foreign,
    now_ms,
    place_of,
    validated,
)
from sessionpersist.stores.credentials import Credentials, credentials_of
from sessionpersist.stores.mongodb import inspection
from sessionpersist.stores.mongodb.client import Document, client_for, is_alone
from sessionpersist.stores.mongodb.errors import UNAUTHORIZED, LoginRefused, explain
from sessionpersist.stores.settings import MongoSettings

MAJORITY = WriteConcern("majority")
# One server is its own majority; asked for one, it would wait for its journal with every write.
ALONE = WriteConcern(1)
LINEARIZABLE = ReadConcern("linearizable")
TTL_INDEX = "expires_at_ttl"
# Seconds that the server keeps what has expired by its own clock: one that is ahead of the nodes' would delete live
# sessions. Nobody sees those records, as every read looks at expires_at by the clock of its node.
GRACE = 3600
# Documents that one query of a scan reads; fewer where they are large, as the server ends a batch at 16 MiB.
PAGE = 100
AT_ONCE = 0.001  # seconds; 0 would mean not to wait at all
INDEX_OPTIONS_CONFLICT = 85
DUPLICATE_KEY = 11000
# Milliseconds as they are: converting to datetime and back costs time and the last digits. And a text that is none
# is the trouble of its own record, not of the page that it comes with.
CODEC: CodecOptions[Document] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="surrogateescape"
)
ONE: Document = {"$not": {"$type": "array"}}  # else a filter looks at what is in an array
INTEGER = {"$type": ["int", "long"], **ONE}
# What the fields of a record are, as far as a filter can say it cheaply (see ``record_of``).
WELL_FORMED = {
    "payload": {"$type": "binData", **ONE},
    "created_at": {"$gte": DatetimeMS(0), **ONE},
    "user_id": {"$type": "string", **ONE},
}
# The same, and what such a filter says of expires_at and version, as conditions of ``change_if``.
SOUND = [
    {"$eq": [{"$type": "$expires_at"}, "date"]},
    {"$eq": [{"$type": "$payload"}, "binData"]},
    {"$eq": [{"$type": "$created_at"}, "date"]},
    {"$gte": ["$created_at", DatetimeMS(0)]},
    {"$eq": [{"$type": "$user_id"}, "string"]},
]
LIVE_VERSION = ({"$in": [{"$type": "$version"}, ["int", "long"]]}, {"$gt": ["$version", ENDED]})


class MongoStore(Probed):
    name = "MONGODB"

    def __init__(
        self,
        settings: MongoSettings,
        password: str | Credentials,
        timeout: float,
        prefix: str,
        ca_file: str | None = None,
    ) -> None:
        """``password`` is the real one; ``timeout`` in seconds is for a verb, from the name to the last byte."""
        if not isinstance(password, Credentials):
            password = Credentials(settings.username, password)
        self.settings, self.timeout, self.prefix = settings, timeout, prefix
        self.blocks = bool(settings.alias)  # the driver of a database of the project is the project's
        self._client = client_for(settings, password, timeout, ca_file)
        self._prepared = False
        self._last = threading.local()

    @classmethod
    def of(cls, settings: MongoSettings) -> Self:
        credentials = Credentials("", "") if settings.alias else credentials_of(settings)
        return cls(settings, credentials, conf.timeout_seconds(), conf.key_prefix(), conf.get("TLS_CA_FILE"))

    def get(self, key: str) -> Record | None:
        with self._translated():
            found = self._find(key)
            if found is None and not is_alone(self._database()):
                found = self._find_surely({"_id": key})
        try:
            record = record_of(found) if found is not None else None
        except ForeignRecord:
            note_foreign(self.name)
            return None
        return record if record and record.expires_at > now_ms() else None

    def create(self, key: str, record: Record) -> bool:
        with self._translated():
            self._prepare_once()
            try:
                self._sessions.insert_one({"_id": key, **document_of(record)})
            except errors.DuplicateKeyError:
                # Taken, unless what is there has expired and the server has not come round to deleting it.
                expired = {"_id": key, "expires_at": {"$lte": DatetimeMS(now_ms())}}
                return self._sessions.update_one(expired, {"$set": document_of(record)}).matched_count == 1
        return True

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        new = document_of(record)
        save = change_if(new, is_version(expected))
        with self._translated():
            if expected != ENDED and self._modified(key, save):
                return Outcome.SAVED
            held = self._find_surely(live_filter(key))
        if held and record.version == expected and new.items() <= held.items():
            return Outcome.SAVED  # it was this very record, so there was nothing to modify
        return Outcome.CONFLICT if held else Outcome.MISSING

    def touch(self, key: str, expires_at: int) -> bool:
        until = DatetimeMS(expires_at)
        later = change_if({"expires_at": until}, *LIVE_VERSION, {"$lt": ["$expires_at", until]})
        with self._translated():
            if self._modified(key, later):
                return True
            return self._changed(
                lambda live: self._sessions.update_one(live, {"$max": {"expires_at": until}}).matched_count,
                live_filter(key),
            )

    def delete(self, key: str, version: int | None = None) -> bool:
        if version == ENDED:
            return False
        only = {} if version is None else {"version": version}
        with self._translated():
            return self._changed(self._deleted, live_filter(key) | only)

    def end(self, key: str, expires_at: int, reason: int = 0) -> None:
        ended = document_of(ended_record(expires_at, reason))
        with self._translated():
            self._prepare_once()
            self._sessions.replace_one({"_id": key}, ended, upsert=True)

    def rotate(self, old_key: str, version: int | None, new_key: str, record: Record) -> Rotation:
        """See Store.rotate(). Writes of two kinds would be two commands; so the old record is left as one that has
        expired, which the server clears away soon.

        In a replica set the new record is confirmed before the old one goes: else a user would be logged out where too
        few members confirm them, as nobody has been told the new key."""
        if version == ENDED:
            return super().rotate(old_key, version, new_key, record)
        held = LIVE_VERSION if version is None else (is_version(version),)
        free = {"_id": new_key, "expires_at": {"$lte": DatetimeMS(now_ms())}}
        writes: list[Document] = [
            {"q": free, "u": {"$set": document_of(record)}, "upsert": True},
            {"q": {"_id": old_key}, "u": change_if(EXPIRED, *held)},
        ]
        with self._translated():
            self._prepare_once()
            sessions = self._sessions
            update = {"update": sessions.name, "updates": writes}
            answer = self._straight(sessions, update, is_overloaded)
            if answer is not None:
                if is_taken(answer):
                    return Rotation.TAKEN
                _check_write_command_response(answer)
                both = answer["nModified"] + len(answer.get("upserted", ())) == len(writes)
                return Rotation.DONE if both else Rotation.LEFT
        return super().rotate(old_key, version, new_key, record)

    def end_and_replace(
        self, ended: Mapping[str, int], until: int, key: str, record: Record, expected: int
    ) -> Outcome:
        if expected == ENDED:
            return super().end_and_replace(ended, until, key, record, expected)
        live = live_filter(key)
        writes: list[ReplaceOne[Document] | UpdateOne] = [
            ReplaceOne({"_id": each}, document_of(ended_record(until, reason)), upsert=True)
            for each, reason in ended.items()
        ]
        writes.append(UpdateOne(live | {"version": expected}, {"$set": document_of(record)}))
        with self._translated():
            self._prepare_once()
            done = self._sessions.bulk_write(writes)
            if done.matched_count + done.upserted_count == len(writes):
                return Outcome.SAVED
            held = self._find_surely(live)
        return Outcome.CONFLICT if held else Outcome.MISSING

    def scan(self) -> Iterator[tuple[str, Record | None]]:
        """See Drainable.scan(). Page by page: a cursor would end on the server if its reader took a break."""
        last = ""
        while found := self._page(last):
            for each in found:
                yield each["_id"], _record_of_ours(each)
            last = found[-1]["_id"]

    def count(self, at_most: int | None = None, *, rosters: bool = False) -> int:
        """See Drainable.count(). A few are looked at one by one: a filter does not know every foreign record."""
        limit: dict[str, Any] = {} if at_most is None else {"limit": at_most}
        with self._translated():
            counted = self._sessions.count_documents(counted_filter(rosters), **limit)
        if type(counted) is not int:
            raise self._explained(counted)
        if counted > PAGE or counted == at_most:
            return counted
        return counted - sum(
            _record_of_ours(each) is None for each in self._batch(counted_filter(rosters), PAGE)
        )

    def get_many(self, keys: Collection[str]) -> dict[str, Record]:
        records, missing, now, more = {}, set(keys), now_ms(), True
        while missing and more:
            found, more = self._found({"_id": {"$in": list(missing)}}, len(missing))
            if not missing.issuperset(each["_id"] for each in found):
                raise self._explained(found)
            for each in found:
                missing.discard(each["_id"])
                record = _record_of_ours(each)
                if record is not None and record.expires_at > now:
                    records[each["_id"]] = record
        return records

    def create_many(self, records: Mapping[str, Record]) -> set[str]:
        """See Drainable.create_many(). What the server refuses is not created: whoever tries it alone is told why."""
        if not records:
            return set()  # the driver takes no empty batch
        documents = [{"_id": key, **document_of(record)} for key, record in records.items()]
        with self._translated():
            self._prepare_once()
            try:
                self._sessions.insert_many(documents, ordered=False)
            except errors.BulkWriteError as error:
                if error.details["writeConcernErrors"]:
                    raise
                refused = {documents[fault["index"]]["_id"] for fault in error.details["writeErrors"]}
                return set(records) - refused
        return set(records)

    def delete_many(self, versions: Mapping[str, int]) -> set[str]:
        if not versions:
            return set()
        deletions = [DeleteOne({"_id": key, "version": version}) for key, version in versions.items()]
        with self._translated():
            if self._sessions.bulk_write(deletions, ordered=False).deleted_count == len(versions):
                return set()
        left = self._batch({"_id": {"$in": list(versions)}}, len(versions), {"_id": 1})
        return {each["_id"] for each in left}

    def prepare(self) -> None:
        with self._translated():
            try:
                self._sessions.create_index("expires_at", name=TTL_INDEX, expireAfterSeconds=GRACE)
            except errors.OperationFailure as error:
                if error.code != INDEX_OPTIONS_CONFLICT:
                    raise
                self._give_grace()
            with suppress(errors.DuplicateKeyError):  # somebody else has just made it
                made = {"$setOnInsert": {"place": new_place()}}
                self._sessions.update_one({"_id": PLACE}, made, upsert=True)
        self._prepared = True

    def place(self) -> str | None:
        with self._translated():
            found = self._find(PLACE)
        return place_of(found.get("place")) if isinstance(found, dict) else None

    def connection_checks(self) -> Iterable[Check]:
        yield from inspection.reachable(self.settings, self.timeout)
        yield from inspection.handshake(
            self.settings, self.timeout, self._client.certificates, self._explained_handshake
        )
        yield "Authenticate", self._check_login
        yield from inspection.members(self.settings, self._database)

    def missing(self) -> str | None:
        with self._translated():
            if TTL_INDEX in self._sessions.index_information():
                return None
        return f"The TTL index on “{self._sessions.name}” is missing; it is made when you save."

    def warnings(self) -> Iterable[str]:
        with self._translated():
            hello = self._database().command("hello")
            index = self._sessions.index_information().get(TTL_INDEX)
        description = inspection.settled(self._database())
        yield from inspection.warnings(self.settings, hello, description, self.timeout)
        if index and index.get("expireAfterSeconds", GRACE) < GRACE:
            yield (
                "This server deletes sessions as soon as they have expired by its own clock: where that is ahead, "
                f"users are logged out early. Have a user with the role dbAdmin set expireAfterSeconds of {TTL_INDEX} "
                f"on “{self._sessions.name}” to {GRACE} (collMod)."
            )

    def close(self) -> None:
        self._client.close(self.timeout)

    def _database(self) -> Database[Document]:
        return self._client.database()

    @property
    def _sessions(self) -> Documents[Document]:
        """The collection, whatever a database of the project prefers: the same as long as the servers are."""
        database = self._database()
        seen = (database, database.client.topology_description)
        last, found = self._last, getattr(self._last, "seen", None)
        if found is None or found[0] is not seen[0] or found[1] is not seen[1]:
            last.seen, last.sessions, last.alone = seen, self._collection(database), is_alone(database)
        sessions: Documents[Document] = last.sessions
        return sessions

    def _collection(self, database: Database[Document]) -> Documents[Document]:
        return database.get_collection(
            f"{self.prefix}_sessions",
            codec_options=CODEC,
            read_preference=ReadPreference.PRIMARY,
            write_concern=ALONE if is_alone(database) else MAJORITY,
            read_concern=ReadConcern(),
        )

    def _find(self, key: str) -> Document | None:
        """By the _id alone, which the server finds without planning, and without a cursor around one document."""
        sessions = self._sessions
        find = {"find": sessions.name, "filter": {"_id": key}, "limit": 1, "singleBatch": True}
        try:
            found = self._read(sessions, find)["cursor"]["firstBatch"]
        except errors.NotPrimaryError:
            return sessions.find_one({"_id": key})  # which waits for the new primary
        return found[0] if found else None

    def _find_surely(self, only: Document) -> Document | None:
        """What a primary that its majority still follows has; where there are no others, that is what was found."""
        sessions = self._sessions
        if not is_alone(sessions.database):
            sessions = sessions.with_options(read_concern=LINEARIZABLE)
        return sessions.find_one(only)

    def _straight(
        self, sessions: Documents[Document], command: Document, again: Callable[[errors.PyMongoError], bool]
    ) -> Document | None:
        """Execute a command on a connection of the driver's pool, without a session of the driver's, which only members
        of a replica set need, and what it does to try again: together they take as long as all the rest.

        None where the driver is to do it as it always does: in a replica set, or ``again`` after an error.
        """
        if not self._last.alone:
            return None
        client: Any = sessions.database.client
        try:
            with client._conn_for_writes(None, next(iter(command))) as connection:
                # What the driver has set lets a write to a server that reads nothing wait for ever.
                connection.set_conn_timeout(max(AT_ONCE, _csot.clamp_remaining(self.timeout)))
                answer: Document = connection.command(sessions.database.name, command, codec_options=CODEC)
                return answer
        except errors.PyMongoError as error:
            if not again(error):
                raise
            return None

    def _read(self, sessions: Documents[Document], find: Document) -> Document:
        answer = self._straight(sessions, find, is_retried)
        return sessions.database.command(find, codec_options=CODEC) if answer is None else answer

    def _modified(self, key: str, change: list[Document]) -> bool:
        """Whether an update has changed the record of this key."""
        sessions = self._sessions
        update = {"update": sessions.name, "updates": [{"q": {"_id": key}, "u": change}]}
        answer = self._straight(sessions, update, is_overloaded)
        if answer is None:
            return sessions.update_one({"_id": key}, change).modified_count == 1
        _check_write_command_response(answer)
        return bool(answer["nModified"] == 1)

    def _deleted(self, only: Document) -> int:
        """How many records that match a deletion has met, which ends with the first."""
        sessions = self._sessions
        delete = {"delete": sessions.name, "deletes": [{"q": only, "limit": 1}]}
        answer = self._straight(sessions, delete, is_overloaded)
        if answer is None:
            return sessions.delete_one(only).deleted_count
        _check_write_command_response(answer)
        return int(answer["n"])

    def _changed(self, change: Callable[[Document], int], only: Document) -> bool:
        """Whether a write met a document; one that meets none waits for no majority, and may have been told so by a
        primary of the past."""
        if change(only):
            return True
        if is_alone(self._database()) or self._find_surely(only) is None:
            return False
        return change(only) == 1

    def _prepare_once(self) -> None:
        """Before its first record, and once a process: whoever configured the store may not have prepared it. It takes
        its time from the verb's."""
        if not self._prepared:
            self.prepare()

    def _give_grace(self) -> None:
        """Change the index of an earlier release. A user without the right to (dbAdmin) leaves it, see warnings():
        to make it again would take a while on a large collection, and it works."""
        index = {"name": TTL_INDEX, "expireAfterSeconds": GRACE}
        try:
            self._sessions.database.command("collMod", self._sessions.name, index=index)
        except errors.OperationFailure as error:
            if error.code != UNAUTHORIZED:
                raise

    def _page(self, last: str) -> list[Document]:
        """What follows on a key and has not expired, foreign records too."""
        expired = {"$lte": DatetimeMS(now_ms())}
        following = {"_id": {"$gt": last, "$ne": PLACE}, "expires_at": {"$not": expired}}
        page = self._batch(following, PAGE)
        if page and not all(before["_id"] < each["_id"] for before, each in pairwise([{"_id": last}, *page])):
            raise self._explained(page)  # else it would go on for ever
        return page

    def _batch(self, only: Document, size: int, fields: Mapping[str, Any] | None = None) -> list[Document]:
        """The first documents by _id that match, as many as the server sends in one answer."""
        options = {"projection": fields or {}, "singleBatch": True}
        found: list[Document] = self._answer(only, size, options)["firstBatch"]
        return found

    def _found(self, only: Document, size: int) -> tuple[list[Document], bool]:
        """The same, and whether there may be more of them than the server sends in one answer."""
        answer = self._answer(only, size, {})
        if cursor := answer.get("id"):
            with self._translated():
                self._sessions.database.command({"killCursors": self._sessions.name, "cursors": [cursor]})
        return answer["firstBatch"], bool(cursor and answer["firstBatch"])

    def _answer(self, only: Document, size: int, options: Mapping[str, Any]) -> Any:
        with self._translated():
            sessions = self._sessions
            find = {
                "find": sessions.name,
                "filter": only,
                "sort": {"_id": 1},
                "limit": size,
                "batchSize": size,
            }
            answer = self._read(sessions, {**find, **options})["cursor"]
            batch = answer["firstBatch"]
            if len(batch) > size or not all(type(each["_id"]) is str for each in batch):
                raise TypeError("a batch of something else")
        return answer

    def _explained_handshake(self, error: Exception) -> Exception:
        """What to raise instead of an error of the handshake: an alert is a MongoDB server's only answer to a client
        certificate that it wants, or does not accept."""
        failure = self._explained(error)
        if not isinstance(error, ssl.SSLCertVerificationError):
            try:
                inspection.check_tls(self.settings, self.timeout)
            except StoreUnavailable as better:
                return better
        return failure

    def _check_login(self) -> None:
        try:
            with self._translated():
                self._sessions.find_one({"_id": "-"}, {"_id": 1})
        except StoreUnavailable as error:
            if error.field in ("port", "host"):
                inspection.check_tls(self.settings, self.timeout)
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Give up in time, and turn whatever the driver raises into one of our errors."""
        try:
            with pymongo.timeout(self.timeout):
                yield
            return
        except (StoreUnavailable, SessionTooLarge):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            failure = self._explained(error)
        raise failure

    def _explained(self, answer: object) -> Exception:
        """What to raise instead of an error, or of an answer that a server can't give."""
        error = answer if isinstance(answer, Exception) else TypeError(f"a {type(answer).__name__}")
        failure = explain(error, self.settings, *self._client.secrets())
        if getattr(failure, "field", None) == "tls":
            failure = inspection.fault_of_files(self.settings, failure)
        if isinstance(failure, LoginRefused) and self._client.refused():
            failure.connection_lost = True  # the next try, at once, logs in with what is right by now
        return failure


def document_of(record: Record) -> Document:
    """The document of a record, without its _id."""
    user_id = record.user_id
    return {
        "payload": record.payload,
        "version": record.version,
        "created_at": DatetimeMS(record.created_at),
        "expires_at": DatetimeMS(record.expires_at),
        "user_id": user_id if user_id.isascii() else user_id.encode("utf-8", "replace").decode(),
    }


# What is left of a record whose session has moved to another key.
EXPIRED = document_of(Record(b"", ENDED, 0, 0))


def is_retried(error: errors.PyMongoError) -> bool:
    """Whether the driver may try a read again after this."""
    return is_overloaded(error) or (isinstance(error, errors.ConnectionFailure) and not error.timeout)


def is_overloaded(error: errors.PyMongoError) -> bool:
    """Whether a server did nothing as it has too much to do: the driver tries again after a pause."""
    return error.has_error_label("SystemOverloadedError") and error.has_error_label("RetryableError")


def is_taken(answer: Document) -> bool:
    """Whether all that went wrong is that the first of several writes met a key that is taken."""
    return [(each["index"], each["code"]) for each in answer.get("writeErrors", ())] == [(0, DUPLICATE_KEY)]


def record_of(found: object) -> Record:
    """The record of a document. Raises ForeignRecord."""
    if type(found) is not dict:
        raise ForeignRecord("Under this key lies something that is no document.")
    version, user_id = found.get("version"), found.get("user_id")
    if type(version) is Int64:
        version = int(version)
    if type(user_id) is str and not user_id.isascii() and has_surrogates(user_id):
        raise ForeignRecord("Under this key lies something with a user id that is no text.")
    created_at, expires_at = found.get("created_at"), found.get("expires_at")
    return validated(
        found.get("payload"),
        version,
        int(created_at) if type(created_at) is DatetimeMS else None,
        int(expires_at) if type(expires_at) is DatetimeMS else None,
        user_id,
    )


def has_surrogates(text: str) -> bool:
    """Whether there are bytes in it that were no text (see CODEC)."""
    return any("\ud800" <= each <= "\udfff" for each in text)


def _record_of_ours(found: Document) -> Record | None:
    try:
        return record_of(found)
    except ForeignRecord:
        return None


def counted_filter(rosters: bool) -> Document:
    """Match what is counted: all that lives, or that and is no roster."""
    return (
        live_filter()
        if rosters
        else live_filter() | {"_id": {"$not": {"$gte": ROSTER, "$lt": AFTER_ROSTERS}}}
    )


def is_version(version: int) -> Document:
    return {"$eq": ["$version", version]}


def change_if(change: Document, *conditions: Document) -> list[Document]:
    """Return an update of a document that is found by its _id alone: nothing is changed unless it lives, as
    ``live_filter`` has it, and meets the conditions.

    A filter of more than the _id has the server plan the query, which takes it longer than to carry it out.
    """
    met = {"$and": [*conditions, {"$gt": ["$expires_at", DatetimeMS(now_ms())]}, *SOUND]}
    return [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"$cond": [met, {"$literal": change}, {}]}]}}]


def live_filter(key: str | None = None) -> Document:
    """Match the record of that key, or those of all, if it has neither expired nor been ended."""
    only = {} if key is None else {"_id": key}
    version = {"$gt": ENDED, **INTEGER}
    return {**only, "expires_at": {"$gt": DatetimeMS(now_ms()), **ONE}, "version": version, **WELL_FORMED}
