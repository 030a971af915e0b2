"""What Django promises of a session engine, and what this engine adds, to be true on every store.

The list of behaviours is Django's, the words are ours; for Django's own see test_django_suite.py. One base class; a
short class a store.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sessionpersist.testing import override_login_configuration
from tests.engine.behaviour.asynchronous import Asynchronous
from tests.engine.behaviour.contents import Contents
from tests.engine.behaviour.expiry import Expiry
from tests.engine.behaviour.keys import Keys
from tests.engine.behaviour.lifecycle import Lifecycle
from tests.engine.behaviour.rosters import Rosters
from tests.engine.behaviour.time_outs import TimeOuts
from tests.engine.support import Fields


class EngineBehaviour(Contents, Keys, Lifecycle, Expiry, TimeOuts, Asynchronous, Rosters):
    """All of it. A subclass says in ``fields`` which store is in force."""

    @pytest.fixture
    def fields(self) -> Iterator[Fields]:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def in_force(self, fields: Fields) -> Iterator[None]:
        with override_login_configuration(**fields):
            yield
