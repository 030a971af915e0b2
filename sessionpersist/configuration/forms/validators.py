"""What the fields refuse. No message repeats what was typed: there may be a password in it."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist.configuration.store_sentences import said
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.addresses import addresses

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise as Text

HOST_NAME = re.compile(r"(?!-)[\w-]{1,63}(?<!-)(\.(?!-)[\w-]{1,63}(?<!-))*\.?")
# The first that matches says what is wrong.
NOT_A_HOST: tuple[tuple[str, Text], ...] = (
    (r"@", gettext_lazy("Enter the host alone: user name and password have fields of their own.")),
    (r"://", gettext_lazy("Enter the host alone, without a scheme such as “redis://”.")),
    (r"\s", gettext_lazy("A host has no spaces in it.")),
    (r"[/\\?#]", gettext_lazy("Enter the host alone, without a slash or a path.")),
    (r":", gettext_lazy("Enter the host alone: the port has a field of its own.")),
)
# Unicode's categories: control characters, and marks that end a line or a paragraph.
NOT_IN_A_LINE = {"Cc", "Zl", "Zp"}
LONGEST_HOST = 253  # characters
LONGEST_MONGODB_NAME = 63  # bytes


def is_ip_address(text: str) -> bool:
    """Return whether it is an IPv4 or IPv6 address, without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def refuse_control_characters(text: str) -> None:
    """Refuse what could end a line of a protocol: a field is sent to whatever listens at the host that was entered."""
    if any(unicodedata.category(character) in NOT_IN_A_LINE for character in text):
        raise ValidationError(
            _("This field must not contain control characters, such as line breaks."), code="invalid"
        )


def validate_host(host: str) -> None:
    """Refuse what is not a host name or an IP address by itself."""
    if is_ip_address(host):
        return
    for pattern, message in NOT_A_HOST:
        if re.search(pattern, host):
            raise ValidationError(message, code="invalid")
    if len(host) > LONGEST_HOST or not HOST_NAME.fullmatch(host):
        raise ValidationError(_("This is not a host name or an IP address."), code="invalid")


def validate_nodes(text: str) -> None:
    """Refuse what is not one ``host:port`` a line."""
    for line in text.splitlines():
        refuse_control_characters(line)
    try:
        found = addresses(text)
    except StoreMisconfigured as error:
        raise ValidationError(said(error), code="invalid") from error
    for number, each in enumerate(found, 1):
        try:
            validate_host(each.host)
        except ValidationError as error:
            message = _("Line {number}: {problem}").format(number=number, problem=error.messages[0])
            raise ValidationError(message, code="invalid") from error


def validate_mongodb_name(name: str) -> None:
    """Refuse what MongoDB does not take as the name of a database."""
    if found := re.search(r"[/\\.\"$\s]", name):
        message = _("The name of a MongoDB database must not contain {character}.")
        character = _("spaces") if found[0].isspace() else f"“{found[0]}”"
        raise ValidationError(message.format(character=character), code="invalid")
    if len(name.encode()) > LONGEST_MONGODB_NAME:
        message = _("The name of a MongoDB database has at most {limit} bytes.")
        raise ValidationError(message.format(limit=LONGEST_MONGODB_NAME), code="invalid")


def validate_mongodb_auth_source(name: str) -> None:
    """Like any database, except for the one that stands for users kept outside MongoDB."""
    if name != "$external":
        validate_mongodb_name(name)


def first_complaint(*validators: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return these validators as one, so that a field shows one complaint at a time."""

    def validate(value: Any) -> None:
        for each in validators:
            each(value)

    return validate
