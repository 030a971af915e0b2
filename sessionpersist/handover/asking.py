"""Asking the site's database for no longer than TIMEOUT_SECONDS, where no request waits that a server would end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections, models, router

from sessionpersist import conf
from sessionpersist.stores.deadlines import answers_within


@contextmanager
def in_time(model: type[models.Model]) -> Iterator[None]:
    """Inside, the database of a model has TIMEOUT_SECONDS to answer; what takes longer raises TimedOut, an Error. Ask
    nothing of a store inside: its time is its own, and it may be kept on the same connection."""
    connection = connections[router.db_for_write(model)]
    try:
        with answers_within(conf.timeout_seconds(), connection):
            yield
    except BaseException:
        connection.close()  # there may be a late answer on it
        raise
