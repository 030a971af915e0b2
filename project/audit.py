"""`make check` asks OSV, the open database of vulnerabilities, about every release in requirements.lock.

All releases go in one request, so this takes no further package and one deadline. A service that cannot be asked is
reported and fails nothing: the other checks must work without the internet.
"""

import argparse
import http.client
import json
import queue
import re
import sys
import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

SERVICE = "https://api.osv.dev/v1/querybatch"
PAGE = "https://osv.dev/vulnerability"
SECONDS = 5.0
LONGEST_ANSWER = 4_000_000  # bytes

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


class Release(NamedTuple):
    name: str
    version: str


class NotAsked(Exception):
    """The service gave no answer that can be used; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 if a release has a known vulnerability, else 0, also where the service cannot be asked."""
    options = parse(arguments)
    releases = pinned(options.file.read_text())
    try:
        found = vulnerabilities(releases, options.service, options.seconds)
    except NotAsked as problem:
        print(f"known vulnerabilities: not checked, because {problem}")
        return 0
    serious = {release: rest for release, ids in found.items() if (rest := ids - set(options.ignore))}
    for (name, version), ids in serious.items():
        print(f"{name} {version} has known vulnerabilities:", *(f"{PAGE}/{each}" for each in sorted(ids)))
    if not serious:
        print(f"known vulnerabilities: none in {len(releases)} releases")
    return 1 if serious else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m project.audit", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("file", type=Path, help="the list of exact requirements")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="ID", help="one that does not apply here"
    )
    parser.add_argument("--service", default=SERVICE, help="default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="when to give up; default: %(default)s"
    )
    return parser.parse_args(arguments)


def pinned(text: str) -> list[Release]:
    """Every release in a list of exact requirements, those for other systems too."""
    return [Release(*found) for found in PIN.findall(text)]


def vulnerabilities(releases: Sequence[Release], service: str, seconds: float) -> dict[Release, set[str]]:
    """The ids of what is known about each release. Raises NotAsked, at the latest after so many seconds."""
    answers: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
    # In a thread that may be left behind: a name server that is silent keeps to no time-out of ours.
    threading.Thread(target=ask, args=(releases, service, seconds, answers), daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise NotAsked(f"{service} did not answer within {seconds:g} seconds.") from None
    if isinstance(answer, Exception):
        raise NotAsked(f"{service} cannot be asked: {getattr(answer, 'reason', answer)}.") from answer
    return understood(answer, releases, service)


def ask(
    releases: Sequence[Release], service: str, seconds: float, answers: queue.SimpleQueue[bytes | Exception]
) -> None:
    """Puts the answer of the service, or the reason why there is none, into the queue."""
    packages = [
        {"package": {"ecosystem": "PyPI", "name": name}, "version": version} for name, version in releases
    ]
    request = urllib.request.Request(  # noqa: S310 - an address of our own
        service, json.dumps({"queries": packages}).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=seconds) as response:  # noqa: S310
            answers.put(response.read(LONGEST_ANSWER))
    except (OSError, http.client.HTTPException) as error:
        answers.put(error)


def understood(answer: bytes, releases: Sequence[Release], service: str) -> dict[Release, set[str]]:
    """What the answer says of each release that is vulnerable. Raises NotAsked if it is no answer of OSV."""
    try:
        results: list[dict[str, Any]] = json.loads(answer)["results"]
        ids = [{str(each["id"]) for each in result.get("vulns", [])} for result in results]
        return {release: known for release, known in zip(releases, ids, strict=True) if known}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NotAsked(f"{service} gave an answer that is not OSV's.") from error


if __name__ == "__main__":
    sys.exit(main())
