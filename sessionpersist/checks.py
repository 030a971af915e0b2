"""System checks: what is set up in a way that can't work, or should not be used in production.

They look at the settings, at the memory of this node, and at the sources of the project. What reads the configuration
(E006, E008, W004, W006 to W010) runs where Django checks databases: in ``manage.py check --database default`` and
before ``migrate``. What takes more than a few lines to find out is in ``configuration``: ``option_checks``,
``code_checks`` and ``store_checks``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DatabaseError, connections, router

from sessionpersist import conf, initial
from sessionpersist.configuration import code_checks, option_checks, store_checks
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.middleware import SessionMiddleware
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.session.policy import REFUSE, UNLIMITED
from sessionpersist.stores.memory import trouble_of_memory

ENGINE = "sessionpersist.engine"
MIDDLEWARE = "sessionpersist.middleware.SessionMiddleware"
DJANGO_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
LONG_GUARD = 5.0  # seconds
INSECURE = "django-insecure-"  # what Django, and this project, begin a development key with


@register
def check_options(**kwargs: Any) -> Iterable[CheckMessage]:
    """E001 to E003: ``settings.SESSIONPERSIST`` is a dictionary of known keys and usable values."""
    options = getattr(settings, "SESSIONPERSIST", {})
    if not isinstance(options, dict):
        return [Error("SESSIONPERSIST must be a dictionary.", id="sessionpersist.E001")]
    return [*option_checks.unknown_keys(options), *option_checks.bad_values(options)]


@register
def check_initial(**kwargs: Any) -> Iterable[CheckMessage]:
    """E007: the store in force before anybody has saved one is one that could be saved on the page."""
    if not option_checks.are_usable() or not conf.get("INITIAL"):
        return []
    hint = "INITIAL takes the fields of Login Configuration, such as {'persistence_type': 'REDIS', 'redis_host': …}."
    return [
        Error(f"SESSIONPERSIST['INITIAL'] can't be used. {problem}", hint=hint, id="sessionpersist.E007")
        for problem in option_checks.problems_of_initial(initial.initial_fields())
    ]


@register(Tags.database)
def check_adoption(databases: Sequence[str] | None = None, **kwargs: Any) -> Iterable[CheckMessage]:
    """E008: sessions that are adopted come into a store that all nodes share, unless somebody has chosen otherwise.
    W008 says the same where that stops nobody: where Django asks no database, so that nobody can tell whether a store
    has been saved; and below, where the site is in In-Memory already."""
    if not option_checks.are_usable() or initial.names_store() or not conf.get("ADOPT_FROM"):
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
    trouble = trouble_of_memory() if option_checks.are_usable() else None
    if trouble is None:
        return []
    hint = "Set SESSIONPERSIST['MEMORY_DIR'] to a folder of the user of the site, which nobody else may write to."
    return [Error(f"The In-Memory store can't be used. {trouble}", hint=hint, id="sessionpersist.E004")]


@register
def check_engine(**kwargs: Any) -> Iterable[CheckMessage]:
    """W001: Django asks this app for its sessions."""
    if _is_our_engine():
        return []
    return [
        checks.Warning(
            f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}: the Login Configuration has no effect.",
            hint=f"Set SESSION_ENGINE = {ENGINE!r}.",
            id="sessionpersist.W001",
        )
    ]


def _is_our_engine() -> bool:
    engine = settings.SESSION_ENGINE
    return engine == ENGINE or option_checks.is_our_engine(f"{engine}.SessionStore")


@register
def check_code(**kwargs: Any) -> Iterable[CheckMessage]:
    """W011: nobody looks for sessions in Django's own table, which stays empty: such code finds nobody, and says so."""
    for file, lines in code_checks.findings() if _is_our_engine() else ():
        where = f"{file}, line {', '.join(map(str, lines))}"
        yield checks.Warning(
            f"Sessions are looked for with Django's own model or engine, which will find none: {where}.",
            hint="Use sessionpersist.sessions (of, end, end_all …), or the SessionStore of settings.SESSION_ENGINE. "
            f"A line with {code_checks.CHECK} in a comment is left alone.",
            id="sessionpersist.W011",
        )


@register
def check_middleware(**kwargs: Any) -> Iterable[CheckMessage]:
    """W002: a store that is down becomes a 503 that keeps the cookie."""
    if _has_middleware():
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


def _has_middleware() -> bool:
    return any(option_checks.is_derived(path, SessionMiddleware) for path in settings.MIDDLEWARE)


@register
def check_activation(**kwargs: Any) -> Iterable[CheckMessage]:
    """W003: every process hears of a switch before it happens. 0 is for a single process, and for tests."""
    if not option_checks.are_usable():
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
    if not option_checks.are_usable() or conf.guard_seconds() <= LONG_GUARD:
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
    """E006, W004, W006 to W010: what is configured can work, the site goes by it, and the stores that drain answer."""
    if router.db_for_write(LoginConfiguration) not in (databases or ()):  # it is read where it is written
        return []
    try:
        configuration = LoginConfiguration.get_solo()
        return [*store_checks.messages_about(configuration), *_unnoted_use(configuration)]
    except (DatabaseError, StoreUnavailable):
        return []  # others report it: not migrated yet, or down; or INITIAL can't be used, which is E007


def _unnoted_use(configuration: LoginConfiguration) -> Iterable[CheckMessage]:
    """W010: only our middleware notes the use of a session, and answers a login that the limit refuses."""
    policy = configuration.policy()
    refuses = policy.max_sessions != UNLIMITED and policy.at_limit == REFUSE
    if _has_middleware() or not (policy.has_times or refuses):
        return
    yield checks.Warning(
        "Users are logged out although they are active: there are time-outs in the Login Configuration, and nothing "
        "notes that a session is used."
        if policy.has_times
        else "A login that the limit of sessions refuses is an error 500: nothing leads to the page for it.",
        hint=f"Add {MIDDLEWARE!r} to MIDDLEWARE, in the place of Django's.",
        id="sessionpersist.W010",
    )
