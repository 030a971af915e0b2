"""The verbs of a store by their names, as the contract in ``stores/base.py`` has them."""

from __future__ import annotations

from sessionpersist.stores.base import Drainable, Store


def verbs_of(part: type) -> frozenset[str]:
    return frozenset(
        name for name, found in vars(part).items() if callable(found) and not name.startswith("_")
    )


OF_A_REQUEST = verbs_of(Store) - {"close"}
OF_A_DRAIN = verbs_of(Drainable)
CLEARING = frozenset({"clearing", "clear_expired"})
