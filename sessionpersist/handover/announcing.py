"""Says once that this process has moved to another revision: the signal ``store_switched``, and a line in the
log, which one process of each node writes.

A revision that logs everybody out and stays in the same store is a line of its own, and no signal.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from sessionpersist import conf
from sessionpersist.awaiting import send_robust
from sessionpersist.signals import store_switched
from sessionpersist.stores.base import INITIAL
from sessionpersist.telemetry import lines, node
from sessionpersist.telemetry.lines import EVERYBODY_OUT, STORE_SWITCHED

if TYPE_CHECKING:
    from sessionpersist.handover.snapshot import Known, Snapshot


class Switch(NamedTuple):
    """This process has moved from one revision to another."""

    before: Known
    after: Known


_in_force: Known | None = None  # as far as this process has said


def noted(known: Snapshot) -> Switch | None:
    """Note what is in force, and return the switch where that is another revision than before. For one thread at a
    time; whoever gets a switch announces it, once no lock is held.

    What a process finds as it starts is no switch. Nor is a revision that seems to be pending again: two readings of a
    clock differ by a little, and it has been in force already.
    """
    global _in_force
    before, after = _in_force, known.current
    if before is not None and before.number in {each.number for each in known.pending}:
        return None
    _in_force = after
    if before is None or before.number == after.number or (before.number == INITIAL and after.initial):
        return None
    return Switch(before, after)


def announce(switch: Switch | None) -> None:
    """Tell the log and the receivers of the signal; one that fails is logged by Django, and the others hear of it."""
    if switch is None:
        return
    before, after = (each.settings.describe() for each in switch)
    number = switch.after.number
    # The first process of this node says it for all: each of them moves by itself, at the same moment.
    says = node.is_first(f"revision {number}, {switch.after.activates_at}")
    name, process = conf.node_name(), os.getpid()
    who = f"Node {name}, process {process}."
    if switch.after.ends_earlier:
        if says:
            sentence = f"Everybody has been logged out (revision {number}). {who}"
            lines.say(EVERYBODY_OUT, sentence, revision=number, node=name, process=process)
        if switch.before.is_same_place(switch.after):
            return
    if says:
        sentence = f"Sessions are now kept in {after} (revision {number}); until now in {before}. {who}"
        lines.say(
            STORE_SWITCHED, sentence, store=after, before=before, revision=number, node=name, process=process
        )
    send_robust(store_switched, type(switch.after.settings), before=before, after=after, number=number)


def reset() -> None:
    """Begin again, as a process that starts: what is found next is no switch."""
    global _in_force
    _in_force = None
