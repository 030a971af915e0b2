"""The forms of the stores, in the order in which the page shows them."""

from __future__ import annotations

from sessionpersist.configuration.forms.jdbc import JdbcForm
from sessionpersist.configuration.forms.memory import MemoryForm
from sessionpersist.configuration.forms.mongodb import MongoForm
from sessionpersist.configuration.forms.redis import RedisForm
from sessionpersist.configuration.forms.store import StoreForm

STORE_FORMS: dict[str, type[StoreForm]] = {
    form.settings.type: form for form in (MemoryForm, RedisForm, JdbcForm, MongoForm)
}


def secret_fields() -> list[str]:
    """Return the names under which the page sends secrets, or what may hold one."""
    return [
        form.settings.field(name)
        for form in STORE_FORMS.values()
        for name, field in form.base_fields.items()
        if name in form.settings.secret_names() or getattr(field, "may_hold_secret", False)
    ]
