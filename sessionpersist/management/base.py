"""What the app's commands have in common: a failure is a sentence and the exit code 1, never a traceback."""

from __future__ import annotations

import codecs
import getpass
import json
import os
import signal
import sys
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from django.utils import translation

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.models import LoginConfiguration, Revision

# The exit code that a shell gives a program whose output nobody reads any more.
READER_GONE = 128 + signal.SIGPIPE


class SessionCommand(BaseCommand):
    """A command that asks the configuration and the stores. It may be piped into “head”.

    It speaks English, whatever the language of the site is: what it prints is searched for, and read by programs.
    """

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            with translation.override("en"):
                return super().execute(*args, **options)
        except (StoreUnavailable, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(
                f"The database of the site failed ({type(error).__name__}). Has “migrate” been run?"
            ) from error

    def write_json(self, found: Any) -> None:
        """Print what programs read: in UTF-8 as it is, and escaped where the output has another encoding."""
        text = json.dumps(found, indent=2, ensure_ascii=False)
        encoding = getattr(self.stdout, "encoding", None) or "utf-8"
        if codecs.lookup(encoding).name != "utf-8":
            text = json.dumps(found, indent=2)
        self.stdout.write(text)

    def run_from_argv(self, argv: list[str]) -> None:
        try:
            super().run_from_argv(argv)
        except BrokenPipeError:
            _drop_unread()
            sys.exit(READER_GONE)
        except SystemExit:  # it has failed, which is what the exit code says
            _drop_unread()
            raise
        if _drop_unread():
            sys.exit(READER_GONE)


def _drop_unread() -> bool:
    """Return whether nobody reads what was printed. What is left of it is dropped: the interpreter would write it once
    more as it ends, and that would be an error again."""
    gone = False
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            gone = True
    return gone


def operator() -> str:
    """Return who runs this command, for the records: a user of the machine, not of the site."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        name = f"user {os.getuid()}"
    return f"{name} (command line)"


def read_configuration() -> LoginConfiguration:
    """Return the saved configuration. Raises CommandError: called first, before anything else logs an error."""
    try:
        Revision.objects.order_by("-pk").first()
        return LoginConfiguration.get_solo()
    except Error as error:
        # The database's own words may hold an address or a password: they are not repeated.
        raise CommandError(
            f"The login configuration could not be read ({type(error).__name__}). Has “migrate” been run?"
        ) from error


def ask(question: str) -> str:
    """Return the answer; "" where nobody is there to give one, or somebody presses Ctrl-C."""
    try:
        return input(question)
    except (EOFError, KeyboardInterrupt):
        print()  # the end of the line with the question  # noqa: T201
        return ""
