"""“Your sessions”: where a user is logged in, and ending it."""

from __future__ import annotations

import re
from time import time

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from sessionpersist import sessions
from sessionpersist.configuration import logins, reauthentication
from sessionpersist.session.sealing import stored_key
from tests.account.support import DESKTOP, PASSWORD, PHONE, is_logged_in, log_in, text_of

pytestmark = pytest.mark.django_db

LIST, END, OTHERS = (reverse(f"sessionpersist:{name}") for name in ("sessions", "end", "end_others"))


@pytest.fixture
def laptop(ada: User) -> Client:
    return log_in(Client(headers={"User-Agent": DESKTOP}, REMOTE_ADDR="203.0.113.7"))


@pytest.fixture
def phone(laptop: Client) -> Client:
    return log_in(Client(headers={"User-Agent": PHONE}, REMOTE_ADDR="198.51.100.23"))


@pytest.fixture
def bob() -> Client:
    User.objects.create_user("bob", password=PASSWORD)
    return log_in(Client(headers={"User-Agent": PHONE}), "bob")


@pytest.fixture
def later(laptop: Client, phone: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than ten minutes after they have logged in."""
    for module in (logins, reauthentication):
        monkeypatch.setattr(module, "time", lambda: time() + 601)


def page(client: Client) -> str:
    answer = client.get(LIST)
    assert answer.status_code == 200
    return answer.content.decode()


def id_of(client: Client, user: User) -> str:
    """The id of the session of a client."""
    [found] = [each.id for each in sessions.of(user, current=client.session) if each.current]
    return found


class TestList:
    def test_a_device_is_named_in_the_language_of_the_page(self, laptop: Client) -> None:
        assert "Firefox on Linux" in page(laptop)
        assert "Firefox auf Linux" in laptop.get(LIST, headers={"accept-language": "de"}).text

    def test_each_session_has_its_device_and_place_and_this_one_is_marked(
        self, laptop: Client, phone: Client
    ) -> None:
        first, second = re.findall(r"<li>.*?</li>", page(laptop), re.DOTALL)
        assert "Firefox" in first
        assert "203.0.113.0/24" in first
        assert "This device" in first
        assert "Safari" in second
        assert "198.51.100.0/24" in second
        assert "This device" not in second

    def test_this_one_is_ended_by_logging_out_alone(self, laptop: Client) -> None:
        assert "Log out there" not in page(laptop)
        assert "You are logged in nowhere else." in page(laptop)

    def test_nothing_in_it_leads_to_a_session(self, laptop: Client, phone: Client) -> None:
        text = page(laptop)
        for client in (laptop, phone):
            key = client.session.session_key
            assert key
            assert key not in text
            assert stored_key(key) not in text

    def test_nobody_else_is_in_it(self, laptop: Client, bob: Client) -> None:
        assert page(laptop).count("<li>") == page(bob).count("<li>") == 1

    def test_it_is_for_users(self, client: Client) -> None:
        assert client.get(LIST)["Location"] == f"/login/?next={LIST}"
        for address in (END, OTHERS):
            assert client.post(address)["Location"] == f"/login/?next={address}"

    def test_no_cache_keeps_it(self, laptop: Client) -> None:
        assert "no-store" in laptop.get(LIST)["Cache-Control"]

    def test_where_no_list_is_kept_it_says_so_and_nothing_of_other_devices(
        self, settings: Settings, ada: User
    ) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ROSTER": False}
        text = page(log_in(Client()))
        assert "This site keeps no list of sessions." in text
        assert "nowhere else" not in text

    def test_a_session_from_before_there_was_a_list_can_end_the_others(
        self, settings: Settings, ada: User
    ) -> None:
        own = settings.SESSIONPERSIST
        settings.SESSIONPERSIST = {**own, "ROSTER": False}
        before = log_in(Client())
        settings.SESSIONPERSIST = own
        log_in(Client(headers={"User-Agent": PHONE}))
        text = page(before)
        assert "Safari" in text
        assert "Log out everywhere else" in text


class TestEndingOne:
    def test_it_is_over_and_the_user_reads_that(self, laptop: Client, phone: Client, ada: User) -> None:
        answer = laptop.post(END, {"id": id_of(phone, ada)}, follow=True)
        assert answer.redirect_chain == [(LIST, 302)]
        assert re.search(r"Logged out: [^<]*Safari", text_of(answer))
        assert is_logged_in(laptop)
        assert not is_logged_in(phone)
        assert page(laptop).count("<li>") == 1

    def test_a_session_of_somebody_else_is_not_found_and_goes_on(self, laptop: Client, bob: Client) -> None:
        theirs = id_of(bob, User.objects.get(username="bob"))
        assert laptop.post(END, {"id": theirs}).status_code == 404
        assert is_logged_in(bob)

    @pytest.mark.parametrize("sent", [{}, {"id": ""}, {"id": "x" * 10_000}, {"id": "\x00'"}])
    def test_what_is_no_id_is_not_found(self, laptop: Client, phone: Client, sent: dict[str, str]) -> None:
        assert laptop.post(END, sent).status_code == 404
        assert is_logged_in(phone)

    def test_this_one_is_not_found_either(self, laptop: Client, ada: User) -> None:
        assert laptop.post(END, {"id": id_of(laptop, ada)}).status_code == 404
        assert is_logged_in(laptop)

    def test_it_takes_a_post_with_a_token(self, laptop: Client, phone: Client, ada: User) -> None:
        chosen = id_of(phone, ada)
        assert laptop.get(END, {"id": chosen}).status_code == 405
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = laptop.cookies
        assert strict.post(END, {"id": chosen}).status_code == 403
        assert is_logged_in(phone)


class TestEndingAllOthers:
    def test_only_this_one_is_left(self, laptop: Client, phone: Client, bob: Client) -> None:
        tablet = log_in(Client())
        assert "2 other sessions have ended." in text_of(laptop.post(OTHERS, follow=True))
        assert [is_logged_in(each) for each in (laptop, phone, tablet, bob)] == [True, False, False, True]

    def test_it_takes_a_post_with_a_token(self, laptop: Client, phone: Client) -> None:
        assert laptop.get(OTHERS).status_code == 405
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = laptop.cookies
        assert strict.post(OTHERS).status_code == 403
        assert is_logged_in(phone)


class TestPasswordAgain:
    """Where it was not entered in the last minutes."""

    pytestmark = pytest.mark.usefixtures("later")

    @pytest.mark.parametrize("address", [END, OTHERS])
    def test_it_is_asked_for_and_nothing_ends_before(
        self, laptop: Client, phone: Client, ada: User, address: str
    ) -> None:
        chosen = {"id": id_of(phone, ada)}
        asked = laptop.post(address, chosen)
        assert 'autocomplete="current-password"' in text_of(asked)
        assert "sp-error" not in text_of(asked)
        assert is_logged_in(phone)
        assert "Enter your password." in text_of(laptop.post(address, {**chosen, "your_password": ""}))
        wrong = text_of(laptop.post(address, {**chosen, "your_password": "wrong-pw"}))
        assert "This is not your password." in wrong
        assert "wrong-pw" not in wrong
        assert is_logged_in(phone)
        assert laptop.post(address, {**chosen, "your_password": PASSWORD})["Location"] == LIST
        assert not is_logged_in(phone)
        assert is_logged_in(laptop)

    def test_the_session_has_a_new_key_then_and_is_listed_once(
        self, laptop: Client, phone: Client, ada: User
    ) -> None:
        before = laptop.cookies["sessionid"].value
        laptop.post(END, {"id": id_of(phone, ada), "your_password": PASSWORD})
        assert laptop.cookies["sessionid"].value != before
        assert page(laptop).count("<li>") == 1

    def test_it_is_asked_for_once_in_ten_minutes(self, laptop: Client, phone: Client, ada: User) -> None:
        laptop.post(END, {"id": id_of(phone, ada), "your_password": PASSWORD})
        tablet = log_in(Client())
        assert laptop.post(OTHERS)["Location"] == LIST
        assert not is_logged_in(tablet)

    def test_too_many_wrong_ones_have_to_wait(self, laptop: Client, phone: Client, ada: User) -> None:
        chosen = {"id": id_of(phone, ada)}
        for _ in range(5):
            laptop.post(END, {**chosen, "your_password": "wrong-pw"})
        answer = laptop.post(END, {**chosen, "your_password": PASSWORD})
        assert answer.status_code == 429
        assert "Too many wrong passwords." in text_of(answer)
        assert is_logged_in(phone)
        assert {each.object_repr for each in LogEntry.objects.filter(user=ada)} == {"Your sessions"}

    def test_whoever_has_no_password_here_has_to_have_logged_in_lately(
        self, ada: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ada.set_unusable_password()
        ada.save()
        client, other = Client(), Client()
        for each in (client, other):
            each.force_login(ada)
        monkeypatch.setattr(reauthentication, "time", lambda: time() + 601)
        assert "You logged in too long ago." in text_of(client.post(OTHERS))
        assert is_logged_in(other)


def test_whoever_has_no_password_here_and_has_just_logged_in_is_asked_nothing(ada: User) -> None:
    ada.set_unusable_password()
    ada.save()
    client, other = Client(), Client()
    for each in (client, other):
        each.force_login(ada)
    assert client.post(OTHERS)["Location"] == LIST
    assert not is_logged_in(other)
