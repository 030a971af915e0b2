"""What all tests share. First of all the environment, then Django, which reads it; the rest may need both."""

import functools
import gc
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import django
import pytest
import sqlparse
from _pytest.nodeid import NodeId
from django.conf import settings
from django.db import connections
from django.utils import translation
from hypothesis import settings as hypothesis_settings
from pytest_django import Settings

from tests.scratch import use_memory_for_files
from tests.servers.base import unused_data

use_memory_for_files()
unused_data()  # of this process and, where there are several, of those that it starts to run the tests

# Kept until the interpreter ends, which removes it.
MEMORY = tempfile.TemporaryDirectory(prefix="sessionpersist-tests-")

os.environ |= {
    "DJANGO_SETTINGS_MODULE": "project.settings",
    "ENV_FILE": "",  # a developer's .env is not for tests
    "DEBUG": "true",  # plain HTTP; the test runner turns settings.DEBUG itself off again
    "SECRET_KEY": "for-tests-only-0123456789-abcdefghijklmnopqrstuvwxyz",
    "MEMORY_DIR": MEMORY.name,
    # No authority of the system has signed a certificate here, and the driver of MariaDB reads all of them each time
    # that it connects: twenty milliseconds of work.
    "SSL_CERT_FILE": os.devnull,
    "SSL_CERT_DIR": os.devnull,
}

gc.disable()  # until all tests are collected: nothing of them is garbage

# Not left to pytest-django, which would do it before this file is read.
django.setup()

from sessionpersist import conf, stores  # now that Django is set up
from tests import sizes
from tests.aio.looping import on_a_loop
from tests.servers import ALL, stop_those_of_several

# These tests are about what other projects want to be spared under a test runner (see handover/quiet_tests.py).
conf.DEFAULTS["QUIET_TESTS"] = False
# Nothing moves by itself unless a test has it moved.
conf.DEFAULTS |= {"DRAIN_RATE": 0.0, "CLEAR_SECONDS": 0.0}

# `make test-long` names the other one.
hypothesis_settings.load_profile("quick")

# Django parses the statement that made a table of SQLite whenever it is asked for the indexes: four milliseconds.
sqlparse.parse = functools.cache(sqlparse.parse)

# A password costs half a second of work on purpose, otherwise.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# A file: Django never closes a connection to an SQLite database in memory, not even that of a thread that ends.
connections["default"].settings_dict["TEST"]["NAME"] = str(Path(MEMORY.name) / "test.sqlite3")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many processes ``-n auto`` starts: four a core, as most of what tests do is wait.

    Each starts servers of its own. A server that is given by its URL is one for all, and tests take it for theirs
    alone, so there is one process then.
    """
    if any(os.environ.get(server.variable) for server in ALL if server.variable):
        return 1
    return 4 * len(os.sched_getaffinity(0))


def pytest_collection(session: pytest.Session) -> None:
    """Have each of the processes import other tests first, all of which it has to import anyway.

    The first to import a file compiles it, with its assertions rewritten, and saves that for the others. In one order
    all of them would compile everything at the same time, as nothing is compiled yet in a fresh clone.
    """
    worker: dict[str, Any] = getattr(session.config, "workerinput", {})
    if not worker or session.config.args != session.config.getini("testpaths"):
        return
    number, folder = int(worker["workerid"].removeprefix("gw")), Path(__file__).parent
    for file in sorted(folder.rglob("test_*.py"))[number :: worker["workercount"]]:
        name = ".".join(("tests", *file.relative_to(folder).with_suffix("").parts))
        with suppress(pytest.skip.Exception, ImportError):  # which is told when it is collected
            import_module(name)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Collector, name: str, obj: object
) -> list[pytest.Item] | None:
    """Make no tests that `make test` would leave out again: each of its processes would make thousands."""
    left_out = collector.config.option.markexpr == "not long" and sizes.is_only_long(collector, name, obj)
    return [] if left_out else None


# What one process runs, group after group. The lanes that take longest begin first: with what begins late, one process
# is at work and the others wait. In the first of them tests wait most of the time, for servers that hang, or that elect
# another primary. All at once they would leave the processors idle; so others are at work beside them.
LANES = (
    ("hanging", "tls"),
    ("outage", "upkeep"),
    ("replica_set", "replicas", "sentinel", "cluster"),
    *(("browser stores", "browser users"), ("browser page",), ("load",), ("servers",)),
    *(("wheel",), ("tutorial",)),
)
IN_TURN = [group for lane in LANES for group in lane]


def group_of(item: pytest.Item) -> str | None:
    """Return the group of tests that have servers, or time, in common, which one process is to run; None: any may."""
    mark = item.get_closest_marker("xdist_group")
    return mark.args[0] if mark else None


def lane_of(group: str) -> str:
    """Return the name of all groups that the same process runs: that of the first."""
    return next((lane[0] for lane in LANES if group in lane), group)


def turn_of(item: pytest.Item) -> int:
    """Return when the group of a test is to begin; tests of no group fill what time is left."""
    group = group_of(item)
    if group is None:
        return len(IN_TURN) + 1
    return IN_TURN.index(group) if group in IN_TURN else len(IN_TURN)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what only `make test-long` runs; tell ``--dist loadgroup`` the lane of each test, as the end of its id, and
    the order of the groups.

    xdist 3.8 tells the group in an attribute that pytest no longer reads since 9.2.
    """
    for item in items:
        if sizes.is_from_a_long_part(getattr(item, "originalname", ""), getattr(item, "cls", None)):
            item.add_marker(pytest.mark.long)
    if getattr(config.option, "loadgroup", False):
        items.sort(key=turn_of)
    for item in items if getattr(config.option, "loadgroup", False) else ():
        group = group_of(item)
        if group and not item.nodeid.endswith(end := f"@{lane_of(group)}"):
            item._id = NodeId.parse(item.nodeid + end)  # type: ignore[attr-defined, unused-ignore]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last test of a group, stop the servers that it had in common: no other test here needs them."""
    if nextitem is not None and group_of(item) not in (None, group_of(nextitem)):
        stop_those_of_several()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Run the tests of a class that asks for it on an event loop. See tests/aio/looping.py."""
    cls = pyfuncitem.cls
    if getattr(cls, "in_a_loop", False) and pyfuncitem.originalname not in cls.as_before:
        pyfuncitem.obj = on_a_loop(pyfuncitem.obj, beside_a_thread=cls.beside_a_thread)


def pytest_collection_finish() -> None:
    """Thousands of tests are no garbage: the collector need not look through them again and again. Nor need it look
    for garbage in every 700 new objects, of which a page of the admin makes tens of thousands."""
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


@pytest.fixture(autouse=True)
def no_store_stays_open() -> Iterator[None]:
    """Close the stores that a test has used: most tests have a folder or a prefix, and so stores, of their own. An
    In-Memory store keeps four files open, and a client of MongoDB three threads that ask the server every few seconds.
    """
    yield
    stores.reset()


@pytest.fixture(autouse=True)
def no_language_stays() -> Iterator[None]:
    """Forget the language of the last request: the middleware leaves it to the thread, and so the test client does."""
    yield
    translation.deactivate()


@pytest.fixture
def switches_at_once(settings: Settings, tmp_path: Path) -> Iterator[None]:
    """Whatever is chosen is in force with the next operation, on a node and in a memory that no other test has."""
    from sessionpersist.handover import snapshot

    own = {"MEMORY_DIR": tmp_path, "KEY_PREFIX": tmp_path.name, "NODE_NAME": "here"}  # servers are shared
    settings.SESSIONPERSIST = {"ACTIVATION_SECONDS": 0, "GUARD_SECONDS": 0.05, **own}
    snapshot.reset()
    yield
    snapshot.reset()
