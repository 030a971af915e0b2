"""The account that ``make run`` offers a developer to log in with."""

import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Create a superuser for development, and print its name and password. Needs DEBUG."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", default="admin", help="default: %(default)s")
        parser.add_argument(
            "--password-file",
            type=Path,
            default=settings.BASE_DIR / ".dev-password",
            help="where the generated password is kept for the next run; default: %(default)s",
        )

    def handle(self, *, username: str, password_file: Path, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "An account with a printed password is for development: this needs DEBUG=true."
            )
        user = User.objects.filter(username=username).first()
        try:
            password = read_password(password_file)
            if user is None:
                password = password or write_password(password_file)
        except OSError as error:
            raise CommandError(f"The password can't be kept in {password_file}: {error.strerror}.") from error
        user = user or User.objects.create_superuser(username, password=password)
        self.stdout.write(f"User name: {username}")
        self.stdout.write(f"Password:  {describe_password(user, password)}")


def describe_password(user: User, password: str | None) -> str:
    """Return the password if it is the user's. A password that was changed since is left as it is."""
    if password and user.check_password(password):
        return password
    return f"your own (forgotten? `manage.py changepassword {user.username}`)"


def read_password(path: Path) -> str | None:
    return path.read_text().strip() if path.exists() else None


def write_password(path: Path) -> str:
    """Generate a password and keep it in a file that only its owner can read."""
    password = secrets.token_urlsafe(12)
    # The mode is given at creation: to open first and chmod later leaves a moment for others to read it.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{password}\n")
    return password
