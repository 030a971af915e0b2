"""How the site is, for ``login_configuration status``: what the page says, for people and programs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sessionpersist.configuration import pulse
from sessionpersist.configuration.panels.adoption import read_adoption
from sessionpersist.configuration.panels.handover import Moving, read_handover
from sessionpersist.configuration.panels.nodes import NodeState, read_nodes
from sessionpersist.configuration.panels.status import Status, read_status
from sessionpersist.configuration.panels.words import ago
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.handover import draining
from sessionpersist.initial import initial_policy_fields
from sessionpersist.models import LoginConfiguration
from sessionpersist.session.policy import Policy
from sessionpersist.stores.settings import StoreSettings


def read(configuration: LoginConfiguration) -> dict[str, Any]:
    """Return how the site is, as JSON has it.

    A store that does not answer is told with what is wrong with it; only the database of the site must answer.
    """
    status, handover = read_status(), read_handover(count=True)
    return {
        "store": _store(status),
        "health": _health(status.settings),
        "pending": _pending(status),
        "draining": [_draining(each) for each in handover.moving],
        "problem": handover.problem,
        "adopting": _adopting(),
        "nodes": [_node(each) for each in read_nodes(status).all],
        "policy": _policy_in_force(configuration),
    }


def _policy_in_force(configuration: LoginConfiguration) -> dict[str, Any]:
    saved = configuration.policy_fields()
    return saved if configuration.says_something else saved | initial_policy_fields()


def in_words(found: dict[str, Any]) -> Iterator[str]:
    """Yield the same as lines."""
    since = f", since {found['store']['since']}" if found["store"]["since"] else ""
    yield f"Store:     {found['store']['name']}{since}"
    yield f"Health:    {_health_in_words(found['health'])}"
    yield from (f"Warning:   {each}" for each in found["health"]["warnings"])
    if pending := found["pending"]:
        yield f"Pending:   {pending['name']}, in {pending['seconds']} s"
    yield from (f"Draining:  {_draining_in_words(each)}" for each in found["draining"])
    if found["problem"]:
        yield f"Draining:  {found['problem']}"
    if found["adopting"]:
        yield f"Adopting:  {_draining_in_words(found['adopting'])}"
    yield from (f"Node:      {_node_in_words(each)}" for each in found["nodes"])
    yield f"Policy:    {Policy.of(found['policy']).describe()}"


def _store(status: Status) -> dict[str, Any]:
    return {
        "type": status.settings.type,
        "name": status.settings.describe(),
        "since": _iso(status.since),
        "chosen_by": status.chosen_by,
        "revision": status.number or None,
    }


def _health(settings: StoreSettings) -> dict[str, Any]:
    """``answers`` is None where this process has another memory than the site, and so can't tell."""
    try:
        draining.require_memory_of_site(settings)
    except StoreMisconfigured as error:
        return {"answers": None, "milliseconds": None, "problem": str(error), "warnings": []}
    taken = pulse.take(settings)
    return {
        "answers": taken.read.ok,
        "milliseconds": taken.read.milliseconds,
        "problem": taken.read.message,
        "warnings": [str(each) for each in taken.warnings],
    }


def _pending(status: Status) -> dict[str, Any] | None:
    if not status.pending:
        return None
    return {
        "name": status.pending,
        "at": _iso(status.pending_at),
        "seconds": status.pending_seconds,
        "ends_everybody": status.pending_ends,
    }


def _draining(moving: Moving) -> dict[str, Any]:
    """``left``: how many sessions are, None where nobody could count; ``at_least``: the counting ended there."""
    left = moving.left
    return {
        "name": moving.store,
        "since": _iso(moving.since),
        "left": left and left.count,
        "at_least": bool(left and left.more),
        "most": moving.most,
        "problem": moving.problem,
        "nodes": [
            {"name": each.name, "left": each.count, "seconds_ago": round(each.seconds, 1)}
            for each in moving.nodes
        ],
    }


def _adopting() -> dict[str, Any] | None:
    """What is left at the engine of ADOPT_FROM; None where nothing is adopted. ``left`` is as in ``_draining``."""
    found = read_adoption(count=True)
    if found is None:
        return None
    return {
        "name": found.engine,
        "left": found.left and found.left.count,
        "at_least": bool(found.left and found.left.more),
        "problem": found.problem if found.listable else found.until,
    }


def _node(node: NodeState) -> dict[str, Any]:
    return {
        "name": node.name,
        "processes": node.processes,
        "stores": list(node.stores),
        "seconds_ago": round(node.seconds, 1),
        "switched": node.switched,
        "behind": node.behind,
        "quiet": node.quiet,
        "elsewhere": node.elsewhere,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _health_in_words(health: dict[str, Any]) -> str:
    if health["answers"]:
        return f"answers in {health['milliseconds']:.1f} ms"
    return f"does not answer. {health['problem']}" if health["answers"] is False else str(health["problem"])


def _draining_in_words(each: dict[str, Any]) -> str:
    if each["left"] is None:
        return f"{each['name']}, {each['problem'] or 'not counted'}"
    return f"{each['name']}, {'at least ' if each['at_least'] else ''}{each['left']:,} left"


def _node_in_words(node: dict[str, Any]) -> str:
    state = "has switched" if node["switched"] else "is behind" if node["behind"] else "has yet to switch"
    told = [f"{node['name']} {state}", f"heard from {ago(node['seconds_ago'])}"]
    if node["elsewhere"]:
        told.append("reaches another store under the same name")
    return ", ".join(told)
