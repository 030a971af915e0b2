"""The variables of the environment. An error names the variable and never its value, which may be a secret."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

YES = {"true", "yes", "on", "1", "y", "t", "ok"}
NO = {"false", "no", "off", "0", "n", "f", "none"}
LEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")


class Environment:
    """Reads variables; one that is empty counts as not set. Raises ImproperlyConfigured with the variable's name."""

    def __init__(self, variables: Mapping[str, str] = os.environ) -> None:
        self._variables = variables

    def text(self, name: str, default: str = "") -> str:
        return self._variables.get(name) or default

    def words(self, name: str) -> list[str]:
        """What stands between commas."""
        return [word for each in self.text(name).split(",") if (word := each.strip())]

    def number(self, name: str, default: float = 0.0) -> float:
        try:
            number = float(self.text(name, str(default)))
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise self._wrong(name, "a number, zero or more")
        return number

    def whole(self, name: str, default: int = 0) -> int:
        number = self.number(name, default)
        if not number.is_integer():
            raise self._wrong(name, "a whole number, zero or more")
        return int(number)

    def flag(self, name: str, default: bool = False) -> bool:
        text = self.text(name, "true" if default else "false").strip().lower()
        if text not in YES | NO:
            raise self._wrong(name, "“true” or “false”")
        return text in YES

    def level(self, name: str, default: str) -> str:
        level = self.text(name, default).upper()
        if level not in LEVELS:
            raise self._wrong(name, f"one of {', '.join(LEVELS)}")
        return level

    def _wrong(self, name: str, wanted: str) -> ImproperlyConfigured:
        return ImproperlyConfigured(f"The environment variable {name} must be {wanted}.")


def read_file(path: Path) -> None:
    """Take the variables that the environment does not set from a file, if it is there."""
    log = logging.getLogger("environ.environ")
    log.addFilter(without_the_line)
    try:
        environ.Env.read_env(path)
    finally:
        log.removeFilter(without_the_line)


def without_the_line(record: logging.LogRecord) -> bool:
    """django-environ repeats each line that it does not understand, and there may be a password in it."""
    if record.levelno >= logging.WARNING:
        record.msg, record.args = "A line of the file with the environment is not of the form NAME=value.", ()
    return True
