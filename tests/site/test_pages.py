"""The site as a browser sees it."""

import os
import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

import project.views
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.models import LoginConfiguration

PASSWORD = "correct horse battery staple"

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ada", password=PASSWORD)


@pytest.fixture
def staff() -> User:
    return User.objects.create_superuser("grace", password=PASSWORD)


def log_in(client: Client, user: User) -> None:
    response = client.post(reverse("login"), {"username": user.username, "password": PASSWORD})
    assert response.status_code == 302
    assert response["Location"] == reverse("home")


def text(client: Client, address: str = "/") -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def shown(page: str, element: str) -> str | None:
    found = re.search(rf'id="{element}">([^<]*)<', page)
    return found[1] if found else None


def test_an_anonymous_visitor_is_told_so_and_gets_no_session(client: Client) -> None:
    page = text(client)
    assert "You are not logged in" in page
    assert shown(page, "visits") is None
    assert not client.cookies


def test_after_login_the_page_names_the_user_and_counts_visits(client: Client, user: User) -> None:
    log_in(client, user)
    first, second = text(client), text(client)
    assert shown(first, "user") == "ada"
    assert (shown(first, "visits"), shown(second, "visits")) == ("1", "2")


def test_two_sessions_of_one_user_count_apart(user: User) -> None:
    laptop, phone = Client(), Client()
    log_in(laptop, user)
    log_in(phone, user)
    text(laptop)
    assert (shown(text(laptop), "visits"), shown(text(phone), "visits")) == ("2", "1")


def test_the_page_names_node_process_and_store(client: Client, settings: Settings) -> None:
    settings.SESSIONPERSIST = settings.SESSIONPERSIST | {"NODE_NAME": "web-7"}
    page = text(client)
    assert shown(page, "node") == "web-7"
    assert shown(page, "process") == str(os.getpid())
    assert (shown(page, "store") or "").strip() == "In-Memory"


def test_only_staff_see_the_address_of_the_store_and_where_to_change_it(
    monkeypatch: pytest.MonkeyPatch, client: Client, user: User, staff: User
) -> None:
    monkeypatch.setattr(
        project.views, "describe_store", lambda: ("REDIS", "REDIS at 10.0.0.7:6379, database 0")
    )
    secret, link = "10.0.0.7", "/admin/sessionpersist/loginconfiguration/"

    log_in(client, user)
    page = text(client)
    assert secret not in page
    assert link not in page

    client.logout()
    log_in(client, staff)
    page = text(client)
    assert secret in page
    assert link in page


def test_a_configuration_that_cannot_be_read_is_an_unknown_store(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    def unavailable() -> None:
        raise StoreUnavailable("The database does not answer.")

    monkeypatch.setattr(project.views, "current_settings", unavailable)
    assert shown(text(client), "store") == "unknown"


def test_logging_out_ends_the_session(client: Client, user: User) -> None:
    log_in(client, user)
    response = client.post(reverse("logout"))
    assert response["Location"] == reverse("home")
    assert "You are not logged in" in text(client)


def test_logging_out_needs_a_post(client: Client, user: User) -> None:
    log_in(client, user)
    assert client.get(reverse("logout")).status_code == 405
    assert shown(text(client), "user") == "ada"


def test_a_wrong_password_is_an_error_and_makes_no_session(client: Client, user: User) -> None:
    response = client.post(reverse("login"), {"username": user.username, "password": "wrong"})
    assert response.status_code == 200
    assert 'role="alert"' in response.content.decode()
    assert "sessionid" not in client.cookies


def test_login_leads_on_to_where_the_visitor_wanted_to_go(client: Client, staff: User) -> None:
    wanted = reverse("admin:index")
    assert f'name="next" value="{wanted}"' in text(client, f"{reverse('login')}?next={wanted}")
    response = client.post(
        reverse("login"), {"username": staff.username, "password": PASSWORD, "next": wanted}
    )
    assert response["Location"] == wanted


def test_a_login_without_a_csrf_token_is_refused_with_a_page_of_the_site(user: User) -> None:
    response = Client(enforce_csrf_checks=True).post(
        reverse("login"), {"username": user.username, "password": PASSWORD}
    )
    assert response.status_code == 403
    assert "This form is out of date" in response.content.decode()


def test_the_health_check_asks_neither_database_nor_session(
    client: Client, user: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    log_in(client, user)
    with django_assert_num_queries(0):
        response = client.get("/healthz")
    assert (response.status_code, response["Content-Type"], response.content) == (200, "text/plain", b"ok")
    assert not response.wsgi_request.session.accessed
    assert "Cookie" not in response.get("Vary", "")


@pytest.mark.urls("tests.site.failing_urls")
@pytest.mark.parametrize(
    ("address", "status", "sentence"),
    [
        ("/missing", 404, "There is no page at this address."),
        ("/forbidden", 403, "You may not see this page"),
        ("/broken", 500, "Something went wrong"),
    ],
)
def test_an_error_page_asks_for_no_session(user: User, address: str, status: int, sentence: str) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    response = client.get(address)
    assert response.status_code == status
    assert sentence in response.content.decode()
    assert not response.wsgi_request.session.accessed


def test_staff_are_told_what_to_try_with_a_link_to_each_node(
    client: Client, staff: User, settings: Settings
) -> None:
    log_in(client, staff)
    page = text(client)
    assert "See for yourself" in page
    assert "another node or process may answer" in page
    settings.NODE_URLS = ["http://127.0.0.1:8001", "http://127.0.0.1:8002"]
    page = text(client)
    assert [url for url in settings.NODE_URLS if f'<a href="{url}/">{url[7:]}</a>' not in page] == []
    assert "may answer" not in page


def test_others_are_not_told_what_to_try(client: Client, user: User) -> None:
    log_in(client, user)
    assert "See for yourself" not in text(client)


@pytest.mark.parametrize(
    ("language", "frame", "said", "admin"),
    [
        ("de", '<html lang="de" dir="ltr">', "Sie sind angemeldet als", "Login-Konfiguration"),
        ("ar", '<html lang="ar" dir="rtl">', "أنت مسجّل الدخول باسم", "إعداد تسجيل الدخول"),
    ],
)
def test_the_pages_are_in_the_language_of_the_browser(
    client: Client, staff: User, language: str, frame: str, said: str, admin: str
) -> None:
    log_in(client, staff)
    page = client.get("/", headers={"accept-language": language}).text
    assert [each for each in (frame, said, admin) if each not in page] == []
    assert shown(page, "visits") == "1"
    missing = client.get("/missing", headers={"accept-language": language}).text
    assert frame in missing
    assert "There is no page at this address." not in missing


@pytest.mark.usefixtures("switches_at_once")
def test_after_a_switch_the_page_says_which_store_still_holds_sessions(client: Client, user: User) -> None:
    log_in(client, user)
    assert shown(text(client), "moving") is None
    LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
    page = text(client)
    assert (shown(page, "store"), shown(page, "moving")) == ("JDBC", "In-Memory")
    assert shown(page, "visits") == "2"
