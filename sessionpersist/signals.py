"""Signals of this process about the store of the sessions, for a project's own alarms and records.

``store_lost`` is sent with ``description`` (str, for staff) and ``error`` (StoreUnavailable) when a call fails after
one that worked; ``store_recovered`` with ``description`` when one works again. Once each, not once a request.
``sender`` is the class of the store.

``store_switched`` is sent when this process moves to another revision, once for each: with ``before`` and ``after``
(str, descriptions for staff without secrets) and ``number`` (int, of the revision in force now). ``sender`` is the
class of the settings of the store in force now. Each process of each node sends its own.

A receiver that raises disturbs nobody: Django logs what it raised.
"""

from django.dispatch import Signal

store_lost = Signal()
store_recovered = Signal()
store_switched = Signal()
