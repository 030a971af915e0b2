"""What a driver or a server says, made fit for a page, a log or a report: one printable line without secrets."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from urllib.parse import quote

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.secret import Secret

LONGEST_LINE = 300  # characters of what a server says that reach a page, a log or a terminal
LONGEST_TEXT = 2000  # of a whole message, most of which is ours: it may say what to run on a server
STORED_KEY = re.compile("[0-9a-f]{64}")
# What a REDIS server quotes of a command that it does not know: keys and values.
QUOTED = re.compile(", with args beginning with: .*", re.DOTALL)
URL_LOGIN = re.compile(r"(?<=://)[^\s/@]*:[^\s@]*@")


def printable(text: object, at_most: int = LONGEST_LINE) -> str:
    """Return what a server or a driver says as one line of printable characters, and not a long one.

    A server can say anything: control characters that steer a terminal, marks that turn the direction of writing, a
    gigabyte. Logins in URLs and stored keys are left out.
    """
    start = STORED_KEY.sub("…", URL_LOGIN.sub("…@", str(text)[: 4 * at_most]))
    line = " ".join("".join(each if each.isprintable() else " " for each in start).split())
    return line if len(line) <= at_most else line[: at_most - 1] + "…"


def driver_words(error: BaseException) -> str:
    """Return what the driver itself said, of an error of ours that it led to; "" where it said nothing fit to be told.

    Secrets have been taken out of it before, see ``harmless``.
    """
    cause = error.__cause__
    while isinstance(cause, StoreUnavailable):
        cause = cause.__cause__
    # PostgreSQL quotes the row that it refused after DETAIL.
    return "" if cause is None else printable(f"{type(cause).__name__}: {cause}".partition("\nDETAIL:")[0])


def harmless(error: BaseException, *secrets: str) -> BaseException:
    """Return an error of a driver as it may be kept as a cause: without frames, in which a report would show every
    variable; and where a secret is in its text, or in that of what led to it, one that says the rest."""
    chain = list(causes(error))
    for link in chain:
        link.__traceback__ = None
    if all(_is_clean(link, secrets) for link in chain):
        return error
    kind: type[BaseException] = type(type(error).__name__, (Exception,), {})
    return kind(scrubbed(str(error), *secrets))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [link.__context__, link.__cause__]


def named(error: BaseException) -> str:
    """The kind of an error and its text."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def scrubbed(text: str, *secrets: str) -> str:
    """Return what a server or a driver says as one printable line without those secrets."""
    for form in _forms(secrets):
        text = text.replace(form, "…")
    return printable(QUOTED.sub("", text))


def _is_clean(error: BaseException, secrets: Collection[str]) -> bool:
    text = f"{error} {error.args} {vars(error)}"
    told = STORED_KEY.search(text) or QUOTED.search(text) or any(form in text for form in _forms(secrets))
    return not told


def _forms(secrets: Collection[str]) -> Iterator[str]:
    """Secrets as they are, as Python shows them, and as they are in a URL."""
    for secret in filter(None, secrets):
        forms = (secret, str.__repr__(secret)[1:-1], quote(secret, safe="", errors="replace"))
        yield from map(Secret, forms)
