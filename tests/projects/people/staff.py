"""Staff of that project find a user, see where that is, and end it; so does the command."""

import io
import json
import uuid
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client, TestCase
from django.urls import reverse

from sessionpersist import sessions
from sessionpersist.engine import SessionStore

User: Any = get_user_model()
ODD = "Ωmega/ada?x=1&y=%41_2F " + "x" * 300
OVERVIEW = reverse("admin:sessionpersist_sessions_changelist")


def make(name: str) -> Any:
    if User.USERNAME_FIELD == "email":
        return User.objects.create(email=f"{uuid.uuid4()}@example.org")
    return User.objects.create(name=name)


def logged_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def lives(client: Client) -> bool:
    return SessionStore().exists(client.cookies["sessionid"].value)


class Staff(TestCase):
    def setUp(self) -> None:
        self.staff, self.user = make("warden"), make(ODD)
        self.client = logged_in(self.staff)
        self.page = reverse("admin:sessionpersist_sessions_user", args=[quote(self.user.pk)])

    def test_a_user_is_found_by_name_and_by_key(self) -> None:
        for text in (self.user.get_username()[:20], str(self.user.pk)):
            self.assertContains(self.client.get(OVERVIEW, {"q": text}), self.page)

    def test_what_is_no_key_finds_nobody(self) -> None:
        for text in (str(uuid.UUID(int=0)), "not-a-uuid", "\x00", "9" * 50):
            self.assertNotContains(self.client.get(OVERVIEW, {"q": text}), self.page)

    def test_sessions_are_seen_and_ended_on_record(self) -> None:
        hers, other = logged_in(self.user), logged_in(self.user)
        shown = self.client.get(self.page)
        self.assertContains(shown, 'name="session"', 2)
        (mine,) = [each for each in sessions.of(self.user, hers.session) if each.current]
        self.client.post(f"{self.page}end/", {"session": mine.id})
        assert [lives(hers), lives(other)] == [False, True]
        entry = LogEntry.objects.get()
        assert entry.get_edited_object() == self.user
        self.client.post(f"{self.page}end/")
        assert not lives(other)

    def test_the_command_does_the_same(self) -> None:
        hers = logged_in(self.user)
        for name in (self.user.get_username(), str(self.user.pk)):
            output = io.StringIO()
            call_command("sessions", "list", user=name, json=True, stdout=output)
            assert len(json.loads(output.getvalue())) == 1
        call_command("sessions", "end", user=str(self.user.pk), yes=True, stdout=io.StringIO())
        assert not lives(hers)
