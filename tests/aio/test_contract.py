"""The contract of the stores on an event loop: the same tests, run as coroutines."""

from __future__ import annotations

import pytest

from tests.aio.looping import InALoop
from tests.stores import test_cluster, test_memory, test_redis, test_sentinel
from tests.stores.contract import BESIDE_ANOTHER, BESIDE_REQUESTS, AnyContent, ClearsItself


class TestMemory(InALoop, test_memory.TestMemoryStore):
    long_parts = (*BESIDE_REQUESTS, AnyContent, ClearsItself)


class TestValkey(InALoop, test_redis.TestRedisStoreOnValkey):
    long_parts = (*BESIDE_REQUESTS, AnyContent)


@pytest.mark.long
class TestRedis(InALoop, test_redis.TestRedisStoreOnRedis):
    pass


@pytest.mark.long
@pytest.mark.xdist_group("sentinel")
class TestSentinel(InALoop, test_sentinel.TestSentinelStore):
    pass


@pytest.mark.xdist_group("cluster")
class TestCluster(InALoop, test_cluster.TestClusterStore):
    long_parts = BESIDE_ANOTHER
