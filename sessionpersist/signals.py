"""Signals of this process about the store of the sessions, for a project's own alarms and records.

``store_lost`` is sent with ``description`` (str, for staff) and ``error`` (StoreUnavailable) when a call fails after
one that worked; ``store_recovered`` is sent with ``description`` when a call works again. Each is sent once, not once a
request. ``sender`` is the class of the store.

``store_switched`` is sent once for each revision that this process moves to, with ``before`` and ``after`` (str,
descriptions for staff, without secrets) and ``number`` (int, of the revision in force now). ``sender`` is the class
of the settings of the store in force now. Each process of each node sends its own.

A receiver that raises does no harm: Django logs the exception.
"""

from django.dispatch import Signal

store_lost = Signal()
store_recovered = Signal()
store_switched = Signal()
