"""What the app does when something happens elsewhere."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core.signals import request_finished, request_started, setting_changed
from django.db.models.signals import post_migrate
from django.dispatch import receiver

from sessionpersist.account import refusal, wishes
from sessionpersist.account.anonymous import make_anonymous
from sessionpersist.configuration import logins, pulse
from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import SessionLimitReached
from sessionpersist.handover import nodes, quiet_tests, routing, snapshot
from sessionpersist.models import configuration_saved
from sessionpersist.session import serialising
from sessionpersist.signals import store_lost
from sessionpersist.stores import secret
from sessionpersist.telemetry import lines, readiness, tracing
from sessionpersist.telemetry.lines import STORE_DRAINING
from sessionpersist.upkeep import daemons


@receiver(request_started)
def refresh_configuration(**kwargs: Any) -> None:
    """What this process knows of the configuration is read where a request begins, if that is due: inside a
    transaction (ATOMIC_REQUESTS) or an event loop it would take a connection of its own. In an outage that is left to
    requests that ask for a session."""
    snapshot.refresh()


@receiver(request_started)
def begin_upkeep(sender: object, **kwargs: Any) -> None:
    """A process that serves requests does what is to be done without anybody asking, too; no other does."""
    daemons.begin(sender)


@receiver(request_finished)
def report_node(**kwargs: Any) -> None:
    """A process that serves requests says that it is there, and which revision it holds to be current."""
    nodes.report()


@receiver(configuration_saved)
def forget_configuration(**kwargs: Any) -> None:
    """What was saved is read with the next request, not only when that is due."""
    snapshot.expire()


@receiver(user_logged_in)
def pass_on_login(request: Any, user: Any, **kwargs: Any) -> None:
    """Sent by ``login()``, after it has put the user into the session."""
    session = getattr(request, "session", None)
    if isinstance(session, SessionStore) and user is not None:
        wishes.fulfil(session, wishes.found(request, user))
        session.seen_from(request)
        try:
            session.note_login(user._meta.pk.value_to_string(user))
        except SessionLimitReached:
            make_anonymous(request)  # the session has lost the user, too
            raise
    if session is not None and user is not None:
        refusal.forget(session)
        logins.note_proof(request, user)


@receiver(user_logged_out)
def pass_on_logout(request: Any, user: Any, **kwargs: Any) -> None:
    """Sent before the session is flushed; without a user where nobody was logged in."""
    session = getattr(request, "session", None)
    if isinstance(session, SessionStore) and user is not None:
        session.note_logout(user.pk)


@receiver(post_migrate)
def forget_what_tests_saved(**kwargs: Any) -> None:
    """Sent after a flush too, as at the end of a test that commits."""
    quiet_tests.forget()


@receiver(store_lost)
def say_what_to_do(*, description: str, **kwargs: Any) -> None:
    """A draining store matters only to users who have not come back yet: whoever reads the log has a choice."""
    known = snapshot.held()
    if known is None or description == known.current.settings.describe():
        return
    if any(description == each.settings.describe() for each in known.draining):
        lines.say(
            STORE_DRAINING,
            f"{description} is draining: users whose session has not moved yet get a 503 until it is back. If it will "
            "not come back, or this is a copy of the site's database in another environment, give it up: “manage.py "
            "drain_sessions --abandon”, or the page Login Configuration.",
            store=description,
        )


@receiver(setting_changed)
def forget_settings(*, setting: str, **kwargs: Any) -> None:
    """Tests change settings; what was built from the old ones goes."""
    if setting == "SESSION_SERIALIZER":
        serialising.reset()
    if setting in {"SESSIONPERSIST", "DATABASES", "SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        secret.reset()
        snapshot.reset()
        routing.reset()
        nodes.reset()
        pulse.reset()
        readiness.reset()
        tracing.start()
