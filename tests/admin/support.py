"""What the tests of the page share: who works with it, and what they type."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.forms import BoundField
from django.test import Client
from django.urls import reverse

from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.configuration.throttling import TESTS
from sessionpersist.handover import snapshot
from sessionpersist.models import LoginConfiguration, PolicyChange, Revision
from tests.servers import MongoDB, Redis, Server, require, shared

PAGE = reverse("admin:sessionpersist_loginconfiguration_changelist")
TEST = reverse("admin:sessionpersist_loginconfiguration_test")
STATUS = reverse("admin:sessionpersist_loginconfiguration_status")

Data = dict[str, Any]


def create_staff(name: str, *permissions: str) -> User:
    """A member of staff with these permissions."""
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def start_over() -> None:
    """The state after migrating, for tests that no transaction undoes."""
    for model in (LogEntry, User, PolicyChange, Revision, LoginConfiguration):
        model._default_manager.all().delete()


def typed(**changes: Any) -> Data:
    """What the page sends after somebody typed these into it."""
    return LoginConfigurationForm.data_of(LoginConfiguration.get_solo()) | changes


def shown(form: LoginConfigurationForm) -> dict[str, BoundField]:
    """The fields of all stores by the names that the page gives them."""
    return {bound.html_name: bound for store in form.stores for bound in store}


def login_of(cls: type[Server], *, tls: bool = False) -> Data:
    """What to type for a shared server; skips the test where there is none."""
    require(cls, tls=tls)
    server = shared(cls, tls=tls)
    names = ["host", "port", "username", "password"]
    values: Data = {"database": server.database}
    if isinstance(server, MongoDB):
        prefix, values["auth_source"] = "mongodb", server.auth_source
    else:
        assert isinstance(server, Redis)
        prefix = "redis"
    values |= {name: getattr(server, name) for name in names}
    if tls:
        values["tls"] = "on"
    return {
        "persistence_type": prefix.upper(),
        **{f"{prefix}_{name}": value for name, value in values.items()},
    }


def save(client: Client, **changes: Any) -> Any:
    """Type these into the page and press “Save”."""
    return client.post(PAGE, typed(**changes))


def switch(client: Client, **changes: Any) -> None:
    """Save a choice that is in force with the next request, for tests with the fixture ``switches_at_once``.

    This process reads a choice again once the page's transaction is committed, which it never is in a TestCase.
    """
    assert save(client, **changes).status_code == 302
    snapshot.expire()


def errors_of(response: Any) -> dict[str, list[str]]:
    """The errors that the page shows, by field."""
    assert response.status_code == 200, "saved, or refused altogether"
    errors: dict[str, list[str]] = dict(response.context_data["form"].errors)
    return errors


def saved_state() -> tuple[Any, ...]:
    """Everything that saving would change. (That a store was tried is on record either way.)"""
    return (
        LoginConfiguration.objects.values_list().first(),
        Revision.objects.count(),
        LogEntry.objects.exclude(object_id=TESTS.name).count(),
    )
