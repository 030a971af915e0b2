"""The panels and their buttons: the handover, the nodes, the history, and switching back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now
from django.db.models.sql.compiler import SQLCompiler
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.configuration.panels.handover import Moving, read_handover
from sessionpersist.configuration.panels.history import read_history
from sessionpersist.configuration.views import draining as draining_views
from sessionpersist.engine import SessionStore
from sessionpersist.handover import draining, routing, snapshot
from sessionpersist.models import LoginConfiguration, Node, Revision
from sessionpersist.stores import open_store
from tests.admin.support import PAGE, STATUS, create_staff, login_of, start_over
from tests.admin.test_page import JSON, text_of
from tests.engine.support import new_session
from tests.servers import Valkey
from tests.servers.places import free_port

pytestmark = pytest.mark.django_db

PROGRESS = reverse("admin:sessionpersist_loginconfiguration_progress")
JDBC = {"persistence_type": "JDBC", "jdbc_database": "default"}
MEMORY = {"persistence_type": "IN_MEMORY"}
DEAD = {"persistence_type": "REDIS", "redis_host": "127.0.0.1"}


@pytest.fixture(autouse=True)
def at_once(db: None, settings: Settings, tmp_path: Path) -> Iterator[None]:
    """Switches happen at once, and the site is as it is after migrating."""
    settings.SESSIONPERSIST = {
        "MEMORY_DIR": str(tmp_path),
        "KEY_PREFIX": tmp_path.name,
        "ACTIVATION_SECONDS": 0,
        "GUARD_SECONDS": 0,
        "NODE_NAME": "node-1",
    }
    start_over()
    snapshot.reset()
    yield
    snapshot.reset()


@pytest.fixture
def clock_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the database's clock show one moment, so that an age is the same however long a page takes."""
    now = timezone.now()

    def as_sqlite(self: Now, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        return "%s", [connection.ops.adapt_datetimefield_value(now)]

    monkeypatch.setattr(Now, "as_sqlite", as_sqlite)


def choose(**fields: Any) -> int:
    """Choose a store, as by the command; return the number of the revision."""
    configuration = LoginConfiguration.get_solo()
    for name, value in fields.items():
        setattr(configuration, name, int(value) if name == "redis_database" else value)
    configuration.save(saved_by="grace")
    Revision.objects.in_force()  # in a test nothing is ever committed: who reads it first sets its time
    number: int = Revision.objects.latest("pk").pk
    return number


def leave_memory() -> None:
    """Nothing is left to move from where a site begins."""
    Revision.objects.filter(persistence_type="IN_MEMORY").update(drained_at=Now(), drained_how="drained")


def log_in_again(browser: Client) -> None:
    """The old store is dead, and the session of the staff in it with it."""
    browser.cookies.clear()
    browser.force_login(User.objects.get(username="ada"))


def fill(sessions: int) -> None:
    for _ in range(sessions):
        new_session(cat="tabby")


def url(name: str, number: int) -> str:
    return reverse(f"admin:sessionpersist_loginconfiguration_{name}", args=[number])


def node(name: str, process: int = 1, *, revision: int, **ago: float) -> None:
    Node.objects.create(name=name, process=process, revision=revision, seen_at=Now() - timedelta(**ago))


def levels_of(response: Any) -> list[str]:
    """How grave the messages of a page are."""
    return [message.level_tag for message in response.context["messages"]]


def text_of_html(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


def log_of() -> list[str]:
    return [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]


class TestHandover:
    def test_none_was_ever_going_on(self, browser: Client) -> None:
        text = text_of(browser.get(PROGRESS))
        assert "No handover is going on" in text
        assert "Move the rest now" not in text

    def test_it_says_from_where_to_where_since_when_and_how_many_are_left(self, browser: Client) -> None:
        choose(**JDBC)
        fill(7)
        choose(**login_of(Valkey))
        text = text_of(browser.get(PROGRESS))
        assert re.search(
            r"From JDBC, database “default” → to REDIS at 127.0.0.1:\d+, database 0 since ", text
        )
        left = int(re.search(r"(\d+) of (\d+) sessions left 0 % moved", text)[1])  # type: ignore[index]
        assert left >= 7
        page = browser.get(PROGRESS).content.decode()
        assert f'<progress class="sp-bar" aria-label="Sessions moved" value="0" max="{left}">' in page

    def test_too_many_to_be_counted_quickly_are_told_as_at_least_so_many(
        self, browser: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        choose(**JDBC)
        fill(7)
        number = choose(**login_of(Valkey))
        monkeypatch.setattr(draining, "COUNT_AT_MOST", 5)
        text = text_of(browser.get(PROGRESS))
        assert "at least 5 sessions left" in text
        assert " % moved" not in text[text.index("at least 5") : text.index("From In-Memory")]
        asked = text_of(browser.get(url("abandon", number - 1)))
        assert "at least 5 sessions have not moved; their users are logged out." in asked

    @pytest.mark.parametrize(("left", "percent"), [(1000, 0), (501, 49), (1, 99), (0, 100)])
    def test_it_is_not_100_percent_before_all_has_moved(self, left: int, percent: int) -> None:
        counted = draining.Left(left, more=False, most=1000)
        assert Moving(1, "JDBC", timezone.now(), per_node=False, left=counted).percent == percent

    def test_the_page_itself_counts_only_when_asked(
        self, browser: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        choose(**JDBC)
        fill(2)
        choose(**MEMORY)
        assert re.search(r"\d+ of \d+ sessions left", text_of(browser.get(f"{PAGE}?check=now")))
        monkeypatch.setattr(draining.Draining, "left", lambda self: pytest.fail("the store was asked"))
        assert "Count what is left" in text_of(browser.get(PAGE))

    def test_several_switches_in_a_row_are_all_shown_newest_first(self, browser: Client) -> None:
        fill(1)
        choose(**JDBC)
        fill(1)
        choose(**login_of(Valkey))
        text = text_of(browser.get(PROGRESS))
        assert text.index("From JDBC, database “default”") < text.index("From In-Memory of every node")

    def test_an_old_store_that_is_dead_is_told_with_its_consequence(self, browser: Client) -> None:
        choose(**DEAD, redis_port=free_port())
        choose(**JDBC)
        log_in_again(browser)
        text = text_of(browser.get(PROGRESS))
        assert "refused" in text
        assert "users whose session has not moved get a 503 until it is back or abandoned" in text
        assert "Abandon the old store" in text

    def test_a_switch_to_come_is_announced_and_the_rest_waits_for_it(
        self, browser: Client, settings: Settings
    ) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 30}
        choose(**JDBC)
        text = text_of(browser.get(PAGE))
        assert re.search(r"Switches to JDBC, database “default” in (29|30) s", text)
        assert "No handover is going on." in text

    def test_memory_is_told_to_be_of_each_node(self, browser: Client) -> None:
        fill(1)
        number = choose(**JDBC)
        node("node-2", revision=number, seconds=0)
        text = text_of(browser.get(PROGRESS))
        assert "The button moves the sessions of the node that serves the request." in text
        assert "node-1 1 left node-2 has not reported since the switch" in text

    def test_who_may_only_look_sees_it_without_buttons(self) -> None:
        client = Client()
        choose(**JDBC)
        fill(2)
        client.force_login(create_staff("eve", "view_loginconfiguration"))
        choose(**login_of(Valkey))
        for page in (PAGE, PROGRESS):
            text = text_of(client.get(page))
            assert "From JDBC" in text
            for button in ("Move the rest now", "Abandon", "Switch back"):
                assert button not in text


class TestMemoryOfEachNode:
    """What another node holds is known by what it has reported: its memory can't be asked from here."""

    @pytest.fixture
    def left(self) -> int:
        """The site has left In-Memory, and the memory of this node is empty."""
        Revision.objects.filter(pk=choose(**MEMORY)).update(activates_at=Now() - timedelta(hours=1))
        number: int = Revision.objects.earliest("pk").pk
        later = choose(**JDBC)
        Revision.objects.filter(pk=later).update(activates_at=Now() - timedelta(minutes=5))
        node("node-1", revision=later, seconds=3)
        return number

    @staticmethod
    def reports(name: str, left: int | None, *, revision: int, **ago: float) -> None:
        seen_at = Now() - timedelta(**ago)
        Node.objects.create(name=name, process=1, revision=revision, left=left, seen_at=seen_at)

    @pytest.mark.usefixtures("clock_stands_still")
    def test_the_page_of_an_empty_node_shows_the_total_and_what_each_holds(
        self, browser: Client, left: int
    ) -> None:
        self.reports("node-2", 3000, revision=left + 1, seconds=12)
        self.reports("node-3", 10, revision=left + 1, minutes=2)
        text = text_of(browser.get(PROGRESS))
        assert "From In-Memory of every node → to JDBC" in text
        assert "3,010 of 3,010 sessions left 0 % moved" in text
        assert "node-1 0 left" in text
        assert "node-2 3,000 left, reported 12 s ago" in text
        assert "node-3 10 left, reported 2 min ago" in text
        assert "Nothing is left to move on the node that served this page." in text
        assert "End the handover" not in text
        self.moves_on_and_is_seen_to(browser, left)

    def moves_on_and_is_seen_to(self, browser: Client, left: int) -> None:
        Node.objects.filter(name="node-2").update(left=1000, seen_at=Now())
        assert "1,010 of 3,010 sessions left 66 % moved" in text_of(browser.get(PROGRESS))

    @pytest.mark.usefixtures("clock_stands_still")
    def test_to_abandon_it_names_the_total_and_how_old_the_figures_are(
        self, browser: Client, left: int
    ) -> None:
        self.reports("node-2", 3000, revision=left + 1, seconds=12)
        self.reports("node-3", 10, revision=left + 1, minutes=2)
        text = text_of(browser.get(url("abandon", left)))
        assert "Abandon In-Memory of every node?" in text
        assert "3,010 sessions have not moved; their users are logged out." in text
        assert "the oldest figure was reported 2 min ago." in text
        assert "node-2 3,000 left, reported 12 s ago" in text

    def test_a_node_that_has_not_reported_since_the_switch_is_named(self, browser: Client, left: int) -> None:
        self.reports("node-2", 7, revision=left + 1, seconds=12)
        self.reports("node-3", None, revision=left, minutes=20)
        text = text_of(browser.get(PROGRESS))
        assert "at least 7 sessions left" in text
        assert "node-3 has not reported since the switch" in text
        text = text_of(browser.get(url("abandon", left)))
        assert "at least 7 sessions have not moved; their users are logged out." in text
        assert "These nodes have not reported since the switch and are not included: node-3." in text

    def test_where_none_has_reported_the_dialog_does_not_say_0(self, browser: Client, left: int) -> None:
        self.reports("node-2", None, revision=left, minutes=20)
        text = text_of(browser.get(PROGRESS))
        assert "No session is left on the nodes that have reported." in text
        assert "Move the rest now" in text
        text = text_of(browser.get(url("abandon", left)))
        assert "Every user whose session has not moved is logged out." in text
        assert "0 sessions" not in text

    def test_what_was_reported_before_the_switch_does_not_count(self, browser: Client, left: int) -> None:
        self.reports("node-2", 0, revision=left + 1, minutes=6)
        self.reports("node-3", 0, revision=left, seconds=1)
        text = text_of(browser.get(PROGRESS))
        assert "node-2 has not reported" in text
        assert "node-3 has not reported" in text

    def test_a_step_on_an_empty_node_says_so_and_ends_nothing(self, browser: Client, left: int) -> None:
        self.reports("node-2", 3000, revision=left + 1, seconds=12)
        answer = browser.post(url("drain", left), headers=JSON).json()
        assert (answer["over"], answer["moved"]) == (False, 0)
        assert answer["message"] == "Nothing is left to move on this node."
        assert "3,000 of 3,000 sessions left" in text_of_html(answer["facts"])

    def test_once_every_node_has_reported_that_it_is_empty_the_handover_is_ended(
        self, browser: Client, left: int
    ) -> None:
        self.reports("node-2", 0, revision=left + 1, seconds=12)
        text = text_of(browser.get(PROGRESS))
        assert "No session is left here." in text
        assert "End the handover" in text
        assert browser.post(url("drain", left), headers=JSON).json()["over"] is True
        assert Revision.objects.get(pk=left).drained_how == "drained"


class TestMovingTheRest:
    def test_each_step_is_short_and_tells_the_script_how_far_it_is(
        self, browser: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(draining_views, "STEP_SECONDS", 0)
        number = choose(**JDBC)
        leave_memory()
        fill(230)
        sessions = [new_session(cat="tom")]
        choose(**login_of(Valkey))
        answers: list[dict[str, Any]] = []
        while not answers or not answers[-1]["over"]:
            answers.append(browser.post(url("drain", number), headers=JSON).json())
        assert len(answers) >= 3
        assert {answer["state"] for answer in answers} == {"moved"}
        assert sum(answer["moved"] for answer in answers) >= 231
        assert re.search(r'<progress[^>]* value="\d+" max="\d+">', answers[0]["facts"])
        assert answers[-1]["message"] == "The handover from JDBC, database “default” is over."
        assert SessionStore(sessions[0].session_key)["cat"] == "tom"
        text = text_of(browser.get(PAGE))
        assert re.search(r"all moved \d+ s ago", text)
        assert re.search(r"✓ The handover is over \d+ s ago No session is left in JDBC", text)

    def test_the_log_has_one_entry_for_all_steps_which_names_the_store(
        self, browser: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(draining_views, "STEP_SECONDS", 0)
        number = choose(**login_of(Valkey))
        fill(230)
        choose(**JDBC)
        while not browser.post(url("drain", number), headers=JSON).json()["over"]:
            pass
        browser.post(url("drain", number), headers=JSON)
        [entry] = log_of()
        assert re.fullmatch(
            r"Moved the rest of the sessions out of REDIS at 127.0.0.1:\d+, database 0\.", entry
        )

    def test_without_the_script_one_session_is_one(
        self, browser: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(draining_views, "STEP_SECONDS", 0)
        monkeypatch.setattr(draining.Draining.batches, "__defaults__", (1,))
        number = choose(**JDBC)
        leave_memory()
        fill(3)
        choose(**login_of(Valkey))
        text = text_of(browser.post(url("drain", number), follow=True))
        assert "1 session moved; left: " in text

    def test_without_the_script_a_press_is_a_step_and_the_page_says_how_many_are_left(
        self, browser: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(draining_views, "STEP_SECONDS", 0)
        number = choose(**JDBC)
        leave_memory()
        fill(130)
        choose(**login_of(Valkey))
        response = browser.post(url("drain", number), follow=True)
        text = text_of(response)
        assert re.search(r"100 sessions moved; left: 3\d\.", text)
        assert re.search(r"3\d of 13\d sessions left", text)
        assert levels_of(response) == ["info"]
        response = browser.post(url("drain", number), follow=True)
        assert "The handover from JDBC, database “default” is over." in text_of(response)
        assert levels_of(response) == ["success"]

    def test_after_a_step_too_many_to_be_counted_are_still_told_as_at_least_so_many(
        self, browser: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(draining_views, "STEP_SECONDS", 0)
        monkeypatch.setattr(draining.Draining.batches, "__defaults__", (1,))
        number = choose(**JDBC)
        leave_memory()
        fill(7)
        choose(**login_of(Valkey))
        monkeypatch.setattr(draining, "COUNT_AT_MOST", 5)
        assert "at least 5" in browser.post(url("drain", number), headers=JSON).json()["facts"]

    def test_a_store_that_is_down_is_told_and_stays(self, browser: Client) -> None:
        number = choose(**DEAD, redis_port=free_port())
        choose(**JDBC)
        log_in_again(browser)
        answer = browser.post(url("drain", number), headers=JSON).json()
        assert (answer["state"], answer["over"]) == ("failed", False)
        assert "refused" in answer["message"]
        response = browser.post(url("drain", number), follow=True)
        assert "refused" in text_of(response)
        assert levels_of(response) == ["warning"]
        assert log_of() == []

    def test_near_a_switch_the_script_is_told_to_wait(self, browser: Client, settings: Settings) -> None:
        number = choose(**JDBC)
        fill(1)
        choose(**login_of(Valkey))
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 30}
        choose(**MEMORY)
        answer = browser.post(url("drain", number), headers=JSON).json()
        assert (answer["state"], answer["over"]) == ("wait", False)
        assert "has not happened yet" in answer["message"]

    def test_what_is_over_already_is_no_fault(self, browser: Client) -> None:
        assert browser.post(url("drain", 4711), headers=JSON).json()["over"] is True
        assert "is over already" in text_of(browser.post(url("drain", 4711), follow=True))


class TestAbandoning:
    def test_it_is_asked_first_with_what_it_means(self, browser: Client) -> None:
        number = choose(**JDBC)
        fill(3)
        choose(**login_of(Valkey))
        text = text_of(browser.get(url("abandon", number)))
        assert "Abandon JDBC, database “default”?" in text
        assert re.search(r"\d sessions have not moved; their users are logged out\.", text)
        assert "This cannot be undone" in text
        assert "“Move the rest now” would log nobody out." in text
        assert Revision.objects.get(pk=number).drained_at is None

    def test_then_it_is_done_and_logged_with_the_store(self, browser: Client) -> None:
        number = choose(**DEAD, redis_port=free_port())
        leave_memory()
        choose(**JDBC)
        log_in_again(browser)
        assert "The store does not answer, so the number is not known." in text_of(
            browser.get(url("abandon", number))
        )
        text = text_of(browser.post(url("abandon", number), follow=True))
        assert re.search(r"REDIS at 127.0.0.1:\d+, database 0 was abandoned\.", text)
        assert "The sessions left there are lost." in text
        assert Revision.objects.get(pk=number).drained_how == "abandoned"
        [entry] = log_of()
        assert re.fullmatch(
            r"Abandoned the sessions that were left in REDIS at 127.0.0.1:\d+, database 0\.", entry
        )
        assert re.search(r"abandoned \d+ s ago", text)

    def test_the_store_in_force_can_not_be_abandoned(self, browser: Client) -> None:
        number = choose(**JDBC)
        session = new_session(cat="tabby")
        text = text_of(browser.post(url("abandon", number), follow=True))
        assert "The handover from this store is over already." in text
        assert Revision.objects.get(pk=number).drained_at is None
        assert SessionStore(session.session_key)["cat"] == "tabby"


class TestSwitchingBack:
    def test_it_is_asked_first(self, browser: Client) -> None:
        choose(**login_of(Valkey))
        choose(**JDBC)
        response: Any = browser.get(PAGE)
        [newest, first] = response.context_data["history"]
        assert (newest.before[:5], first.before) == ("REDIS", "In-Memory")
        page = browser.get(url("switch_back", newest.back_to))
        assert re.search(r"Switch back to REDIS at 127.0.0.1:\d+, database 0\?", text_of(page))
        assert login_of(Valkey)["redis_password"] not in page.content.decode()
        assert LoginConfiguration.get_solo().persistence_type == "JDBC"

    def test_then_it_is_saved_with_the_password_of_then(self, browser: Client) -> None:
        login = login_of(Valkey)
        number = choose(**login)
        choose(**JDBC, redis_password="another-pw", redis_host="elsewhere.example")
        edition = LoginConfiguration.get_solo().edition
        response: Any = browser.post(url("switch_back", number), {"edition": edition}, follow=True)
        assert re.search(r"Saved\. .*Sessions are stored in REDIS at 127.0.0.1", text_of(response))
        saved = LoginConfiguration.get_solo()
        assert (saved.redis_host, saved.redis_password) == (login["redis_host"], login["redis_password"])
        assert (
            Revision.objects.latest("pk").store_settings() == Revision.objects.get(pk=number).store_settings()
        )
        assert login["redis_password"] not in response.content.decode()
        assert login["redis_password"] not in " ".join(log_of())
        assert "Password" in log_of()[-1], "it is another one than that of elsewhere.example"
        [newest, *_] = response.context_data["history"]
        assert newest.saved_by == "ada"

    def test_a_password_that_is_the_same_is_not_logged_as_changed(self, browser: Client) -> None:
        login = login_of(Valkey)
        number = choose(**login)
        choose(**JDBC)
        browser.post(url("switch_back", number), {"edition": LoginConfiguration.get_solo().edition})
        address = f"{login['redis_host']}:{login['redis_port']}"
        assert log_of() == [f"Changed Session persistence for store “REDIS at {address}, database 0”."]

    def test_nobody_is_logged_out_by_it(self, browser: Client) -> None:
        session = new_session(cat="tabby")
        choose(**JDBC)
        number = Revision.objects.earliest("pk").pk
        browser.post(
            url("switch_back", number), {"edition": LoginConfiguration.get_solo().edition}, follow=True
        )
        assert routing.current_settings().type == "IN_MEMORY"
        assert SessionStore(session.session_key)["cat"] == "tabby"
        assert "in use again" in text_of(browser.get(PAGE))

    def test_what_the_probe_refuses_is_told_and_nothing_is_saved(self, browser: Client) -> None:
        number = choose(**DEAD, redis_port=free_port())
        choose(**JDBC)
        log_in_again(browser)
        edition, revisions = LoginConfiguration.get_solo().edition, Revision.objects.count()
        text = text_of(browser.post(url("switch_back", number), {"edition": edition}))
        assert "Nothing was saved." in text
        assert re.search(r"REDIS: Port: Nothing listens on port \d+", text)
        assert (LoginConfiguration.get_solo().edition, Revision.objects.count()) == (edition, revisions)

    def test_who_was_overtaken_is_told(self, browser: Client) -> None:
        choose(**JDBC)
        number = Revision.objects.earliest("pk").pk
        edition = LoginConfiguration.get_solo().edition
        choose(**login_of(Valkey))
        text = text_of(browser.post(url("switch_back", number), {"edition": edition}))
        assert "grace saved this configuration on" in text
        assert LoginConfiguration.get_solo().persistence_type == "REDIS"

    def test_a_server_that_had_no_password_then_gets_none_now(self, browser: Client) -> None:
        number = choose(**DEAD, redis_port=free_port())
        choose(**JDBC, redis_password="of-another-server")
        data = LoginConfigurationForm.data_of_revision(Revision.objects.get(pk=number))
        form = LoginConfigurationForm(data, probe=False)
        assert form.is_valid()
        assert form.store_settings() == Revision.objects.get(pk=number).store_settings()

    def test_the_store_that_is_configured_is_not_offered(self, browser: Client) -> None:
        choose(**JDBC)
        choose(**MEMORY)
        offered = [change.back_to for change in read_history()]
        assert [bool(number) for number in offered] == [True, False]

    def test_each_store_is_offered_once(self, browser: Client) -> None:
        choose(**JDBC)
        choose(**MEMORY)
        choose(**JDBC)
        offered = [change.back_to for change in read_history()]
        assert [bool(number) for number in offered] == [True, False, False]

    def test_a_revision_that_is_not_there(self, browser: Client) -> None:
        assert browser.get(url("switch_back", 4711)).status_code == 404


class TestHistory:
    def test_a_handover_that_nobody_ended_is_over_when_no_session_lives_that_long(self) -> None:
        choose(**JDBC)
        assert [change.outcome for change in read_history()] == ["moving"]
        long_ago = Now() - timedelta(seconds=django_settings.SESSION_COOKIE_AGE + 10)
        Revision.objects.update(activates_at=long_ago)
        [change] = read_history()
        assert change.outcome == "over"

    def test_a_store_that_is_moving_again_is_told_so_of_an_earlier_time_as_well(self) -> None:
        long_ago = Now() - timedelta(seconds=2 * django_settings.SESSION_COOKIE_AGE)
        for fields in (JDBC, MEMORY):
            Revision.objects.filter(pk=choose(**fields)).update(activates_at=long_ago)
        choose(**JDBC)
        moving = read_handover(count=False).moving
        outcomes = [change.outcome for change in read_history(moving)]
        assert outcomes == ["moving", "in use", "moving"]

    def test_a_switch_to_come_is_told_as_such(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 30}
        choose(**JDBC)
        assert [change.outcome for change in read_history()] == ["pending"]


class TestNodes:
    def test_none_has_reported_itself(self, browser: Client) -> None:
        assert "Nodes None has answered a request in the last hour." in text_of(browser.get(PAGE))

    @pytest.mark.usefixtures("clock_stands_still")
    def test_each_with_its_processes_its_store_and_its_last_sign_of_life(self, browser: Client) -> None:
        number = choose(**JDBC)
        Revision.objects.filter(pk=number).update(activates_at=Now() - timedelta(minutes=1))
        node("web-1", 11, revision=number, seconds=3)
        node("web-1", 12, revision=number, seconds=30)
        node("web-1", 13, revision=number, minutes=20)  # gone: the others went on without it
        node("web-2", 11, revision=number, seconds=8)
        node("web-3", 11, revision=number, minutes=61)  # not heard from in the last hour
        response: Any = browser.get(PAGE)
        text = text_of(response)
        assert "✓ All nodes have switched." in text
        assert re.search(r"web-1 2 JDBC, database “default” ✓ yes 3 s ago", text)
        assert re.search(r"web-2 1 JDBC, database “default” ✓ yes 8 s ago", text)
        assert [each.name for each in response.context_data["nodes"].all] == ["web-1", "web-2"]

    def test_one_that_reaches_another_store_under_the_same_name_is_marked(self, browser: Client) -> None:
        """As with “localhost”, which is each node itself."""
        number = choose(**JDBC)
        store = open_store(routing.current_settings())
        store.prepare()
        place = store.place()
        Revision.objects.filter(pk=number).update(activates_at=Now() - timedelta(minutes=1), place=place)
        node("web-1", revision=number, seconds=3)
        node("web-2", revision=number, seconds=3)
        assert "Not all nodes reach the same store." not in text_of(browser.get(PAGE))
        Node.objects.filter(name="web-1").update(place=place)
        Node.objects.filter(name="web-2").update(place="b" * 32)
        text = text_of(browser.get(PAGE))
        assert "Not all nodes reach the same store." in text
        assert re.search(r"web-2 1 JDBC, database “default” another store of that name ✓ yes", text)
        assert not re.search(r"web-1 1 JDBC, database “default” another store", text)

    @pytest.mark.usefixtures("clock_stands_still")
    def test_who_was_not_heard_from_since_the_switch_is_waited_for(self, browser: Client) -> None:
        number = choose(**JDBC)
        Revision.objects.filter(pk=number).update(activates_at=Now() - timedelta(seconds=20))
        node("web-1", revision=number, seconds=3)
        node("web-2", revision=number - 1, seconds=40)
        text = text_of(browser.get(PAGE))
        assert "1 of 2 nodes has switched; the other one has answered no request since" in text
        assert "1 of 2 nodes Check now" in text, "the strip"
        assert "web-2 1 In-Memory with its next request 40 s ago" in text

    def test_what_a_process_used_before_the_switch_is_not_told_of_its_node(self, browser: Client) -> None:
        number = choose(**JDBC)
        Revision.objects.filter(pk=number).update(activates_at=Now() - timedelta(seconds=20))
        node("web-1", 11, revision=number, seconds=3)
        node("web-1", 12, revision=number - 1, seconds=40)
        assert re.search(r"web-1 2 JDBC, database “default” ✓ yes", text_of(browser.get(PAGE)))

    def test_who_is_quiet_is_no_fault(self, browser: Client) -> None:
        number = choose(**JDBC)
        node("web-1", revision=number, minutes=7)
        text = text_of(browser.get(PAGE))
        assert "7 min ago quiet" in text
        assert "✗" not in text

    @pytest.mark.usefixtures("clock_stands_still")
    def test_who_answers_and_goes_by_an_earlier_choice_is_a_fault(self, browser: Client) -> None:
        number = choose(**JDBC)
        Revision.objects.filter(pk=number).update(activates_at=Now() - timedelta(seconds=20))
        node("web-1", revision=number - 1, seconds=3)
        text = text_of(browser.get(PAGE))
        assert "One node has not switched." in text
        assert "web-1 1 In-Memory ✗ no 3 s ago" in text


@pytest.mark.parametrize("name", ["drain", "abandon", "switch_back"])
class TestPermissions:
    def test_who_may_only_look_is_refused(self, name: str) -> None:
        client = Client()
        client.force_login(create_staff("eve", "view_loginconfiguration"))
        number = choose(**JDBC)
        assert client.post(url(name, number - 1)).status_code == 403
        assert Revision.objects.filter(drained_at=None).count() == Revision.objects.count()

    def test_who_is_not_staff_is_sent_to_log_in(self, name: str) -> None:
        assert Client().post(url(name, 1)).status_code == 302

    def test_another_site_can_not_press_the_button(self, name: str, browser: Client) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = browser.cookies
        assert strict.post(url(name, choose(**JDBC) - 1)).status_code == 403

    def test_a_link_changes_nothing(self, name: str, browser: Client) -> None:
        number = choose(**JDBC)
        assert browser.get(url(name, number - 1)).status_code == (405 if name == "drain" else 200)
        assert Revision.objects.filter(drained_at=None).count() == Revision.objects.count()


class TestInitialWithATypo:
    """On a site that has saved a store, INITIAL counts no more, and must not take the page down."""

    @pytest.fixture(autouse=True)
    def saved(self, settings: Settings) -> None:
        choose(**JDBC)
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "INITIAL": {"redis_hosts": "typo"}}

    @pytest.mark.parametrize("address", [PAGE, PROGRESS, STATUS])
    def test_the_page_and_what_its_script_asks_for_are_shown(self, browser: Client, address: str) -> None:
        text = text_of(browser.get(address))
        assert "redis_hosts" not in text

    def test_a_node_that_would_need_it_has_the_sentence_in_its_line(self, browser: Client) -> None:
        Node.objects.create(name="late", process=1, revision=0)
        text = text_of(browser.get(PAGE))
        assert (
            "SESSIONPERSIST['INITIAL'] can't be used. Login Configuration has no field 'redis_hosts'." in text
        )
