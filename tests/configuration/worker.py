"""One process of a site, as a test drives it: a line of commands in, a line of JSON out.

    save            save a session                            {"key": …}
    has KEY         look for one                              {"found": …}
    choose TYPE N   choose a store, to activate in N seconds  {"begun": …, "done": …}
    seen            what was in force, and since when         {"seen": [[time, type], …]}

A thread looks every few milliseconds which store is in force, as a steady stream of requests would.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import django


class Worker:
    def __init__(self) -> None:
        self.seen: list[tuple[float, str]] = []

    def watch(self) -> None:
        from sessionpersist.handover import routing

        while True:
            routing.current_store()
            store_type = routing.current_settings().type
            if not self.seen or self.seen[-1][1] != store_type:
                self.seen.append((time.time(), store_type))
            time.sleep(0.003)

    def answer(self, command: str, *arguments: str) -> dict[str, Any]:
        from django.conf import settings
        from django.db import close_old_connections

        from sessionpersist.engine import SessionStore
        from sessionpersist.models import LoginConfiguration

        close_old_connections()  # as Django does at each request
        if command == "save":
            session = SessionStore()
            session.create()
            return {"key": session.session_key}
        if command == "has":
            return {"found": SessionStore().exists(arguments[0])}
        if command == "choose":
            settings.SESSIONPERSIST["ACTIVATION_SECONDS"] = float(arguments[1])
            begun = time.time()
            LoginConfiguration(persistence_type=arguments[0], jdbc_database="default").save()
            return {"begun": begun, "done": time.time()}
        return {"seen": self.seen}


def main() -> None:
    django.setup()
    worker = Worker()
    threading.Thread(target=worker.watch, daemon=True).start()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(worker.answer(*line.split())) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
