"""Signals of a store's health in this process, for a project's own alarms. ``sender`` is the class of the store.

``store_lost`` is sent with ``description`` (str, for staff) and ``error`` (StoreUnavailable) when a call fails after
one that worked; ``store_recovered`` with ``description`` when one works again. Once each, not once a request.
"""

from django.dispatch import Signal

store_lost = Signal()
store_recovered = Signal()
