"""What is wrong with the store that is saved, or in force, for the system checks that may ask the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from django.core import checks
from django.core.checks import CheckMessage, Error

from sessionpersist import conf, initial
from sessionpersist.configuration import allowed
from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.handover import routing, snapshot
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.stores import build_store
from sessionpersist.stores.certificates import FILES
from sessionpersist.stores.settings import ENVIRONMENT, FILE, TYPES, StoreSettings, reveal

NO_SESSION = "0" * 64  # a stored key that no session has


def messages_about(configuration: LoginConfiguration) -> Iterator[CheckMessage]:
    """Yield E006, W004, W006 to W009: what is configured can work, the site goes by it, and the stores that drain
    answer. Raises DatabaseError and StoreUnavailable where the configuration can't be read."""
    yield from _unusable_store(configuration)
    yield from _overruled(configuration)
    yield from _unheeded(configuration)
    yield from _variables(configuration)
    yield from _files(configuration)
    yield from _silent_stores()


def _unusable_store(configuration: LoginConfiguration) -> Iterator[CheckMessage]:
    """E006: this node can't open the configured store, by its driver, its ``env:`` or ``file:`` password or its
    database alias."""
    try:
        settings = configuration.store_settings()
        build_store(settings).close()
        for name, secret in settings.secrets().items():
            reveal(secret, name)  # one in a file is read by the store at a login, and no sooner
    except StoreMisconfigured as error:
        hint = "See `manage.py validate_connections`; `manage.py login_configuration set` changes the configuration."
        text = f"The configured session store can't be opened. {error}"
        yield Error(text, hint=hint, id="sessionpersist.E006")


def _overruled(configuration: LoginConfiguration) -> Iterator[CheckMessage]:
    """W004: the row was loaded or changed without a revision, so that it has no effect."""
    recorded = configuration.overruled_by()
    if recorded is not None:
        yield checks.Warning(
            f"The Login Configuration says {configuration.store_settings().describe()}, but the site uses what was "
            f"last saved: {recorded.describe()}. It was changed without being saved, or only part of it was loaded.",
            hint="Save it again, on the page or with `manage.py login_configuration set`.",
            id="sessionpersist.W004",
        )


def _unheeded(configuration: LoginConfiguration) -> Iterator[CheckMessage]:
    """W009: nobody has saved a store, and another than INITIAL says is in force. A release before 0.3.0 began with
    In-Memory, or INITIAL was changed since the site began. To follow it would log out who is logged in."""
    in_force = _begun_with(configuration)
    if in_force is None or list(initial.problems(initial.initial_fields())):
        return  # INITIAL can't be used: that is E007
    said = "INITIAL" if initial.names_store() else "ADOPT_FROM"
    if said == "ADOPT_FROM" and initial.place_of_adopted() is None:
        yield from _adopted_into_memory(in_force)
        return
    wanted = initial.initial_settings()
    if in_force == wanted:
        return
    store = wanted.describe()
    if in_force.describe() == store:
        store += ", with another user, password or TLS"
    yield checks.Warning(
        f"Sessions are stored in {in_force.describe()}, although SESSIONPERSIST[{said!r}] stands for {store}. "
        "That counts only before a site has stored its first session, so that nobody is logged out.",
        hint="Choose the store on the page Login Configuration, or with `manage.py login_configuration set`: nobody is "
        "logged out. Saving what is in force ends this warning, too.",
        id="sessionpersist.W009",
    )


def _begun_with(configuration: LoginConfiguration) -> StoreSettings | None:
    """Return what is in force on a site that has begun and on which nobody has saved anything; else None."""
    revisions = list(Revision.objects.order_by("pk")[:2])
    return None if configuration.edition or len(revisions) != 1 else revisions[0].store_settings()


def _adopted_into_memory(in_force: StoreSettings) -> Iterator[CheckMessage]:
    """W008, see check_adoption()."""
    if conf.get("ADOPT_FROM") and in_force.per_node:
        yield checks.Warning(
            f"The sessions of {conf.get('ADOPT_FROM')} move into the memory of the node that serves them first, so "
            "users whose next request goes to another node are logged out.",
            hint="Choose a store that all nodes share on the page Login Configuration, or with `manage.py "
            "login_configuration set`. If there is only one node, save In-Memory there. If the sessions have all "
            "moved, remove ADOPT_FROM.",
            id="sessionpersist.W008",
        )


def _variables(configuration: LoginConfiguration) -> Iterator[CheckMessage]:
    """W007: a password is read from a variable or a file that nobody could choose any more."""
    secrets = {
        getattr(configuration, cls.field(name)) for cls in TYPES.values() for name in cls.secret_names()
    }
    for source in sorted(filter(None, map(_source_not_allowed, secrets))):
        yield checks.Warning(
            f"The Login Configuration reads a password from the {source}, which is not allowed: it works until "
            "somebody saves the configuration.",
            hint="Rename the variable so that it begins with SESSIONPERSIST_, or add its name, or the folder of the "
            "file, to SESSIONPERSIST['SECRETS_ALLOWED']. One that holds a secret of the project is never allowed.",
            id="sessionpersist.W007",
        )


def _files(configuration: LoginConfiguration) -> Iterator[CheckMessage]:
    """W007: the same of a certificate or a key."""
    fields = [(name, cls.field(name)) for cls in TYPES.values() for name in FILES]
    found = {(name, path) for name, field in fields if (path := getattr(configuration, field, ""))}
    for path in sorted({path for name, path in found if not allowed.may_use(path, name)}):
        yield checks.Warning(
            f"The Login Configuration names the file {path}, which is not allowed: it works until somebody saves the "
            "configuration.",
            hint="Add the folder of the file to SESSIONPERSIST['SECRETS_ALLOWED'].",
            id="sessionpersist.W007",
        )


def _source_not_allowed(secret: str) -> str | None:
    """Name what a secret is read from, where that may not be used."""
    if secret.startswith(ENVIRONMENT):
        name = secret.removeprefix(ENVIRONMENT)
        return None if allowed.may_name(name) else f"environment variable {name}"
    if secret.startswith(FILE):
        path = secret.removeprefix(FILE)
        with suppress(StoreMisconfigured, ValueError):  # it can't be read, which is E006
            return None if allowed.may_read(path) else f"file {path}"
    return None


def _silent_stores() -> Iterator[CheckMessage]:
    """W006: a draining store does not answer, as in a copy of the site's database in another environment."""
    known = snapshot.current()
    unfinished = set(Revision.objects.filter(drained_at=None).values_list("pk", flat=True))
    for each in known.draining:
        try:
            if each.number in unfinished:
                routing.opened(each, known).get(NO_SESSION)
        except StoreUnavailable as error:
            yield checks.Warning(
                f"{each.settings.describe()} is draining and does not answer: users whose session has not moved yet "
                f"get a 503. {error}",
                hint="If it will not come back, or this is a copy of the site's database in another environment, run "
                "`manage.py drain_sessions --abandon`, or abandon it on the page Login Configuration.",
                id="sessionpersist.W006",
            )
