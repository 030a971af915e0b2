"""What the rules of the handover may ask for, and the few lines that do it for them.

The rules do no I/O. They are generators: each yields what it wants done, is sent the answer or has the error thrown in,
and returns what it has come to. Whoever drives them decides how things are done: here by calls that wait as
``awaiting`` has it, in a thread and for a coroutine; in ``tests/handover`` by a scheduler that tries every order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar

from sessionpersist import awaiting
from sessionpersist.stores.transactions import outside

LONGEST_PAUSE = 0.25  # seconds between two attempts; growing to this lets even slow stores settle a crowd

P = ParamSpec("P")
T = TypeVar("T")


class Call(NamedTuple):
    """Call a verb of a store. The answer is the store's. Rules yield it by ``call``, which knows the types."""

    verb: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: dict[str, Any]

    def answer(self) -> Any:
        return self.verb(*self.arguments, **self.named)


class Wait(NamedTuple):
    """Wait. There is no answer."""

    seconds: float


class Look(NamedTuple):
    """Look at which view is in force now. The answer is that view."""


class Outside(NamedTuple):
    """Run another rule outside the transaction of this thread. The answer is what it returns."""

    rule: Rule[Any]


Request: TypeAlias = Call | Wait | Look | Outside
Rule: TypeAlias = Generator[Request, Any, T]

LOOK = Look()


def call(verb: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> Rule[T]:
    """Call a verb of a store, and return its answer."""
    answer: T = yield Call(verb, arguments, named)
    return answer


def backoff(attempt: int) -> float:
    """Return for how many seconds to wait: a random time that grows with each attempt, so that contenders do not meet
    again."""
    return random.uniform(0, min(0.001 * 2**attempt, LONGEST_PAUSE))  # noqa: S311 - not for secrets


def drive(
    rule: Rule[T],
    look: Callable[[], object],
    sleep: Callable[[float], None] = awaiting.sleep,
    before: Callable[[], None] | None = None,
) -> T:
    """Run a rule to its end, and return what it returns. ``before`` is called right before each call of
    a store; what it raises is not for the rule to judge, and leaves the rule where it is."""
    try:
        request = next(rule)
        while True:
            if before and isinstance(request, Call):
                before()
            try:
                answer = _done(request, look, sleep)
            except Exception as error:  # noqa: BLE001 - whatever a store raises is for the rule to judge
                request = rule.throw(error)
            else:
                request = rule.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


def _done(request: Request, look: Callable[[], object], sleep: Callable[[float], None]) -> Any:
    match request:
        case Call():
            return request.answer()
        case Wait(seconds):
            return sleep(seconds)
        case Look():
            return look()
        case Outside(rule):
            return awaiting.in_thread(outside, lambda: drive(rule, look, sleep))
