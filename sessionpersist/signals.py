"""Signals of this process about sessions and their store, for a project's own alarms and records.

``store_lost`` is sent with ``description`` (str, for staff) and ``error`` (StoreUnavailable) when a call fails after
one that worked; ``store_recovered`` is sent with ``description`` when a call works again. Each is sent once, not once a
request. ``sender`` is the class of the store.

``store_switched`` is sent once for each revision that this process moves to, with ``before`` and ``after`` (str,
descriptions for staff, without secrets) and ``number`` (int, of the revision in force now). ``sender`` is the class
of the settings of the store in force now. Each process of each node sends its own.

``session_started`` is sent with ``user_id`` (str, as the session has it) when a session has been saved with a user that
it did not have before: a login, on whatever page. ``session_ended`` is sent with ``reason`` (Reason) and ``user_id``
when a logout, a member of staff, the user, a change of the account or the limit has ended one; a session that expires
ends without a signal. Where everybody is logged out it is sent once, by the process that was asked to, with an empty
``user_id`` and ACTIVATION_SECONDS before it takes effect.
``sender`` is the class of the session. Neither says which session it is.

A receiver that raises does no harm: Django logs the exception.
"""

from __future__ import annotations

from django.dispatch import Signal

from sessionpersist.awaiting import send_robust
from sessionpersist.session.reasons import Reason
from sessionpersist.telemetry import recorder
from sessionpersist.telemetry.recorder import ENDED, STARTED

store_lost = Signal()
store_recovered = Signal()
store_switched = Signal()
session_started = Signal()
session_ended = Signal()


def tell_started(sender: type, user_id: str) -> None:
    """Say that a session was saved with a user that it did not have before."""
    recorder.add(STARTED)
    send_robust(session_started, sender, user_id=user_id)


def tell_ended(sender: type, reason: Reason, user_id: str) -> None:
    """Say that a session was ended, or with an empty ``user_id`` those of everybody."""
    recorder.add(ENDED, reason.name.lower())
    send_robust(session_ended, sender, reason=reason, user_id=user_id)
