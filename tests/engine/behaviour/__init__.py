"""What Django promises of a session engine, and what this engine adds, to be true on every store.

The list of behaviours is Django's, the words are ours; for Django's own see test_django_suite.py. One base class; a
short class a store.
"""

from __future__ import annotations

from tests.engine.behaviour.asynchronous import Asynchronous
from tests.engine.behaviour.contents import Contents
from tests.engine.behaviour.expiry import Expiry
from tests.engine.behaviour.keys import Keys
from tests.engine.behaviour.lifecycle import Lifecycle
from tests.engine.behaviour.moving import Moving
from tests.engine.behaviour.rosters import Rosters
from tests.engine.behaviour.time_outs import TimeOuts
from tests.engine.support import InForce


class EngineBehaviour(InForce, Contents, Keys, Moving, Lifecycle, Expiry, TimeOuts, Asynchronous, Rosters):
    """All of it."""
