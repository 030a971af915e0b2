"""What is left at the engine used before (``ADOPT_FROM``): counted and moved, for the page and for ``drain_sessions``.

A session moves when its user comes back. This brings over the others one by one, in the way of a request: so it is safe
beside live traffic, and may be stopped at any moment and begun again. Moving prolongs no session.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, SessionBase
from django.contrib.sessions.backends.cache import SessionStore as CacheSession
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.contrib.sessions.backends.file import SessionStore as FileSession
from django.core.cache import caches
from django.db import models, router
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from sessionpersist import conf
from sessionpersist.engine import SessionStore
from sessionpersist.handover import routing
from sessionpersist.handover.draining import BATCH, COUNT_AT_MOST, Left, Moved
from sessionpersist.initial import client_of
from sessionpersist.session import adoption
from sessionpersist.session.timed import unix_time
from sessionpersist.stores.base import now_ms
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import SESSION_NOT_TAKEN

ROWS = 500  # of a database that are read together
KEYS = 1000  # of Redis that are looked at together

REMOVABLE = gettext_lazy("ADOPT_FROM can be removed from the settings.")

Listed = tuple[str, int | None]  # a session key, and when the session ends where it is (milliseconds)

_counted: dict[type[SessionBase], tuple[float, Left]] = {}  # what was counted last, and when


def reset() -> None:
    """Forget what was counted."""
    _counted.clear()


def leftovers() -> Leftovers | None:
    """Return what is left at the engine used before; None where nothing is adopted, or not any more: everybody was
    logged out."""
    engine = adoption.engine()
    return None if engine is None or routing.current_view().floor else Leftovers(engine)


@dataclass
class Leftovers:
    """The sessions of the engine used before. ``stuck`` counts those that were met and can't be moved: damaged, signed
    with another SECRET_KEY, too large, or with something in them that SESSION_SERIALIZER does not take. ``passed`` is
    how many of them the next step can leave aside: they stay where they are, before what it comes to."""

    engine: type[SessionBase]
    stuck: int = 0
    passed: int = 0

    def describe(self) -> str:
        """One line for staff."""
        return str(conf.get("ADOPT_FROM"))

    @property
    def listable(self) -> bool:
        """Whether anybody can tell which sessions the engine has."""
        return lister_of(self.engine) is not None

    def until(self) -> str:
        """Say when nothing is left, where nobody can look."""
        days = max(1, round(conf.longest_life_seconds() / 86_400))
        return _(
            "This engine can't list its sessions. They move as their users come back; {days} days after the last "
            "process that used it has ended, none is left, and ADOPT_FROM can be removed."
        ).format(days=days)

    def about_stuck(self) -> str:
        """Say what became of those that could not be moved."""
        text = ngettext(
            "{count} session could not be moved: it can't be read, or SESSION_SERIALIZER can't save it, or it is too "
            "large.",
            "{count} sessions could not be moved: they can't be read, or SESSION_SERIALIZER can't save them, or they "
            "are too large.",
            self.stuck,
        )
        return text.format(count=number_format(self.stuck, force_grouping=True))

    def left(self, within: float = 0.0) -> Left:
        """Count the live sessions, as far as that is quick; a count of this process that is not older than ``within``
        seconds will do. Raises StoreUnavailable."""
        at, left = _counted.get(self.engine, (0.0, None))
        if left is None or monotonic() - at > within:
            with adoption.translated("counted"):
                count, more = self._count()
            left = Left(count, more, count)
            _counted[self.engine] = monotonic(), left
        return left

    def batches(self, size: int = BATCH) -> Iterator[int]:
        """Move what is left; yield after each batch how many sessions it has moved. Raises StoreUnavailable."""
        self.stuck = self.passed
        listed = self._listed(self.passed)
        while batch := list(islice(listed, size)):
            yield sum(self._move(*each) for each in batch)

    def move_some(self, seconds: float) -> Moved:
        """Move what is left for about that long, a few sessions at least; ``passed`` then says where to go on. Raises
        StoreUnavailable."""
        moved, give_up, through = 0, monotonic() + seconds, True
        for count in self.batches(size=10):
            moved += count
            if monotonic() > give_up:
                through = False
                break
        self.passed = 0 if through else self.stuck
        left = self.left().count
        return Moved(moved, left, ended=not left or (through and left <= self.stuck))

    def _count(self) -> tuple[int, bool]:
        if issubclass(self.engine, DatabaseSession):
            count = live_rows(self.engine)[:COUNT_AT_MOST].count()
            return count, count == COUNT_AT_MOST
        give_up, count = monotonic() + conf.timeout_seconds(), 0
        for count, _each in enumerate(self._listed(lives=False), start=1):
            if count >= COUNT_AT_MOST or monotonic() > give_up:
                return count, True
        return count, False

    def _listed(self, passed: int = 0, *, lives: bool = True) -> Iterator[Listed]:
        lister = lister_of(self.engine, lives=lives)
        if lister is None:
            return
        with adoption.translated("listed"):
            yield from lister(passed)

    def _move(self, session_key: str, ends_at: int | None) -> bool:
        if _is_taken_over(Dormant(session_key, ends_at)):
            adoption.remove(session_key)  # it may have moved before, where only its removal had failed
            return True
        if adoption.is_empty(session_key):
            adoption.remove(session_key)  # there is nothing to move
        else:
            self.stuck += adoption.is_still_there(session_key)  # else it was moved or logged out meanwhile
        return False


def _is_taken_over(session: SessionStore) -> bool:
    """Whether a session is in the current store now."""
    try:
        session.load()
    except (TypeError, ValueError) as error:
        # Too large, or with something in it that SESSION_SERIALIZER does not take; the text may quote it.
        kind = type(error).__name__
        lines.say(SESSION_NOT_TAKEN, f"A session can't be taken over ({kind}).", error=kind)
        return False
    return session.session_key is not None


class Dormant(SessionStore):
    """A session that nobody has asked for: it ends in its new place when it would have ended in the old one."""

    def __init__(self, session_key: str, ends_at: int | None) -> None:
        super().__init__(session_key)
        self._ends_at = ends_at

    def _expires_at(self) -> int:
        reckoned = super()._expires_at()
        return reckoned if self._ends_at is None else min(reckoned, self._ends_at)


# How each kind of engine tells which sessions it has.


Lister = Callable[[int], Iterator[Listed]]  # is told how many to leave out at the beginning


def lister_of(engine: type[SessionBase], *, lives: bool = True) -> Lister | None:
    """Return what lists the live sessions of an engine; None where nothing can. Without ``lives`` it does not ask when
    they end, where that costs anything: to count them."""
    if issubclass(engine, DatabaseSession):  # cached_db, too: what its cache holds are copies
        return partial(in_database, engine)
    if issubclass(engine, FileSession):
        return partial(in_files, engine)
    if issubclass(engine, CacheSession) and client_of(caches[settings.SESSION_CACHE_ALIAS]) is not None:
        return partial(in_redis, engine, lives=lives)
    return None


def live_rows(engine: type[DatabaseSession]) -> models.QuerySet[Any]:
    """Return the rows of an engine that have not expired."""
    model = engine.get_model_class()
    rows = model._default_manager.using(router.db_for_write(model))
    return rows.filter(expire_date__gt=timezone.now())


def in_database(engine: type[DatabaseSession], passed: int = 0) -> Iterator[Listed]:
    """Yield the sessions of Django's engine in a database, in the order of their keys."""
    rows = live_rows(engine).order_by("session_key").values_list("session_key", "expire_date")
    page = list(rows[passed : passed + ROWS])
    while page:
        yield from ((key, milliseconds(ends)) for key, ends in page)
        page = list(rows.filter(session_key__gt=page[-1][0])[:ROWS])


def in_redis(engine: type[CacheSession], passed: int = 0, *, lives: bool = True) -> Iterator[Listed]:
    """Yield the sessions of Django's engine in a cache on Redis. What has expired, the server leaves out."""
    cache: Any = caches[settings.SESSION_CACHE_ALIAS]
    client = client_of(cache)
    prefix = str(getattr(cache, "client", cache).make_key(engine.cache_key_prefix)).encode()
    for page in pages(client, prefix):
        names, passed = page[passed:], max(0, passed - len(page))
        left = _lives(client, names) if lives else [ENDLESS] * len(names)
        for name, life in zip(names, left, strict=True):
            if life != GONE:
                key = name.removeprefix(prefix).decode(errors="replace")
                yield key, None if life == ENDLESS else now_ms() + int(life)


def pages(client: Any, prefix: bytes) -> Iterator[list[bytes]]:
    """Yield the names that begin like this, as the server hands them out."""
    pattern, cursor = re.sub(rb"([*?\[\]\\])", rb"\\\1", prefix) + b"*", None
    while cursor != 0:
        cursor, names = client.scan(cursor or 0, match=pattern, count=KEYS)
        yield [bytes(name) for name in names]


def _lives(client: Any, names: list[bytes]) -> list[int]:
    """Return how long each lives on, asked in one exchange."""
    together = client.pipeline(transaction=False)
    for name in names:
        together.pttl(name)
    found: list[int] = together.execute()
    return found


ENDLESS, GONE = -1, -2  # what Redis says of the life of a key that has none, and of one that is not there


def in_files(engine: type[FileSession], passed: int = 0) -> Iterator[Listed]:
    """Yield the sessions of Django's engine in files. A file says when it was last used, and no more."""
    yield from islice(_every_file(engine), passed, None)


def _every_file(engine: type[FileSession]) -> Iterator[Listed]:
    life, prefix = conf.longest_life_seconds(), settings.SESSION_COOKIE_NAME
    folder: Any = engine
    for path in Path(folder._get_storage_path()).iterdir():
        key = path.name.removeprefix(prefix)
        if key == path.name or not set(key) <= set(VALID_KEY_CHARS):
            continue  # somebody else's, or a session that is just being written
        if (ends_at := last_change(path) + life * 1000) > now_ms():
            yield key, int(ends_at)


def last_change(path: Path) -> float:
    """Return when a file was written, in milliseconds; 0 where it is gone."""
    try:
        return path.stat().st_mtime * 1000
    except FileNotFoundError:
        return 0.0


def milliseconds(moment: datetime) -> int:
    """Return a moment as the stores keep it."""
    return int(unix_time(moment) * 1000)
