"""What is done as a process ends, in order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sessionpersist import exits
from sessionpersist.exits import Layer
from sessionpersist.handover import draining
from sessionpersist.stores.mongodb import client
from sessionpersist.upkeep import daemons


def test_threads_end_before_the_connections_that_they_use() -> None:
    order = [end for _layer, end in exits._registered]
    expected: list[Callable[[], None]] = [daemons.end, draining.reset, client._close_all]
    assert [end for end in order if end in expected] == expected


def test_one_that_fails_keeps_no_other_from_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "_registered", [])
    done: list[str] = []

    def failing() -> None:
        raise RuntimeError("it failed")

    exits.at_exit(Layer.CONNECTIONS, lambda: done.append("connections"))
    exits.at_exit(Layer.KNOWLEDGE, failing)
    exits.at_exit(Layer.WORK, lambda: done.append("work"))
    with pytest.raises(RuntimeError):
        exits._end_all()
    assert done == ["work", "connections"]
