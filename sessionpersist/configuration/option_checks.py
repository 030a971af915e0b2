"""What is wrong with ``settings.SESSIONPERSIST``: the system checks say it as the site starts."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieSession
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from sessionpersist import conf, initial
from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.engine import SessionStore
from sessionpersist.models import LoginConfiguration
from sessionpersist.session.compressing import NONE, ZLIB, ZSTD, zstandard
from sessionpersist.stores import allowed_hosts
from sessionpersist.stores.settings import TYPES, fields_of


def are_usable() -> bool:
    """Return whether all values can be used. A key that is not known is in nobody's way."""
    options = getattr(settings, "SESSIONPERSIST", {})
    return isinstance(options, dict) and not list(bad_values(options))


def problems_of_initial(fields: dict[str, Any]) -> list[str]:
    """Names and types first; then what the page would say. No text repeats a value."""
    if found := list(initial.problems(fields)):
        return found
    nobody_saved = LoginConfiguration()
    nothing_chosen = fields_of(TYPES[fields["persistence_type"]]())
    data = LoginConfigurationForm.data_of(nobody_saved) | nothing_chosen | fields
    form = LoginConfigurationForm(data, probe=False, any_variable=True, instance=nobody_saved)
    return [f"{name}: {error}" for name, errors in form.errors.items() for error in errors]


def unknown_keys(options: dict[str, Any]) -> Iterator[CheckMessage]:
    """E002: a key that there is not."""
    for name in options.keys() - conf.DEFAULTS.keys():
        close = difflib.get_close_matches(str(name).upper(), conf.DEFAULTS, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Known are {', '.join(conf.DEFAULTS)}."
        yield Error(f"SESSIONPERSIST has no key {name!r}.", hint=hint, id="sessionpersist.E002")


def bad_values(options: dict[str, Any]) -> Iterator[CheckMessage]:
    """E003: a value that can't be used."""
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


def _is_compression(value: Any) -> bool:
    return value in (ZLIB, NONE) or (value == ZSTD and zstandard is not None)


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
    return isinstance(value, list | tuple) and all(map(allowed_hosts.is_entry, value))


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
    return _imported(path) is not None and not is_our_engine(path) and not is_derived(path, CookieSession)


def is_our_engine(path: str) -> bool:
    """Return whether a session class is this app's, or one that a project derived from it."""
    return is_derived(path, SessionStore)


def is_derived(path: str, base: type) -> bool:
    """Return whether there is a class at a dotted path, and it is that one or derived from it."""
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
    "DRAIN_RATE": (_is_seconds, "a number of sessions a second, zero or more"),
    "CLEAR_SECONDS": (_is_seconds, "a number of seconds, zero or more"),
    "METRICS_TOKEN": (_is_text, "a text that is not empty, or None"),
    "REAUTHENTICATE_SECONDS": (_is_seconds_or_none, "a number of seconds, zero or more, or None"),
    "COMPRESSION": (_is_compression, "'zlib', 'none', or, with sessionpersist[fast], 'zstd'"),
    "ROSTER": (_is_boolean, "True or False"),
    "ADDRESSES": (_is_boolean, "True or False"),
    "QUIET_TESTS": (_is_boolean, "True or False"),
    "TRACES": (_is_boolean, "True or False"),
}
