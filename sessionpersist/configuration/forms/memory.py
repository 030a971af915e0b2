"""The form of the In-Memory store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist.configuration.forms.fields import ConsentField
from sessionpersist.configuration.forms.store import StoreForm
from sessionpersist.handover import nodes
from sessionpersist.stores.settings import MemorySettings

if TYPE_CHECKING:
    from sessionpersist.models import LoginConfiguration


class MemoryForm(StoreForm):
    """It has nothing to enter; on a site of several nodes it asks for consent, as In-Memory would log users out."""

    settings = MemorySettings
    meaning = gettext_lazy("The memory of this node. Needs nothing, not shared with other nodes.")

    terms = {
        "accept_node_local": "each node then knows only the sessions that it serves itself; asked for where the "
        "site has several nodes"
    }

    accept_node_local = ConsentField(
        label=gettext_lazy("I accept that each node then knows only the sessions that it serves itself"),
        required=False,
    )

    def __init__(self, data: Any, saved: LoginConfiguration, **kwargs: Any) -> None:
        super().__init__(data, saved, **kwargs)
        entering = saved.persistence_type != self.settings.type
        names = nodes.live_names() if entering else []
        if len(names) < 2:
            del self.fields["accept_node_local"]
        else:
            self.fields["accept_node_local"].help_text = consequence(names)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        for name in self.consents if self.saving else ():
            if not cleaned.get(name):
                self.add_error(name, _("Confirm this, or choose a store that all nodes share."))
        return cleaned


def consequence(names: list[str]) -> str:
    """Return what staff should know before they choose In-Memory on a site of these nodes."""
    text = _(
        "In-Memory is the memory of one node, and this site has {count}: {names}. Behind a load balancer users are "
        "logged out for good: as soon as a request reaches a node that does not hold the session, that node "
        "treats the user as a stranger, and the browser drops its cookie. Confirm only if the load balancer always "
        "sends a user to the same node."
    )
    return text.format(count=len(names), names=", ".join(names))
