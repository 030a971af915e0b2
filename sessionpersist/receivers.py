"""What the app does when something happens elsewhere."""

from __future__ import annotations

from typing import Any

from django.core.signals import request_finished, setting_changed
from django.dispatch import receiver

from sessionpersist import nodes, pulse, routing, snapshot


@receiver(request_finished)
def report_node(**kwargs: Any) -> None:
    """A process that serves requests says that it is there, and which revision it holds to be current."""
    nodes.report()


@receiver(setting_changed)
def forget_settings(*, setting: str, **kwargs: Any) -> None:
    """Tests change settings; what was built from the old ones goes."""
    if setting in {"SESSIONPERSIST", "DATABASES", "SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        snapshot.reset()
        routing.reset()
        nodes.reset()
        pulse.reset()
