"""A check for django-health-check, where a project has that: ``"sessionpersist.health_check.SessionStore"`` among the
``checks`` of its ``HealthCheckView``. It finds what ``sessionpersist.health`` says at ``ready/``."""

from __future__ import annotations

from dataclasses import dataclass

from asgiref.sync import sync_to_async
from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable

from sessionpersist.telemetry import readiness


@dataclass
class SessionStore(HealthCheck):
    """The store of login sessions that is in force answers."""

    async def run(self) -> None:
        """Raise ServiceUnavailable where it does not."""
        if not (await sync_to_async(readiness.look)()).answers:
            raise ServiceUnavailable("The session store does not answer.")
