"""MONGODB on an event loop: the driver's own client, which waits by the loop."""

from __future__ import annotations

import pytest

from tests.aio.looping import InALoop
from tests.stores import test_hostile, test_mongodb, test_replica_set


class TestMongo(InALoop, test_mongodb.TestMongoStore):
    pass


class TestDeadline(InALoop, test_hostile.TestDeadlineOfMongo):
    pass


class TestSizeOfAnAnswer(InALoop, test_hostile.TestSizeOfAnAnswerOfMongo):
    pass


@pytest.mark.long
class TestAnyAnswer(InALoop, test_hostile.TestAnyAnswerOfMongo):
    pass


@pytest.mark.long
@pytest.mark.xdist_group("replica_set")
class TestReplicaSet(InALoop, test_replica_set.TestReplicaSet):
    pass
