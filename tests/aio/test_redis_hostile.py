"""REDIS on an event loop, where the server, or whoever stands in its place, misbehaves."""

from __future__ import annotations

import pytest

from tests.aio.looping import InALoop
from tests.stores import test_hostile

pytestmark = pytest.mark.xdist_group("hanging")


class TestDeadline(InALoop, test_hostile.TestDeadlineOfRedis):
    pass


class TestNames(InALoop, test_hostile.TestNames):
    pass


class TestSizeOfAnAnswer(InALoop, test_hostile.TestSizeOfAnAnswerOfRedis):
    pass


@pytest.mark.long
class TestAnyAnswer(InALoop, test_hostile.TestAnyAnswerOfRedis):
    pass
