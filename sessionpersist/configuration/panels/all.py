"""All panels at once, for the page and for what its script asks for."""

from __future__ import annotations

from typing import Any

from sessionpersist.configuration.panels.adoption import read_adoption
from sessionpersist.configuration.panels.handover import read_handover
from sessionpersist.configuration.panels.history import read_history
from sessionpersist.configuration.panels.nodes import read_nodes
from sessionpersist.configuration.panels.status import read_status


def read_panels(*, count: bool) -> dict[str, Any]:
    """Return all of them, for a template."""
    status, handover = read_status(), read_handover(count=count)
    return {
        "status": status,
        "handover": handover,
        "nodes": read_nodes(status),
        "history": read_history(handover.moving),
        "adoption": read_adoption(count=count),
    }
