"""Wherever our code crashes between the cookie and the store, or between the form and the driver, Django's report about
it shows no session key, no password of a store, and nothing of the secret key.

A trace function, which is what a debugger is, raises at one line of this package after the other.

What is not hidden, as it is not ours to hide:
- what was sent, where a crash comes before Django knows for which view;
- the password with which somebody logs in at a view of Django's, which marks it as sensitive itself;
- what a project's own view has in a variable of its own as plain text, and what the session says (its key is hidden);
- what a driver has in its frames where it crashes by itself: our stores let none of those out (see ``harmless``).
Django itself hides the cookie of the session, with DEBUG too.
"""

from __future__ import annotations

import inspect
import os
import pprint
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from time import monotonic
from traceback import walk_tb
from types import FrameType, TracebackType
from typing import Any, NamedTuple

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.views.debug import ExceptionReporter
from pytest_django import Settings

import sessionpersist
from sessionpersist import engine, stores
from sessionpersist.configuration.views import wrapping
from sessionpersist.models import LoginConfiguration
from sessionpersist.session import sealing
from sessionpersist.stores.secret import _password_key, secret_keys
from sessionpersist.stores.texts import causes
from sessionpersist.testing import override_login_configuration
from tests.admin.support import create_staff, login_of, save
from tests.engine import urls
from tests.engine.support import server_fields
from tests.servers import Valkey, require, shared
from tests.sizes import quick_and_long

PACKAGE = str(Path(sessionpersist.__file__).parent)
COOKIE = django_settings.SESSION_COOKIE_NAME
PASSWORD = "correct horse battery staple"

# What crashes as it connects leaves its socket to the garbage collector.
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

urlpatterns = urls.urlpatterns  # for ROOT_URLCONF, with a page for errors that needs no other page

Line = tuple[str, int]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType]


def handler500(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a crash", status=500)


class Effort(NamedTuple):
    """How many seconds long the lines of an operation crash, one after the other in a random order, and how many of the
    reports are made in full: of the others only the variables are searched, which takes no time. ``least`` is how many
    are reported, however slow the machine is."""

    seconds: float
    reports: int
    least: int


EFFORTS = quick_and_long(Effort(0.1, 2, 5), Effort(float(os.environ.get("CRASH_SECONDS", "1.5")), 12, 10))


class Crash(Exception):
    """What is raised at a line."""


class Debugger:
    """Goes through the lines of this package: notes them, and raises at the one that is to crash."""

    def __init__(self, crash_at: Line | None = None) -> None:
        self.crash_at, self.lines = crash_at, dict[Line, None]()

    def __enter__(self) -> Debugger:
        sys.settrace(self._call)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        line = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line":
            self.lines[line] = None
            if line == self.crash_at:
                self.crash_at = None
                sys.settrace(None)
                raise Crash
        return self._line


@contextmanager
def crashes() -> Iterator[list[tuple[HttpRequest, ExcInfo]]]:
    """The crashes of requests, as Django tells of them where it makes its reports."""
    found: list[Any] = []

    def note(sender: Any, request: HttpRequest, **kwargs: Any) -> None:
        found.append((request, sys.exc_info()))

    got_request_exception.connect(note)
    try:
        yield found
    finally:
        got_request_exception.disconnect(note)


def variables(error: ExcInfo) -> Iterator[tuple[str, str]]:
    """All that a report without any filter shows: each variable of each frame, with where it is."""
    for each in causes(error[1]):
        for frame, _ in walk_tb(each.__traceback__):
            for name, value in frame.f_locals.items():
                try:
                    shown = pprint.pformat(value)
                except Exception as failure:
                    shown = f"Error in formatting: {failure}"
                yield f"{frame.f_code.co_filename}:{frame.f_lineno} {name}", shown


def reports(request: HttpRequest, error: ExcInfo) -> Iterator[tuple[str, str]]:
    """What Django mails to the admins, and what it shows to developers."""
    for debug in (False, True):
        with override_settings(DEBUG=debug):
            reporter = ExceptionReporter(request, *error, is_email=not debug)
            yield f"HTML, DEBUG={debug}", reporter.get_traceback_html()
            yield f"text, DEBUG={debug}", reporter.get_traceback_text()


class Told(list[str]):
    """Where a secret was told, and of which kind it is."""

    def look(self, texts: Iterable[tuple[str, str]], secrets: dict[str, str]) -> None:
        for where, text in texts:
            self.extend(f"{kind} in {where}" for secret, kind in secrets.items() if secret in text)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The session keys that were made, also of sessions that crashed before they were known to anybody."""
    made: list[str] = []
    new_key = engine.new_key

    def noted() -> str:
        made.append(key := new_key())
        return key

    monkeypatch.setattr(engine, "new_key", noted)
    return made


def derived() -> dict[str, str]:
    """SECRET_KEY, and what is made of it, as bytes are shown."""
    (secret_key,) = secret_keys()
    made = [sealing._master(secret_key).secret, _password_key(secret_key)]
    shown = {bytes.__repr__(each)[2:-1]: "a derived key" for each in map(bytes, made)}
    return {str(secret_key): "SECRET_KEY", **shown, **{each.hex(): "a derived key" for each in made}}


def start_cold() -> None:
    """As in a process that has just begun: what is kept must be made again."""
    stores.reset()
    for cached in (sealing._master, sealing._masters):
        cached.cache_clear()


@cache
def hiding() -> set[Line]:
    """The lines that hide what was sent: with DEBUG on, a report shows it until they are through."""
    source, start = inspect.getsourcelines(wrapping.without_secrets_in_reports)
    return {(str(wrapping.__file__), start + number) for number in range(len(source))}


def crash_at_every_line(
    operation: Callable[[], Any], secrets: Callable[[], dict[str, str]], effort: Effort
) -> tuple[int, Told]:
    """Do it once, and once more for each of the lines that it went through; return how many crashes were reported,
    and what they told."""
    start_cold()
    with Debugger() as debugger:
        operation()
    lines, told, reported = [each for each in debugger.lines if each not in hiding()], Told(), 0
    random.Random(1).shuffle(lines)
    give_up = monotonic() + effort.seconds
    for line in lines:
        if monotonic() > give_up and reported >= effort.least:
            break
        start_cold()
        with crashes() as found, Debugger(line), suppress(Crash):  # after the answer it is no request's
            operation()
        for request, error in found:
            reported += 1
            told.look(variables(error), secrets())
            if reported <= effort.reports and request.resolver_match is not None:
                told.look(reports(request, error), secrets())
    return reported, told


@pytest.fixture(params=["IN_MEMORY", "REDIS"])
def store(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Where sessions live, with the password of its server."""
    fields = server_fields(Valkey) if request.param == "REDIS" else {"persistence_type": request.param}
    with override_login_configuration(**fields):
        yield {fields["redis_password"]: "the password of the store"} if "redis_password" in fields else {}
    start_cold()


@pytest.fixture
def client(settings: Settings, keys: list[str]) -> Client:
    settings.ROOT_URLCONF = __name__
    return Client(raise_request_exception=False)


def log_in(client: Client) -> Any:
    return client.post("/login/", {"username": "ada", "password": PASSWORD})


def log_in_with_a_session(client: Client) -> None:
    client.cookies.clear()
    client.get("/visit/")
    log_in(client)


def log_in_and_out(client: Client) -> None:
    log_in(client)
    client.post("/logout/")


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize(
    "operation",
    [
        log_in_with_a_session,
        log_in_and_out,
        lambda client: client.get("/whoami/"),
        lambda client: client.get("/visit/"),
    ],
    ids=["login", "logout", "page view", "save"],
)
def test_crash_between_the_cookie_and_the_store_tells_nothing(
    store: dict[str, str],
    client: Client,
    keys: list[str],
    operation: Callable[[Client], Any],
    effort: Effort,
) -> None:
    User.objects.create_user("ada", password=PASSWORD)
    log_in(client)
    assert client.get("/whoami/").content == b"ada"
    reported, told = crash_at_every_line(
        lambda: operation(client),
        lambda: {**dict.fromkeys(keys, "a session key"), **store, **derived()},
        effort,
    )
    assert reported >= effort.least
    assert sorted(set(told)) == []


@pytest.mark.parametrize("effort", EFFORTS)
def test_crash_between_the_form_and_the_driver_tells_nothing(
    settings: Settings, keys: list[str], effort: Effort
) -> None:
    require(Valkey)
    staff, client = create_staff("grace", "change_loginconfiguration"), Client(raise_request_exception=False)
    client.force_login(staff)
    fields, password = login_of(Valkey), shared(Valkey).password
    reported, told = crash_at_every_line(
        lambda: save(client, **fields),
        lambda: {password: "the password of the store", **dict.fromkeys(keys, "a session key"), **derived()},
        effort._replace(seconds=3 * effort.seconds),
    )
    assert LoginConfiguration.get_solo().redis_password == password
    assert reported >= effort.least
    assert sorted(set(told)) == []


def test_debugger_finds_a_secret_that_is_not_hidden() -> None:
    """Or the tests above would show nothing."""

    def plain(session_key: str) -> None:
        raise Crash(len(session_key))

    told, secret = Told(), "abcdefgh" * 2
    try:
        plain(secret)
    except Crash:
        error: Any = sys.exc_info()
        told.look(variables(error), {secret: "a session key"})
        told.look(reports(RequestFactory().get("/"), error), {secret: "a session key"})
    assert sum("HTML" in each for each in told) == 2
    assert any(each.endswith(" session_key") for each in told)
