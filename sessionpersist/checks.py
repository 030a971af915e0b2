"""System checks: what is set up in a way that can't work, or should not be used in production.

They look at the settings, and at the memory of this node. What reads the configuration (E006, E008, W004, W006 to
W009) runs where Django checks databases: in ``manage.py check --database default`` and before ``migrate``.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieSession
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DatabaseError, connections, router
from django.utils.module_loading import import_string

from sessionpersist import conf, initial
from sessionpersist.configuration import allowed
from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.middleware import SessionMiddleware
from sessionpersist.stores import build_store, hosts
from sessionpersist.stores.memory import try_memory
from sessionpersist.stores.settings import ENVIRONMENT, FILE, TYPES, StoreSettings, fields_of, reveal

if TYPE_CHECKING:
    from sessionpersist.models import LoginConfiguration

ENGINE = "sessionpersist.engine"
MIDDLEWARE = "sessionpersist.middleware.SessionMiddleware"
DJANGO_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
NO_SESSION = "0" * 64  # a stored key that no session has
LONG_GUARD = 5.0  # seconds
INSECURE = "django-insecure-"  # what Django, and this project, begin a development key with


@register
def check_options(**kwargs: Any) -> Iterable[CheckMessage]:
    """E001 to E003: ``settings.SESSIONPERSIST`` is a dictionary of known keys and usable values."""
    options = getattr(settings, "SESSIONPERSIST", {})
    if not isinstance(options, dict):
        return [Error("SESSIONPERSIST must be a dictionary.", id="sessionpersist.E001")]
    return [*_unknown_options(options), *_bad_values(options)]


@register
def check_initial(**kwargs: Any) -> Iterable[CheckMessage]:
    """E007: the store in force before anybody has saved one is one that could be saved on the page."""
    if not _options_are_usable() or not conf.get("INITIAL"):
        return []
    hint = "INITIAL takes the fields of Login Configuration, such as {'persistence_type': 'REDIS', 'redis_host': …}."
    return [
        Error(f"SESSIONPERSIST['INITIAL'] can't be used. {problem}", hint=hint, id="sessionpersist.E007")
        for problem in _problems_of_initial(initial.initial_fields())
    ]


@register(Tags.database)
def check_adoption(databases: Sequence[str] | None = None, **kwargs: Any) -> Iterable[CheckMessage]:
    """E008: sessions that are adopted come into a store that all nodes share, unless somebody has chosen otherwise.
    W008 says the same where that stops nobody: where Django asks no database, so that nobody can tell whether a store
    has been saved; and below, where the site is in In-Memory already."""
    if not _options_are_usable() or conf.get("INITIAL") or not conf.get("ADOPT_FROM"):
        return []
    if initial.place_of_adopted() is not None:
        return []
    engine, known = conf.get("ADOPT_FROM"), _has_revisions(databases)
    if known:
        return []
    text = (
        f"the sessions of {engine} would move into the memory of the node that serves them first, so users whose next "
        "request goes to another node would be logged out."
    )
    hint = (
        "Set SESSIONPERSIST['INITIAL'] to the store that all nodes share, or to {'persistence_type': 'IN_MEMORY'} if "
        "there is only one node. If the sessions have all moved, remove ADOPT_FROM."
    )
    if known is None:
        text, more = f"Unless a store has been saved, {text}", "`manage.py check --database default` looks."
        return [checks.Warning(text, hint=f"{hint} {more}", id="sessionpersist.W008")]
    return [Error(text[0].upper() + text[1:], hint=hint, id="sessionpersist.E008")]


def _has_revisions(databases: Sequence[str] | None) -> bool | None:
    """Whether a store has ever been in force; None where the database may not be asked, or does not answer."""
    from sessionpersist.models import Revision  # models are loaded after the app registry is ready

    alias = router.db_for_write(Revision)
    if alias not in (databases or ()):
        return None
    try:
        tables = connections[alias].introspection.table_names()
        return Revision._meta.db_table in tables and Revision.objects.using(alias).exists()
    except DatabaseError:
        return None


@register
def check_memory(**kwargs: Any) -> Iterable[CheckMessage]:
    """E004: the In-Memory store can be opened."""
    trouble = _trouble_of_memory() if _options_are_usable() else None
    if trouble is None:
        return []
    hint = "Set SESSIONPERSIST['MEMORY_DIR'] to a folder of the user of the site, which nobody else may write to."
    return [Error(f"The In-Memory store can't be used. {trouble}", hint=hint, id="sessionpersist.E004")]


@register
def check_engine(**kwargs: Any) -> Iterable[CheckMessage]:
    """W001: Django asks this app for its sessions."""
    if ENGINE == settings.SESSION_ENGINE or _is_ours(f"{settings.SESSION_ENGINE}.SessionStore"):
        return []
    return [
        checks.Warning(
            f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}: the Login Configuration has no effect.",
            hint=f"Set SESSION_ENGINE = {ENGINE!r}.",
            id="sessionpersist.W001",
        )
    ]


@register
def check_middleware(**kwargs: Any) -> Iterable[CheckMessage]:
    """W002: a store that is down becomes a 503 that keeps the cookie."""
    if any(_is_our_middleware(path) for path in settings.MIDDLEWARE):
        return []
    hint = f"Add {MIDDLEWARE!r} to MIDDLEWARE, before AuthenticationMiddleware."
    if DJANGO_MIDDLEWARE in settings.MIDDLEWARE:
        hint = f"Put {MIDDLEWARE!r} in the place of {DJANGO_MIDDLEWARE!r}."
    return [
        checks.Warning(
            "While the session store is down, pages fail with an error 500 instead of a 503 that browsers try again.",
            hint=hint,
            id="sessionpersist.W002",
        )
    ]


@register
def check_activation(**kwargs: Any) -> Iterable[CheckMessage]:
    """W003: every process hears of a switch before it happens. 0 is for a single process, and for tests."""
    if not _options_are_usable():
        return []
    if not 0 < conf.activation_seconds() < 2 * conf.refresh_seconds():
        return []
    return [
        checks.Warning(
            "A switch can happen before all processes know of it, which logs users out: "
            "SESSIONPERSIST['ACTIVATION_SECONDS'] is less than twice REFRESH_SECONDS.",
            hint="Leave ACTIVATION_SECONDS out, or set it to twice REFRESH_SECONDS or more.",
            id="sessionpersist.W003",
        )
    ]


@register
def check_guard(**kwargs: Any) -> Iterable[CheckMessage]:
    """W005: nobody waits for long at a switch."""
    if not _options_are_usable() or conf.guard_seconds() <= LONG_GUARD:
        return []
    return [
        checks.Warning(
            f"At a switch, some requests wait for up to {2 * conf.guard_seconds():g} s: "
            "SESSIONPERSIST['GUARD_SECONDS'] is large.",
            hint="It is by how much the clocks of two processes may differ about the moment; 0.5 is the default.",
            id="sessionpersist.W005",
        )
    ]


@register(Tags.security, deploy=True)
def check_secret_keys(**kwargs: Any) -> Iterable[CheckMessage]:
    """E005: sessions and the stores' passwords are not sealed with a key that everybody knows."""
    keys = {"SECRET_KEY": [settings.SECRET_KEY], "SECRET_KEY_FALLBACKS": settings.SECRET_KEY_FALLBACKS}
    return [
        Error(
            f"{name} holds a key for development: it protects neither sessions nor the passwords of their stores.",
            hint="Set a long random one, and keep it out of the repository.",
            id="sessionpersist.E005",
        )
        for name, values in keys.items()
        if any(str(value).startswith(INSECURE) for value in values)
    ]


@register(Tags.database)
def check_configuration(databases: Sequence[str] | None = None, **kwargs: Any) -> Iterable[CheckMessage]:
    """E006, W004, W006 to W009: what is configured can work, the site goes by it, and the stores that drain answer."""
    from sessionpersist.models import LoginConfiguration  # models are loaded after the app registry is ready

    if router.db_for_write(LoginConfiguration) not in (databases or ()):  # it is read where it is written
        return []
    try:
        configuration = LoginConfiguration.get_solo()
        return [
            *_unusable_store(configuration),
            *_overruled(configuration),
            *_unheeded(configuration),
            *_variables(configuration),
            *_silent_stores(),
        ]
    except (DatabaseError, StoreUnavailable):
        return []  # others report it: not migrated yet, or down; or INITIAL can't be used, which is E007


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
    said = "INITIAL" if conf.get("INITIAL") else "ADOPT_FROM"
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
    from sessionpersist.models import Revision  # models are loaded by now

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


def _trouble_of_memory() -> str | None:
    folder = conf.memory_dir()
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return f"The user of the site may not write to {folder}."
    if existing != folder:
        return (
            None  # whoever serves the site makes it: made here, by another user, it would be closed to them
        )
    try:
        try_memory()
    except (StoreUnavailable, OSError) as error:
        return str(error)
    return None


def _silent_stores() -> Iterator[CheckMessage]:
    """W006: a draining store does not answer, as in a copy of the site's database in another environment."""
    from sessionpersist.handover import (
        routing,  # they read models, which are loaded by now
        snapshot,
    )
    from sessionpersist.models import Revision

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


def _options_are_usable() -> bool:
    options = getattr(settings, "SESSIONPERSIST", {})
    return isinstance(options, dict) and not list(_bad_values(options))


def _problems_of_initial(fields: dict[str, Any]) -> list[str]:
    """Names and types first; then what the page would say. No text repeats a value."""
    if found := list(initial.problems(fields)):
        return found
    from sessionpersist.configuration.forms import (
        LoginConfigurationForm,  # reads models, which are loaded by now
    )
    from sessionpersist.models import LoginConfiguration

    nobody_saved = LoginConfiguration()
    nothing_chosen = fields_of(TYPES[fields["persistence_type"]]())
    data = LoginConfigurationForm.data_of(nobody_saved) | nothing_chosen | fields
    form = LoginConfigurationForm(data, probe=False, any_variable=True, instance=nobody_saved)
    return [f"{name}: {error}" for name, errors in form.errors.items() for error in errors]


def _unknown_options(options: dict[str, Any]) -> Iterator[CheckMessage]:
    for name in options.keys() - conf.DEFAULTS.keys():
        close = difflib.get_close_matches(str(name).upper(), conf.DEFAULTS, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Known are {', '.join(conf.DEFAULTS)}."
        yield Error(f"SESSIONPERSIST has no key {name!r}.", hint=hint, id="sessionpersist.E002")


def _bad_values(options: dict[str, Any]) -> Iterator[CheckMessage]:
    for name, (is_valid, expected) in OPTIONS.items():
        value = options.get(name, conf.DEFAULTS[name])
        is_unset = value is None and conf.DEFAULTS[name] is None
        if not is_unset and not is_valid(value):
            text = f"SESSIONPERSIST[{name!r}] must be {expected}."
            yield Error(
                text, hint=_as_number(value) if "seconds" in expected else None, id="sessionpersist.E003"
            )


def _as_number(value: Any) -> str | None:
    """Say how to write what was meant, where that can be told."""
    try:
        number = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except (TypeError, ValueError):
        return None
    return f"Write {number:g}, a plain number, and not {value!r}." if math.isfinite(number) else None


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _is_seconds_or_none(value: Any) -> bool:
    return value is None or _is_seconds(value)


def _is_some_time(value: Any) -> bool:
    return _is_seconds(value) and value > 0


def _is_timeout(value: Any) -> bool:
    return _is_seconds(value) and value >= conf.SHORTEST_TIMEOUT


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _is_dictionary(value: Any) -> bool:
    return isinstance(value, dict)


def _is_path(value: Any) -> bool:
    return isinstance(value, str | Path) and bool(str(value))


def _is_file(value: Any) -> bool:
    return _is_path(value) and Path(value).is_file()


def _are_hosts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(hosts.is_entry, value))


def _are_providers(value: Any) -> bool:
    paths = value.values() if isinstance(value, dict) else [value]
    known = not isinstance(value, dict) or set(value) <= {
        cls.type for cls in TYPES.values() if cls.takes_credentials
    }
    return known and all(_is_text(path) and _imported(path) is not None for path in paths)


def _is_former_engine(value: Any) -> bool:
    """Return whether sessions can be adopted from there: not from cookies, which are on no server, nor from us."""
    if not _is_text(value):
        return False
    path = f"{value}.SessionStore"
    return _imported(path) is not None and not _is_ours(path) and not _is_derived(path, CookieSession)


def _is_ours(path: str) -> bool:
    """Return whether a session class is this app's, or one that a project derived from it."""
    from sessionpersist.engine import SessionStore  # reads models, which are loaded by now

    return _is_derived(path, SessionStore)


def _is_our_middleware(path: str) -> bool:
    return _is_derived(path, SessionMiddleware)


def _is_derived(path: str, base: type) -> bool:
    found = _imported(path)
    return isinstance(found, type) and issubclass(found, base)


def _imported(path: str) -> Any:
    """Return what is at a dotted path, or None: that something can't be imported, Django says elsewhere."""
    try:
        return import_string(path)
    except ImportError:
        return None


# What each option takes, and how to say so.
OPTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "REFRESH_SECONDS": (_is_seconds, "a number of seconds, zero or more"),
    "ACTIVATION_SECONDS": (_is_seconds, "a number of seconds, zero or more, or None"),
    "TIMEOUT_SECONDS": (_is_timeout, f"a number of seconds, {conf.SHORTEST_TIMEOUT} or more"),
    "LONGEST_LIFE_SECONDS": (_is_some_time, "a number of seconds above zero, or None"),
    "GUARD_SECONDS": (_is_seconds, "a number of seconds, zero or more"),
    "MEMORY_DIR": (_is_path, "the path of a folder"),
    "KEY_PREFIX": (_is_text, "a text that is not empty"),
    "NODE_NAME": (_is_text, "a text that is not empty"),
    "TLS_CA_FILE": (_is_file, "the path of a file that exists"),
    "SECRETS_ALLOWED": (
        conf.is_texts,
        "a list of names of environment variables; one that ends with _ or * is the beginning of names, and one that "
        "begins with / is a folder of files",
    ),
    "CREDENTIALS": (_are_providers, "the dotted path of a provider, or a dictionary of one by type of store"),
    "ALLOWED_STORE_HOSTS": (
        _are_hosts,
        "a list of host names ('.example.org' is all below it, too), addresses and networks ('10.0.0.0/8'), or None",
    ),
    "INITIAL": (_is_dictionary, "a dictionary of fields of Login Configuration, or None"),
    "ADOPT_FROM": (
        _is_former_engine,
        "the dotted path of a session engine, such as 'django.contrib.sessions.backends.db'; not of this app's, nor "
        "of one that keeps sessions in cookies, which has none to adopt",
    ),
    "REAUTHENTICATE_SECONDS": (_is_seconds_or_none, "a number of seconds, zero or more, or None"),
    "QUIET_TESTS": (_is_boolean, "True or False"),
}
