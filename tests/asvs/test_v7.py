"""OWASP ASVS 5.0.0, chapter V7, “Session Management”: a test for each requirement, named after it.

What each requirement says in brief, and what meets it, is in docs/reference/asvs.md. All is asked of a whole site: by
HTTP, the public API and the commands.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from sessionpersist import sessions
from sessionpersist.configuration import logins, reauthentication
from sessionpersist.handover import snapshot
from sessionpersist.models import LoginConfiguration
from sessionpersist.session.policy import HOUR, MINUTE
from sessionpersist.session.reasons import Reason
from sessionpersist.testing import override_login_configuration
from tests.commands.running import run
from tests.engine.behaviour.time_outs import Clock, put_forward
from tests.load.site import ROOT

pytestmark = pytest.mark.django_db

PASSWORD, ANOTHER = "compiler-1952", "nanoseconds-1983"
LOGIN, HOME = reverse("login"), reverse("home")
POLICY = reverse("admin:sessionpersist_loginconfiguration_changelist")
REMOTE = "django.contrib.auth.backends.RemoteUserBackend"


@pytest.fixture(autouse=True)
def own_settings(settings: Settings, tmp_path: Path) -> Iterator[None]:
    settings.SESSIONPERSIST = {"MEMORY_DIR": tmp_path / "m", "ACTIVATION_SECONDS": 0, "GUARD_SECONDS": 0}
    snapshot.reset()
    yield
    snapshot.reset()


@pytest.fixture
def grace(db: None) -> User:
    return User.objects.create_user("grace.hopper", "grace@example.org", PASSWORD)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return put_forward(monkeypatch)


@pytest.fixture
def decided() -> Iterator[Any]:
    """What staff decide, from now on."""
    with ExitStack() as decisions:

        def decide(**policy: Any) -> None:
            decisions.enter_context(override_login_configuration(**policy))

        yield decide


def logged_in(user: User, password: str = PASSWORD) -> Client:
    """A browser of its own, in which a user has filled in the login form."""
    client = Client()
    assert client.post(LOGIN, {"username": user.get_username(), "password": password}).status_code == 302
    return client


def is_in(client: Client) -> bool:
    return "You are logged in as" in client.get(HOME).text


def key_of(client: Client) -> str:
    return client.cookies["sessionid"].value


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("warden", password=PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return logged_in(user)


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Since the password was entered last."""
    for module in (logins, reauthentication):
        before = vars(module)["time"]
        monkeypatch.setattr(module, "time", lambda before=before: before() + seconds)


@pytest.fixture
def single_sign_on(settings: Settings, grace: User) -> User:
    """A user who has no password here."""
    settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, REMOTE]
    grace.set_unusable_password()
    grace.save()
    return grace


# V7.1 Documentation


def test_7_1_1_time_outs_are_documented_and_can_be_told_of_the_running_site(decided: Any) -> None:
    LoginConfiguration(idle_minutes=15, absolute_hours=12).save()
    found = json.loads(run("login_configuration", "show", "--json").output)["policy"]
    assert (found["idle_minutes"], found["absolute_hours"]) == (15, 12)
    documented = page("reference/asvs.md")
    for each in ("idle_minutes", "absolute_hours", "remember_days", "NIST SP 800-63B"):
        assert each in documented


def test_7_1_2_how_many_sessions_a_user_may_have_is_documented_and_can_be_told(decided: Any) -> None:
    LoginConfiguration(max_sessions=2, at_limit="REFUSE").save()
    found = json.loads(run("login_configuration", "show", "--json").output)["policy"]
    assert (found["max_sessions"], found["at_limit"]) == (2, "REFUSE")
    documented = page("reference/settings.md")
    for each in ("`max_sessions`", "`at_limit`", "`REFUSE`", "used least recently"):
        assert each in documented


def test_7_1_3_sessions_of_single_sign_on_are_documented_and_are_sessions_like_any_other(
    single_sign_on: User,
) -> None:
    client = Client()
    client.force_login(single_sign_on, REMOTE)
    (found,) = sessions.of(single_sign_on)
    assert found.id
    assert "single sign-on" in page("reference/asvs.md")


# V7.2 Fundamentals


def test_7_2_1_a_token_is_verified_on_the_server_alone(grace: User) -> None:
    client = logged_in(grace)
    for forged in ("", "0" * 32, key_of(client)[:-1], key_of(client) + "0", key_of(client).upper()):
        other = Client()
        other.cookies["sessionid"] = forged
        assert not is_in(other)
    assert is_in(client)


def test_7_2_2_tokens_are_drawn_for_each_session(grace: User) -> None:
    assert len({key_of(logged_in(grace)) for _ in range(5)}) == 5


def test_7_2_3_a_token_is_random_and_long_enough(grace: User) -> None:
    key = key_of(logged_in(grace))
    assert re.fullmatch("[0-9a-z]+", key)
    assert len(key) * math.log2(36) >= 128
    keys = [key_of(logged_in(grace)) for _ in range(20)]
    assert all(len(set(column)) > 1 for column in zip(*keys, strict=True)), "no character is always the same"


def test_7_2_4_a_login_and_a_password_entered_again_draw_another_token(
    grace: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    client.session.save()  # somebody who is not logged in has one, too
    before = key_of(client)
    client.post(LOGIN, {"username": "grace.hopper", "password": PASSWORD})
    assert key_of(client) != before
    assert not is_in(with_key(before))

    warden = staff("change_loginconfiguration")
    pass_time(monkeypatch, 601)
    before = key_of(warden)
    form = warden.get(POLICY).context["form"]
    data = form.data_of(LoginConfiguration.get_solo()) | {"idle_minutes": 30, "your_password": PASSWORD}
    assert warden.post(POLICY, data).status_code == 302
    assert key_of(warden) != before
    assert not is_in(with_key(before))


def with_key(key: str) -> Client:
    client = Client()
    client.cookies["sessionid"] = key
    return client


# V7.3 Time-outs


def test_7_3_1_a_user_who_does_nothing_has_to_log_in_again(grace: User, decided: Any, clock: Clock) -> None:
    decided(idle_minutes=15)
    client, active = logged_in(grace), logged_in(grace)
    for _ in range(2):
        clock.passes(8 * MINUTE)
        assert is_in(active)
    assert not is_in(client)


def test_7_3_2_a_user_has_to_log_in_again_however_active(grace: User, decided: Any, clock: Clock) -> None:
    decided(idle_minutes=60, absolute_hours=2)
    client = logged_in(grace)
    for _ in range(3):
        clock.passes(HOUR // 2)
        assert is_in(client)
    clock.passes(HOUR // 2 + MINUTE)
    assert not is_in(client)
    assert is_in(logged_in(grace))


# V7.4 Termination


def test_7_4_1_nobody_uses_a_session_after_its_logout(grace: User) -> None:
    client = logged_in(grace)
    key = key_of(client)
    client.post(reverse("logout"))
    assert not is_in(with_key(key))
    assert sessions.of(grace) == []


@pytest.mark.parametrize("how", ["switched off", "deleted"])
def test_7_4_2_the_sessions_of_an_account_end_with_it(
    grace: User, how: str, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    clients, pk = [logged_in(grace), logged_in(grace)], grace.pk
    with django_capture_on_commit_callbacks(execute=True):
        if how == "deleted":
            grace.delete()
        else:
            grace.is_active = False
            grace.save()
    assert not any(map(is_in, clients))
    assert sessions.of(pk) == []


def test_7_4_3_a_new_password_ends_the_other_sessions(grace: User) -> None:
    mine, other = logged_in(grace), logged_in(grace)
    grace.set_password(ANOTHER)
    grace.save()
    assert not is_in(other)
    assert not any(each.id for each in sessions.of(grace))
    assert is_in(logged_in(grace, ANOTHER))
    assert not is_in(mine)


def test_7_4_4_every_page_has_a_button_to_log_out(grace: User) -> None:
    client, warden = logged_in(grace), staff("view_loginconfiguration", "view_sessions")
    action = f'action="{reverse("logout")}"'
    assert action in client.get(HOME).text
    admin = reverse("admin:logout")
    for address in (POLICY, reverse("admin:sessionpersist_sessions_changelist")):
        assert f'action="{admin}"' in warden.get(address).text


def test_7_4_5_staff_end_the_sessions_of_a_user_and_of_everybody(grace: User) -> None:
    hers, other = logged_in(grace), logged_in(User.objects.create_user("other", password=PASSWORD))
    warden = staff("view_sessions", "end_sessions", "end_all_sessions")
    warden.post(reverse("admin:sessionpersist_sessions_end", args=[grace.pk]))
    assert (is_in(hers), is_in(other)) == (False, True)
    warden.post(reverse("admin:sessionpersist_sessions_everybody"))
    snapshot.expire()
    assert not any(map(is_in, (other, warden)))


# V7.5 Abuse


def test_7_5_1_who_decides_about_logins_enters_the_password_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the attributes of an account the app has none: its own pages and settings are what may affect logins."""
    warden = staff("change_loginconfiguration")
    pass_time(monkeypatch, 601)
    form = warden.get(POLICY).context["form"]
    data = form.data_of(LoginConfiguration.get_solo()) | {"idle_minutes": 30}
    assert "Enter your password." in warden.post(POLICY, data).text
    assert "This is not your password." in warden.post(POLICY, data | {"your_password": "wrong"}).text
    assert LoginConfiguration.get_solo().idle_minutes is None
    assert warden.post(POLICY, data | {"your_password": PASSWORD}).status_code == 302


def test_7_5_2_users_see_their_sessions_and_end_them_once_they_have_entered_the_password_again(
    grace: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = logged_in(grace), logged_in(grace)
    (there,) = [each for each in sessions.of(grace, mine.session) if not each.current]
    page = reverse("sessionpersist:sessions")
    assert there.id in mine.get(page).text
    pass_time(monkeypatch, 601)
    end, named = reverse("sessionpersist:end"), {"id": there.id}
    mine.post(end, named)
    assert is_in(other)
    mine.post(end, named | {"your_password": PASSWORD})
    assert (is_in(mine), is_in(other)) == (True, False)

    others = [logged_in(grace), logged_in(grace)]
    mine.post(reverse("sessionpersist:end_others"))
    assert [is_in(each) for each in (mine, *others)] == [True, False, False]


def test_7_5_3_everybody_is_logged_out_only_after_the_password_again(
    grace: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    hers, warden = logged_in(grace), staff("view_sessions", "end_all_sessions")
    everybody = reverse("admin:sessionpersist_sessions_everybody")
    pass_time(monkeypatch, 601)
    assert "Enter your password." in warden.post(everybody).text
    snapshot.expire()
    assert is_in(hers)
    warden.post(everybody, {"your_password": PASSWORD})  # which ends the session of this answer, too
    snapshot.expire()
    assert not is_in(hers)


# V7.6 Federated logins


def test_7_6_1_a_session_of_single_sign_on_ends_by_the_policy_and_with_the_provider(
    single_sign_on: User, decided: Any, clock: Clock
) -> None:
    decided(absolute_hours=1)
    first, second = Client(), Client()
    first.force_login(single_sign_on, REMOTE)
    clock.passes(HOUR - MINUTE)
    assert is_in(first)
    second.force_login(single_sign_on, REMOTE)
    clock.passes(2 * MINUTE)
    assert (is_in(first), is_in(second)) == (False, True)
    assert sessions.end_all(single_sign_on, reason=Reason.UNKNOWN) == 1  # as a back-channel logout would
    assert not is_in(second)


def test_7_6_2_a_session_begins_with_a_login_alone(grace: User, client: Client) -> None:
    client.get(LOGIN)
    client.get(LOGIN, {"username": "grace.hopper", "password": PASSWORD})
    assert not is_in(client)
    assert sessions.of(grace) == []
    logged_in(grace)
    assert len(sessions.of(grace)) == 1
