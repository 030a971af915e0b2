"""Many sessions at once in the REDIS store, as if as many users had logged in."""

from __future__ import annotations

import os
from hashlib import sha256

from sessionpersist.stores.base import Record, new_version, now_ms
from sessionpersist.stores.redis.store import RedisStore
from sessionpersist.stores.settings import RedisSettings
from tests.load.site import Site
from tests.servers import Valkey, shared

NEWEST = 'from sessionpersist.models import Revision; print(Revision.objects.latest("pk").pk)'
TWO_WEEKS = 14 * 86_400 * 1000


def fill(site: Site, prefix: str, number: int) -> None:
    """Write sessions into the store of a site that is in REDIS. Nobody has their keys: only a drain moves them."""
    server, revision = shared(Valkey), int(site.manage("shell", "--no-imports", "-c", NEWEST))
    settings = RedisSettings(server.host, server.port, password=server.password)
    store = RedisStore(settings, server.password, timeout=10, prefix=prefix, ca_file=None)
    now = now_ms()
    for begin in range(0, number, 500):
        store.create_many(
            {
                sha256(f"{prefix}-{each}".encode()).hexdigest(): Record(
                    os.urandom(270), new_version(revision), now, now + TWO_WEEKS, str(each)
                )
                for each in range(begin, min(begin + 500, number))
            }
        )
    store.close()
