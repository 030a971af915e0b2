"""The guided tour of `make demo ARGS=--tour`: steps that a person follows in browsers, one at a time.

Each says what to do and what there is to see. Enter leads on to the next; some do something then, such as killing a
store.
"""

import select
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.servers import Server

CONFIGURATION_PAGE = "/admin/sessionpersist/loginconfiguration/"


def nothing() -> None:
    """What most steps do as one leaves them."""


@dataclass(frozen=True)
class Step:
    """What to do, what to see then, and what happens as one leaves it; `promise` says that last."""

    title: str
    text: str
    leave: Callable[[], object] = nothing
    promise: str = "for the next step"


class Tour:
    """Shows one step after another."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._at = 0
        self._listening = True

    def begin(self) -> None:
        self._show()

    def listen(self, seconds: float) -> None:
        """Wait for that long, and go on meanwhile if somebody presses Enter. Where nobody can, only wait."""
        if not self._listening or self._at == len(self._steps):
            time.sleep(seconds)
        elif select.select([sys.stdin], [], [], seconds)[0]:
            if sys.stdin.readline():
                self._go_on()
            else:
                self._listening = False

    def _go_on(self) -> None:
        self._steps[self._at].leave()
        self._at += 1
        self._show()

    def _show(self) -> None:
        if self._at == len(self._steps):
            print("\nThat was the tour. Go on by yourself, or press Ctrl-C to stop everything.", flush=True)
            return
        step = self._steps[self._at]
        title = f"Step {self._at + 1} of {len(self._steps)}: {step.title}"
        print(f"\n{title}\n{'-' * len(title)}\n{step.text}\n\nPress Enter {step.promise}.", flush=True)


def steps(urls: Sequence[str], name: str, password: str, redis: Server) -> list[Step]:
    """The steps for two nodes at these addresses, with the account of staff, and the server to choose and to kill."""
    first, second = urls[:2]
    return [
        Step(
            "log in",
            f"Open {first}/login/ and log in as {name} with the password {password}\n"
            "The page counts your visits in your session, and says which node answered. Reload it.\n"
            "Sessions are in the memory of node-1 so far. Do not open the other node yet: it does not know you.",
        ),
        Step(
            "switch the store while the site runs",
            f"Go back to {first}{CONFIGURATION_PAGE}\n"
            f"Choose REDIS: host {redis.host}, port {redis.port}, password {redis.password}\n"
            "Press Test connection, then Save. After about ten seconds both nodes switch.\n"
            f"Reload {first}/ : you are still logged in, and the count goes on.",
        ),
        Step(
            "ask the other node",
            f"Open {second}/\nYou are logged in there, too, and the count goes on from node to node.",
        ),
        Step(
            "use a second browser",
            f"Open a private window, or another browser, and log in at {second}/login/ as well.\n"
            "In the first one, open “Your sessions”: both are listed. Press Log out there.\n"
            "Reload the private window: it is logged out, and says why. Log in again there.",
            redis.kill,
            "to kill the store, as a crash would",
        ),
        Step(
            "look at an outage",
            f"Reload {first}/ and {second}/ : both say that sessions can't be reached, and try again by themselves.\n"
            "It is a 503, and your browser keeps its cookie. Nobody is logged out.",
            redis.start,
            "to start the store again",
        ),
        Step(
            "see it recover",
            f"Wait a moment, or reload {first}/ and {second}/\n"
            "The site has found the store again by itself, and you are logged in as before.",
        ),
        Step(
            "leave a store for good",
            f"On {first}{CONFIGURATION_PAGE} choose JDBC with the database “reports”, and Save.\n"
            "Reload the first page until “Still moving from” is gone, half a minute after the switch: sessions that\n"
            "nobody asks for move by themselves. Then the old store may go.",
            redis.kill,
            "to kill the old store",
        ),
        Step(
            "leave it behind",
            f"Reload {first}/ and {second}/ : you are still logged in. Nothing needs the old store any more.",
        ),
    ]
