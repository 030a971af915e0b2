"""The options of ``login_configuration set``: one for each field of the page's forms, so a new field is an option."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.management.base import CommandError

from sessionpersist.configuration.forms import STORE_FORMS
from sessionpersist.configuration.forms.fields import ConsentField, NodesField, SecretField
from sessionpersist.configuration.forms.policy import PolicyForm
from sessionpersist.stores.secret import Secret
from sessionpersist.stores.settings import ENVIRONMENT, FILE, in_words


class Refused(argparse.Action):
    """An option that is there to say why it is not."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> None:
        option = self.option_strings[0]
        parser.error(
            f"a {option[2:].replace('-', ' ')} on the command line can be read by others; "
            f"see {option}-env and {option}-stdin"
        )


@dataclass(frozen=True)
class Given:
    """An option that was given: as it is typed, the field that it sets, and to what. ``removes`` a saved secret."""

    option: str
    name: str
    value: Any = True
    removes: bool = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of all fields, each once, whatever number of stores has it."""
    for name, field in every_field().items():
        if isinstance(field, SecretField):
            _add_secret(parser, name)
        elif isinstance(field, ConsentField):
            parser.add_argument(option_of(name), action="store_true", default=None, help=_help(name))
        elif isinstance(field, forms.BooleanField):
            parser.add_argument(option_of(name), action=argparse.BooleanOptionalAction, help=_help(name))
        else:
            several: dict[str, Any] = (
                {"nargs": "*", "metavar": "HOST:PORT"} if isinstance(field, NodesField) else {}
            )
            parser.add_argument(option_of(name), help=_help(name), **several)


def about_saved_secrets() -> str:
    """Say how long each saved secret stays, as its form does."""
    return "".join(
        f"  {store_type}, {in_words(name)}: {', '.join(map(option_of, form.guards_of(name)))}\n"
        for store_type, form in STORE_FORMS.items()
        for name, field in form.base_fields.items()
        if isinstance(field, SecretField)
    )


def every_field() -> dict[str, forms.Field]:
    """Return the fields of all stores by their plain names, and those of the policy."""
    found = {name: field for form in STORE_FORMS.values() for name, field in form.base_fields.items()}
    return found | PolicyForm.base_fields


def option_of(name: str) -> str:
    """Return the option that sets a field, or what those of a secret begin with."""
    option = f"--{name.replace('_', '-')}"
    return f"{option}-…" if isinstance(every_field().get(name), SecretField) else option


def given(options: dict[str, Any]) -> Iterator[Given]:
    """Yield the options that were given. Raises CommandError where the standard input should hold a secret, and holds
    none."""
    for name, field in every_field().items():
        if isinstance(field, SecretField):
            yield from _given_secret(name, options)
        elif options[name] is not None:
            value = options[name]
            if getattr(field, "may_hold_secret", False) and "@" in value:
                raise CommandError(
                    f"{option_of(name)}: a password on the command line can be read by others; leave user name and "
                    "password out of a connection string."
                )
            yield Given(option_of(name), name, "\n".join(value) if isinstance(value, list) else value)


def _given_secret(name: str, options: dict[str, Any]) -> Iterator[Given]:
    option = name.replace("_", "-")
    if options[f"{name}_env"]:
        yield Given(f"--{option}-env", name, ENVIRONMENT + options[f"{name}_env"])
    if options[f"{name}_file"]:
        yield Given(f"--{option}-file", name, FILE + options[f"{name}_file"])
    if options[f"{name}_stdin"]:
        yield Given(f"--{option}-stdin", name, read_secret(name))
    if options[f"no_{name}"]:
        yield Given(f"--no-{option}", name, removes=True)


def _add_secret(parser: argparse.ArgumentParser, name: str) -> None:
    option, one_of = name.replace("_", "-"), parser.add_mutually_exclusive_group()
    add, what = one_of.add_argument, _help(name)
    add(f"--{option}-env", metavar="NAME", help=f"{what}: read it on each node from this variable")
    add(f"--{option}-file", metavar="PATH", help=f"{what}: read it on each node from this file")
    add(f"--{option}-stdin", action="store_true", help=f"{what}: read it from the standard input")
    add(f"--no-{option}", action="store_true", help=f"{what}: remove the saved one")
    one_of.add_argument(f"--{option}", nargs="?", action=Refused, help=argparse.SUPPRESS)


def _help(name: str) -> str:
    """Say what a field is, and for which stores."""
    if name in PolicyForm.terms:
        return PolicyForm.terms[name]
    owners: dict[str, list[str]] = {}
    for store_type, form in STORE_FORMS.items():
        if name in form.base_fields:
            owners.setdefault(form.about(name), []).append(store_type)
    return "; ".join(f"{', '.join(types)}: {what}" for what, types in owners.items())


def read_secret(name: str) -> Secret:
    """Return the secret of this field from the standard input; a person is asked for it without an echo."""
    words = in_words(name)
    typed = getpass.getpass(f"{words.capitalize()}: ") if sys.stdin.isatty() else sys.stdin.read()
    secret = Secret(typed.rstrip("\r\n"))
    if not secret:
        raise CommandError(f"The standard input holds no {words}.")
    return secret
