"""Tries stores out from this node: the button “Test connection”, for a terminal and for a deployment script."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.color import Style

from sessionpersist.configuration import probing
from sessionpersist.management.base import SessionCommand, read_configuration
from sessionpersist.models import LoginConfiguration
from sessionpersist.stores.probe import Step
from sessionpersist.stores.settings import TYPES, StoreSettings, from_fields


class Command(SessionCommand):
    help = (
        "Try from this node whether session stores work: resolve, connect, log in, and everything that the site and "
        "a drain do with sessions. By default the one that is configured. Changes nothing and leaves nothing behind. "
        "With -v 2 a failure comes with the words of the driver. The exit code is 1 if a store fails; a warning is "
        "not a failure."
    )
    requires_system_checks = []  # it is for the day when something is wrong

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--all",
            action="store_true",
            help="every store whose fields are filled in, and every database in DATABASES",
        )
        which.add_argument(
            "--type",
            type=str.upper,
            choices=list(TYPES),
            help="the store of this type, with the fields as saved",
        )
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")

    def handle(self, *, all: bool, type: str | None, json: bool, **options: Any) -> None:  # noqa: A002 - the options' names
        configuration = read_configuration()
        if all:
            chosen = list(dict.fromkeys(every_store(configuration)))
        else:
            chosen = [settings_of(configuration, type or configuration.persistence_type)]
        found = self._report_as_json(chosen) if json else self._report(chosen, options["verbosity"] > 1)
        self._conclude(found)

    def _report(self, chosen: list[StoreSettings], in_full: bool) -> dict[StoreSettings, list[Step]]:
        """Try one store after the other, and print the steps of each as soon as they are known."""
        found = {}
        for settings in chosen:
            self.stdout.write(self.style.MIGRATE_HEADING(settings.describe()))
            found[settings] = probing.probe(settings)
            for step in found[settings]:
                self.stdout.write(line_of(step, self.style))
                if in_full and step.detail:
                    self.stdout.write(f"           {step.detail}")
        return found

    def _report_as_json(self, chosen: list[StoreSettings]) -> dict[StoreSettings, list[Step]]:
        found = {settings: probing.probe(settings) for settings in chosen}
        stores = [
            {
                "type": settings.type,
                "store": settings.describe(),
                "ok": probing.failure(steps) is None,
                "steps": [asdict(step) for step in steps],
            }
            for settings, steps in found.items()
        ]
        self.write_json(stores)
        return found

    def _conclude(self, found: dict[StoreSettings, list[Step]]) -> None:
        failed = [settings.describe() for settings, steps in found.items() if probing.failure(steps)]
        if failed:
            raise CommandError(f"{len(failed)} of {len(found)} failed: {'; '.join(failed)}.")


def line_of(step: Step, style: Style) -> str:
    """Return one step as a line: what came of it, what it was, how long it took, and what there is to say."""
    if step.warning:
        return f"  {style.WARNING('warning')}  {step.message}"
    word = style.SUCCESS("ok     ") if step.ok else style.ERROR("FAILED ")
    return f"  {word}  {step.name:<22} {step.milliseconds:>8.1f} ms  {step.message}".rstrip()


def every_store(configuration: LoginConfiguration) -> Iterator[StoreSettings]:
    """Yield the configured store, then all that could be: filled in, or a database of the project."""
    yield settings_of(configuration, configuration.persistence_type)
    for store_type in TYPES:
        yield from settings_of(configuration, store_type).candidates()


def settings_of(configuration: LoginConfiguration, store_type: str) -> StoreSettings:
    """Return the settings of the store of one type, with the fields as saved."""
    return from_fields(vars(configuration) | {"persistence_type": store_type}).or_default()
