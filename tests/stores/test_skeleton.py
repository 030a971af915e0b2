"""Every store has the same skeleton: who has read one knows where to look in the others."""

from __future__ import annotations

import pytest
from django.utils.module_loading import import_string

from sessionpersist.stores.base import Drainable, Probed, Store
from sessionpersist.stores.settings import TYPES, StoreSettings

# As the contract has it (see Probed), but for the way in, `of`, and the way out, `close`.
MIDDLE = [name for part in (Store, Drainable, Probed) for name in vars(part) if not name.startswith("_")]
ORDER = ["of", *(name for name in MIDDLE if name not in {"of", "close", "name", "blocks"}), "close"]


@pytest.mark.parametrize("settings", TYPES.values(), ids=TYPES)
class TestSkeleton:
    def test_a_store_has_the_verbs_in_the_order_of_the_contract(self, settings: type[StoreSettings]) -> None:
        store = import_string(settings.store)
        assert [name for name in vars(store) if name in ORDER] == [
            name for name in ORDER if name in vars(store)
        ]

    def test_private_methods_come_after_the_verbs(self, settings: type[StoreSettings]) -> None:
        names = list(vars(import_string(settings.store)))
        private = [name for name in names if name.startswith("_") and not name.startswith("__")]
        assert all(names.index(name) > names.index("close") for name in private if name != "_abc_impl")

    def test_it_says_what_staff_call_it(self, settings: type[StoreSettings]) -> None:
        assert import_string(settings.store).name == settings.label
