"""A new password, an account that is switched off or deleted: the user's other sessions end, and say why.

Django ends them, too, with the next request of each: their hash of the password no longer fits, or there is no such
user. But it says nothing, and until then they are listed. What is changed by a queryset's ``update()`` sends no signal,
and is left to Django.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import get_hasher, identify_hasher, is_password_usable
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import Model
from django.db.models.signals import post_delete, post_save, pre_save

from sessionpersist import sessions
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.session.reasons import Reason
from sessionpersist.session.serving import session_of_request
from sessionpersist.stores.transactions import after_commit
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import ACCOUNT_UNENDED

PASSWORD, ACTIVE = "password", "is_active"
BEFORE = "_sessionpersist_before"  # what a user was like, on the object while it is being saved


def watch() -> None:
    """Hear of changes to users, of proxies and of models that extend that of the project, too."""
    user_model = get_user_model()
    for model in apps.get_models():
        if issubclass(model, user_model):
            pre_save.connect(note_before, sender=model)
            post_save.connect(end_after_change, sender=model)
            post_delete.connect(end_after_deletion, sender=model)


def note_before(instance: Any, raw: bool, using: str, update_fields: Any, **kwargs: Any) -> None:
    """Look what the user was like, where that may be about to change: one query."""
    instance.__dict__.pop(BEFORE, None)
    if raw or instance._state.adding or not sessions.are_listed():
        return
    known = {field.attname for field in instance._meta.concrete_fields} & {PASSWORD, ACTIVE}
    names = sorted(known if update_fields is None else known & set(update_fields))
    if names:
        saved = type(instance)._base_manager.using(using).filter(pk=instance.pk)
        instance.__dict__[BEFORE] = saved.values(*names).first()


def end_after_change(instance: Any, using: str, update_fields: Any, **kwargs: Any) -> None:
    """End the user's other sessions where the password has changed, and all of them where the account is off."""
    before = instance.__dict__.pop(BEFORE, None)
    if not before:
        return
    if before.get(ACTIVE) and not instance.is_active:
        _end(instance, Reason.ACCOUNT_OFF, using)
        return
    old = before.get(PASSWORD)
    if old is not None and old != instance.password and not is_upgrade(old, instance, update_fields):
        _end(instance, Reason.PASSWORD_CHANGED, using)


def is_upgrade(old: str, user: Any, update_fields: Any) -> bool:
    """Return whether the same password was only hashed in a newer way, as far as that can be told: at a login Django
    does so with a hash that it would not make any more."""
    if set(update_fields or ()) != {PASSWORD} or getattr(user, "_password", None) is not None:
        return False
    try:
        hasher = identify_hasher(old)
    except ValueError:  # there was no usable password
        return False
    outdated = hasher.algorithm != get_hasher().algorithm or hasher.must_update(old)
    return outdated and is_password_usable(user.password)


def end_after_deletion(instance: Any, using: str, **kwargs: Any) -> None:
    """End the sessions of a user who is deleted."""
    if sessions.are_listed():
        _end(instance, Reason.ACCOUNT_OFF, using)


def _end(user: Model, reason: Reason, using: str) -> None:
    user_id = sessions.id_of(user)  # a user who was deleted has none by the time of the commit
    # By then a view may also have taken back the session that it has put into its request.
    but = session_of_request() if reason is Reason.PASSWORD_CHANGED else None
    after_commit(_ending(user_id, but, reason), using)


def _ending(user_id: str, but: SessionBase | None, reason: Reason) -> Callable[[], None]:
    def end() -> None:
        try:
            sessions.end_all(user_id, but=but, reason=reason)
        except StoreUnavailable as error:
            # The change is made, and must not fail. Each of the sessions ends with its next request, without a word.
            lines.say(
                ACCOUNT_UNENDED,
                f"The sessions of a user whose account has changed could not be ended: {error}",
            )

    return end
