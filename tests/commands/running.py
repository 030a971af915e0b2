"""Running a management command as a person would, and reading what it says."""

from __future__ import annotations

import io
from dataclasses import dataclass

from django.core.management import call_command
from django.core.management.base import CommandError


@dataclass(frozen=True)
class Result:
    """What a command printed, and the error that it ended with; with one, the exit code is 1."""

    output: str
    error: str | None = None

    @property
    def everything(self) -> str:
        return f"{self.output}\n{self.error or ''}"


def run(*arguments: str) -> Result:
    """Run a command with these arguments, without colours."""
    out = io.StringIO()
    try:
        call_command(*arguments, stdout=out, no_color=True)
    except CommandError as error:
        return Result(out.getvalue(), str(error))
    return Result(out.getvalue())
