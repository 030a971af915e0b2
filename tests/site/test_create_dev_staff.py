"""The account for development."""

import stat
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django import Settings

pytestmark = pytest.mark.django_db


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    return tmp_path / "password"


@pytest.fixture(autouse=True)
def _debug(settings: Settings) -> None:
    settings.DEBUG = True


def create(password_file: Path, username: str = "admin") -> str:
    output = StringIO()
    call_command("create_dev_staff", username=username, password_file=password_file, stdout=output)
    return output.getvalue()


def test_without_debug_it_refuses(settings: Settings, password_file: Path) -> None:
    settings.DEBUG = False
    with pytest.raises(CommandError, match="DEBUG=true"):
        create(password_file)
    assert not User.objects.exists()
    assert not password_file.exists()


def test_the_printed_password_is_that_of_a_superuser(password_file: Path) -> None:
    output = create(password_file)
    user = User.objects.get(username="admin")
    assert user.is_superuser
    password = password_file.read_text().strip()
    assert user.check_password(password)
    assert output == f"User name: admin\nPassword:  {password}\n"


def test_only_the_owner_can_read_the_password_file(password_file: Path) -> None:
    create(password_file)
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600


def test_a_second_run_prints_the_same_and_changes_nothing(password_file: Path) -> None:
    first = create(password_file)
    stored = User.objects.get().password
    assert create(password_file) == first
    assert User.objects.get().password == stored


def test_after_the_database_was_deleted_the_password_stays(password_file: Path) -> None:
    first = create(password_file)
    User.objects.all().delete()
    assert create(password_file) == first


def test_a_password_that_was_changed_is_kept_and_not_known(password_file: Path) -> None:
    create(password_file)
    user = User.objects.get()
    user.set_password("my own")
    user.save()
    output = create(password_file)
    assert password_file.read_text().strip() not in output
    assert "changepassword admin" in output
    assert User.objects.get().check_password("my own")


def test_a_user_from_elsewhere_is_left_alone(password_file: Path) -> None:
    User.objects.create_user("grace", password="her own")
    create(password_file, username="grace")
    user = User.objects.get()
    assert user.check_password("her own")
    assert not user.is_superuser
    assert not password_file.exists()


def test_a_file_that_cannot_be_written_is_a_sentence_and_no_account(tmp_path: Path) -> None:
    with pytest.raises(
        CommandError, match=r"can't be kept in .*/missing/password: No such file or directory"
    ):
        create(tmp_path / "missing" / "password")
    assert not User.objects.exists()
