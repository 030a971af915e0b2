"""MONGODB: one document a session, through PyMongo. A TTL index lets the server delete what has expired."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from pymongo import DeleteOne, MongoClient, errors
from pymongo.collection import Collection as Documents

from sessionpersist.exceptions import SessionTooLarge, StoreMisconfigured, StoreUnavailable
from sessionpersist.stores.base import (
    ENDED,
    Check,
    Outcome,
    Record,
    Store,
    check_address,
    check_reachable,
    check_speaks_tls,
    harmless,
    now_ms,
)
from sessionpersist.stores.settings import MongoSettings

Document = dict[str, Any]
TTL_INDEX = "expires_at_ttl"
# Seconds that the server keeps what has expired by its own clock: one that is ahead of the nodes' would delete live
# sessions. Nobody sees those records, as every read looks at expires_at by the clock of its node.
GRACE = 3600
PAGE = 100  # documents that one query of a scan reads: bounded memory
AUTHENTICATION_FAILED, UNAUTHORIZED, NOT_PRIMARY, TOO_LARGE = 18, 13, 10107, 17280
DUPLICATE_KEY, INDEX_OPTIONS_CONFLICT = 11000, 85
# Milliseconds as they are: converting to datetime and back costs time and the last digits.
CODEC: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)


class MongoStore(Store):
    name = "MONGODB"

    def __init__(
        self, settings: MongoSettings, password: str, timeout: float, prefix: str, ca_file: str | None = None
    ) -> None:
        """``password`` is the real one; ``timeout`` in seconds holds for connecting and for each answer."""
        check_address(self.name, settings.host, settings.port)
        if settings.username and not password:
            raise StoreMisconfigured("The MONGODB user needs a password.", "password")
        self.settings, self.timeout, self.prefix = settings, timeout, prefix
        self._secret, self._ca_file = password, ca_file
        # By process: a client has threads, which don't survive a fork, and what the parent opened is the parent's.
        self._opened: dict[int, Documents[Document]] = {}
        self._prepared = False

    def get(self, key: str) -> Record | None:
        with self._translated():
            found = self._find(key)
        record = record_of(found) if found else None
        return record if record and record.expires_at > now_ms() else None

    def create(self, key: str, record: Record) -> bool:
        self._prepare_once()
        with self._translated():
            try:
                self._sessions.insert_one({"_id": key, **fields_of(record)})
            except errors.DuplicateKeyError:
                # Taken, unless what is there has expired and the server has not come round to deleting it.
                expired = {"_id": key, "expires_at": {"$lte": DatetimeMS(now_ms())}}
                return self._sessions.update_one(expired, {"$set": fields_of(record)}).matched_count == 1
        return True

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        new = fields_of(record)
        del new["created_at"]
        live = live_filter(key)
        with self._translated():
            if (
                expected != ENDED
                and self._sessions.update_one(live | {"version": expected}, {"$set": new}).matched_count
            ):
                return Outcome.SAVED
            held = self._sessions.find_one(live, {"_id": 1})
        return Outcome.CONFLICT if held else Outcome.MISSING

    def touch(self, key: str, expires_at: int) -> bool:
        later = {"$max": {"expires_at": DatetimeMS(expires_at)}}
        with self._translated():
            return self._sessions.update_one(live_filter(key), later).matched_count == 1

    def delete(self, key: str, version: int | None = None) -> bool:
        if version == ENDED:
            return False
        only = {} if version is None else {"version": version}
        with self._translated():
            return self._sessions.delete_one(live_filter(key) | only).deleted_count == 1

    def end(self, key: str, expires_at: int) -> None:
        ended = fields_of(Record(b"", ENDED, now_ms(), expires_at))
        self._prepare_once()
        with self._translated():
            self._sessions.replace_one({"_id": key}, ended, upsert=True)

    def clear_expired(self) -> int:
        return 0

    def scan(self) -> Iterator[tuple[str, Record]]:
        """See Store.scan(). Page by page: a cursor would end on the server if its reader took a break."""
        last = ""
        while found := self._page(last):
            for each in found:
                yield each["_id"], record_of(each)
            last = found[-1]["_id"]

    def count(self, at_most: int | None = None) -> int:
        live = {"expires_at": {"$gt": DatetimeMS(now_ms())}, "version": {"$ne": ENDED}}
        limit: dict[str, Any] = {} if at_most is None else {"limit": at_most}
        with self._translated():
            return self._sessions.count_documents(live, **limit)

    def get_many(self, keys: Collection[str]) -> dict[str, Record]:
        live = {"_id": {"$in": list(keys)}, "expires_at": {"$gt": DatetimeMS(now_ms())}}
        with self._translated():
            return {each["_id"]: record_of(each) for each in self._sessions.find(live)}

    def create_many(self, records: Mapping[str, Record]) -> set[str]:
        self._prepare_once()
        documents = [{"_id": key, **fields_of(record)} for key, record in records.items()]
        with self._translated():
            try:
                self._sessions.insert_many(documents, ordered=False)
            except errors.BulkWriteError as error:
                faults = error.details["writeErrors"]
                unsure = error.details["writeConcernErrors"]
                if unsure or any(fault["code"] != DUPLICATE_KEY for fault in faults):
                    raise
                return set(records) - {documents[fault["index"]]["_id"] for fault in faults}
        return set(records)

    def delete_many(self, versions: Mapping[str, int]) -> set[str]:
        deletions = [DeleteOne({"_id": key, "version": version}) for key, version in versions.items()]
        with self._translated():
            if self._sessions.bulk_write(deletions, ordered=False).deleted_count == len(versions):
                return set()
            return {each["_id"] for each in self._sessions.find({"_id": {"$in": list(versions)}}, {"_id": 1})}

    def prepare(self) -> None:
        with self._translated():
            try:
                self._sessions.create_index("expires_at", name=TTL_INDEX, expireAfterSeconds=GRACE)
            except errors.OperationFailure as error:
                if error.code != INDEX_OPTIONS_CONFLICT:
                    raise
                self._give_grace()
        self._prepared = True

    def connection_checks(self) -> Iterable[Check]:
        yield from check_reachable(self.settings.host, self.settings.port, self.timeout)
        yield "Authenticate", self._check_login

    def missing(self) -> str | None:
        with self._translated():
            if TTL_INDEX in self._sessions.index_information():
                return None
        return f"The TTL index on “{self._sessions.name}” is missing; it is made when you save."

    def warnings(self) -> Iterable[str]:
        with self._translated():
            hello = self._sessions.database.command("hello")
            index = self._sessions.index_information().get(TTL_INDEX)
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            yield "This is a single MongoDB server without a replica set: when it stops, there is no other."
        if index and index.get("expireAfterSeconds", GRACE) < GRACE:
            yield (
                "This server deletes sessions as soon as they have expired by its own clock: where that is ahead, "
                f"users are logged out early. Have a user with the role dbAdmin set expireAfterSeconds of {TTL_INDEX} "
                f"on “{self._sessions.name}” to {GRACE} (collMod)."
            )

    def close(self) -> None:
        sessions = self._opened.pop(os.getpid(), None)
        if sessions is not None:
            sessions.database.client.close()

    @property
    def _sessions(self) -> Documents[Document]:
        """The collection, through this process's client; nothing is connected before its first use."""
        process = os.getpid()
        sessions = self._opened.get(process)
        if sessions is None:
            client = _connect(self.settings, self._secret, self.timeout, self._ca_file)
            sessions = client[self.settings.database].get_collection(
                f"{self.prefix}_sessions", codec_options=CODEC
            )
            sessions = self._opened.setdefault(process, sessions)
        return sessions

    def _find(self, key: str) -> Document | None:
        """By the _id alone, which the server finds without planning, and without a cursor around one document."""
        sessions = self._sessions
        find = {"find": sessions.name, "filter": {"_id": key}, "limit": 1, "singleBatch": True}
        try:
            found = sessions.database.command(find, codec_options=CODEC)["cursor"]["firstBatch"]
        except errors.NotPrimaryError:
            return sessions.find_one({"_id": key})  # which waits for the new primary
        return found[0] if found else None

    def _prepare_once(self) -> None:
        """Before its first record, and once a process: whoever configured the store may not have prepared it."""
        if not self._prepared:
            self.prepare()

    def _give_grace(self) -> None:
        """Change the index of an earlier release. A user without the right to (dbAdmin) leaves it, see warnings():
        to make it anew would take a while on a large collection, and it works."""
        index = {"name": TTL_INDEX, "expireAfterSeconds": GRACE}
        try:
            self._sessions.database.command("collMod", self._sessions.name, index=index)
        except errors.OperationFailure as error:
            if error.code != UNAUTHORIZED:
                raise

    def _page(self, last: str) -> list[Document]:
        following = {"_id": {"$gt": last}, "expires_at": {"$gt": DatetimeMS(now_ms())}}
        with self._translated():
            return list(self._sessions.find(following, limit=PAGE, batch_size=PAGE + 1).sort("_id"))

    def _check_login(self) -> None:
        try:
            with self._translated():
                self._sessions.find_one({"_id": "-"}, {"_id": 1})
        except StoreUnavailable as error:
            if error.field == "port":
                check_speaks_tls(self.settings.host, self.settings.port, self.timeout)
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the driver's errors into StoreUnavailable, on the setting that is the likely cause."""
        try:
            yield
        except (errors.PyMongoError, OSError) as error:
            raise _explain(error, self.settings) from harmless(error, self._secret)


def fields_of(record: Record) -> Document:
    """The document of a record, without its _id."""
    return {
        "payload": record.payload,
        "version": record.version,
        "created_at": DatetimeMS(record.created_at),
        "expires_at": DatetimeMS(record.expires_at),
        "user_id": record.user_id,
    }


def record_of(found: Document) -> Record:
    """The record of a document."""
    created_at, expires_at = int(found["created_at"]), int(found["expires_at"])
    return Record(found["payload"], int(found["version"]), created_at, expires_at, found["user_id"])


def live_filter(key: str) -> Document:
    """Match the record of that key, if it has neither expired nor been ended."""
    return {"_id": key, "expires_at": {"$gt": DatetimeMS(now_ms())}, "version": {"$ne": ENDED}}


def _connect(
    settings: MongoSettings, password: str, timeout: float, ca_file: str | None
) -> MongoClient[Document]:
    """Return a client that has not connected yet. Raises StoreMisconfigured."""
    milliseconds = max(1, int(timeout * 1000))
    options: dict[str, Any] = {
        "connectTimeoutMS": milliseconds,
        "serverSelectionTimeoutMS": milliseconds,
        "timeoutMS": milliseconds,  # for a whole command, with the driver's own second try
        "tls": settings.tls,
        "appname": "sessionpersist",
        "connect": False,
    }
    if settings.username:
        login = {
            "username": settings.username,
            "password": password,
            "authSource": settings.auth_source or "admin",
        }
        options |= login
    if settings.tls and ca_file:
        options["tlsCAFile"] = ca_file
    return MongoClient(settings.host, settings.port, **options)


def _explain(error: BaseException, settings: MongoSettings) -> Exception:
    place, code = f"MONGODB at {settings.host}:{settings.port}", getattr(error, "code", None)
    if isinstance(error, errors.DocumentTooLarge) or code == TOO_LARGE:
        return SessionTooLarge("The session is larger than a MongoDB document may be.")
    # After one refusal PyMongo calls the server unknown, and the next error only quotes the first.
    if code == AUTHENTICATION_FAILED or "AuthenticationFailed" in str(error):
        place = settings.auth_source or "admin"
        return StoreUnavailable(
            f"MONGODB refused the user name or the password. It looked for the user in the database “{place}”.",
            "password",
        )
    if code == UNAUTHORIZED and not settings.username:
        return StoreUnavailable("MONGODB wants a user name and a password.", "username")
    if code == UNAUTHORIZED:
        return StoreUnavailable(
            f"The MONGODB user may not read and write the database “{settings.database}”.", "database"
        )
    if isinstance(error, errors.InvalidName):
        return StoreMisconfigured(
            f"“{settings.database}” can't be the name of a MongoDB database.", "database"
        )
    if isinstance(error, errors.NotPrimaryError) or code == NOT_PRIMARY:
        return StoreUnavailable("This MONGODB server is not the primary: it does not accept writes.", "host")
    if isinstance(error, errors.ConnectionFailure):
        return _explain_connection(error, settings)
    return StoreUnavailable(f"{place} failed ({type(error).__name__}).")


def _explain_connection(error: errors.ConnectionFailure, settings: MongoSettings) -> StoreUnavailable:
    """PyMongo gathers what its monitor has met in one text."""
    text, place = str(error), f"{settings.host}:{settings.port}"
    if "SSL" in text or "TLS" in text or "certificate" in text:
        return StoreUnavailable(
            "The TLS handshake with MONGODB failed: the server may not speak TLS, or its certificate is not "
            "trusted.",
            "tls",
        )
    if "Errno -" in text:  # the numbers of getaddrinfo
        return StoreUnavailable(f"The host name “{settings.host}” does not resolve.", "host")
    if "refused" in text:
        return StoreUnavailable(f"Nothing listens at {place}: the connection was refused.", "port")
    if isinstance(error, errors.NetworkTimeout | errors.ServerSelectionTimeoutError):
        return StoreUnavailable(
            f"MONGODB at {place} did not answer in time, or is not a MONGODB server.", "port"
        )
    return StoreUnavailable(f"The connection to MONGODB at {place} was lost.", connection_lost=True)
