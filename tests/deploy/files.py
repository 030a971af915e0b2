"""What is in ``deploy``, read."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NODES = sorted(name for name in SERVICES if name.startswith("node-"))


class Step(NamedTuple):
    """A line of the Dockerfile."""

    word: str
    rest: str


def steps(stage: str) -> Iterator[Step]:
    """Yield the lines of a stage of the Dockerfile, without that which begins it."""
    inside = False
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            inside = rest.endswith(f" AS {stage}")
        elif inside and word and not word.startswith("#"):
            yield Step(word, rest)


def command(stage: str = "site") -> list[str]:
    """Return what a container of that stage runs."""
    (found,) = [step.rest for step in steps(stage) if step.word == "CMD"]
    return [str(each) for each in json.loads(found)]


def copied() -> Iterator[tuple[str, str, str]]:
    """Yield what the Dockerfile copies from the repository: the stage, the source and the target."""
    for stage in ("site", "balancer"):
        for step in steps(stage):
            if step.word == "COPY" and not step.rest.startswith("--from"):
                source, target = step.rest.split()
                yield stage, source, target


def documents(manifest: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(manifest.read_text()))


def containers() -> dict[str, dict[str, Any]]:
    """Return every container that runs the site, of Compose and of Kubernetes."""
    found = {f"compose {name}": each for name, each in SERVICES.items() if _is_site(each)}
    for manifest in MANIFESTS:
        for document in documents(manifest):
            for each in document.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
                found[f"{manifest.stem} {each['name']}"] = each
    return found


def _is_site(service: dict[str, Any]) -> bool:
    return bool(service.get("build", {}).get("target") == "site")


def words(container: dict[str, Any]) -> list[str]:
    """Return its command."""
    found = container.get("command", [])
    return found if isinstance(found, list) else shlex.split(found)
