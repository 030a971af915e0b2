"""What happens is counted once, by whoever listens: right under several processes, and without a key or a user."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from sessionpersist import sessions, stores
from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import routing
from sessionpersist.models import Lease, LoginConfiguration
from sessionpersist.session.reasons import Reason
from sessionpersist.stores import open_store
from sessionpersist.stores.base import Drainable, Record, new_version, now_ms
from sessionpersist.stores.breaker import FAULTS
from sessionpersist.stores.deadlines import TimedOut
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.settings import MemorySettings
from sessionpersist.telemetry import gauges, node, opentelemetry, prometheus, recorder, tracing
from sessionpersist.telemetry.recorder import ENDED, MERGES, METRICS, RETRIES, STARTED, Metric
from sessionpersist.testing import override_login_configuration
from tests.load import stores as places
from tests.load.clients import Browser
from tests.load.site import Node
from tests.load.warm import warm
from tests.outage.flaky import FlakyStore
from tests.servers import Postgres, Valkey, require, shared
from tests.stores.databases import added_database
from tests.stores.dripping import dripping
from tests.telemetry.counting import a_site_that_counts

KEY = "a" * 64
ROOT = Path(__file__).resolve().parents[2]


class Heard:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[Any, ...]] = Counter()
        self.operations: list[tuple[str, ...]] = []
        self.seconds: list[float] = []
        self.fails = False

    def add(self, metric: Metric, amount: int, labels: tuple[str, ...]) -> None:
        self.counts[metric, *labels] += amount

    def observe(self, seconds: float, labels: tuple[str, ...]) -> None:
        if self.fails:
            raise OSError("the disk is full")
        self.operations.append(labels)
        self.seconds.append(seconds)

    def refresh(self) -> None:
        pass


@pytest.fixture
def heard() -> Iterator[Heard]:
    listener = Heard()
    recorder.listen(listener)
    yield listener
    recorder.leave(listener)


@pytest.fixture
def flaky(tmp_path: Path) -> FlakyStore:
    return FlakyStore(tmp_path)


def record(payload: bytes = b"payload") -> Record:
    return Record(payload, new_version(), now_ms(), now_ms() + 60_000)


class TestEachVerb:
    @pytest.mark.parametrize(
        ("verb", "call", "outcome"),
        [
            ("get", lambda store, kept: store.get(KEY), "found"),
            ("get", lambda store, kept: store.get("b" * 64), "missing"),
            ("get", lambda store, kept: store.get("e" * 64), "ended"),
            ("create", lambda store, kept: store.create("b" * 64, record()), "created"),
            ("create", lambda store, kept: store.create(KEY, record()), "taken"),
            ("replace", lambda store, kept: store.replace(KEY, record(), kept.version), "saved"),
            ("replace", lambda store, kept: store.replace(KEY, record(), new_version()), "conflict"),
            ("replace", lambda store, kept: store.replace("b" * 64, record(), 1), "missing"),
            ("touch", lambda store, kept: store.touch(KEY, now_ms() + 90_000), "done"),
            ("touch", lambda store, kept: store.touch("b" * 64, now_ms()), "missing"),
            ("delete", lambda store, kept: store.delete(KEY), "done"),
            ("delete", lambda store, kept: store.delete("b" * 64), "missing"),
            ("rotate", lambda store, kept: store.rotate(KEY, kept.version, "b" * 64, record()), "done"),
            ("rotate", lambda store, kept: store.rotate(KEY, new_version(), "b" * 64, record()), "left"),
            ("rotate", lambda store, kept: store.rotate("c" * 64, None, KEY, record()), "taken"),
            ("end", lambda store, kept: store.end(KEY, now_ms() + 1000), "done"),
            ("count", lambda store, kept: store.count(), "done"),
            ("clear_expired", lambda store, kept: store.clear_expired(), "done"),
            ("get_many", lambda store, kept: store.get_many([KEY]), "done"),
            ("create_many", lambda store, kept: store.create_many({"b" * 64: record()}), "done"),
            ("delete_many", lambda store, kept: store.delete_many({KEY: kept.version}), "done"),
            ("prepare", lambda store, kept: store.prepare(), "done"),
            ("place", lambda store, kept: store.place(), "done"),
        ],
    )
    def test_is_noted_once_with_its_outcome(
        self,
        flaky: FlakyStore,
        heard: Heard,
        verb: str,
        call: Callable[[GuardedStore, Record], Any],
        outcome: str,
    ) -> None:
        flaky.create(KEY, kept := record())
        flaky.end("e" * 64, now_ms() + 60_000)
        call(GuardedStore(flaky, "The flaky store"), kept)
        assert heard.operations == [("IN_MEMORY", verb, outcome)]
        assert 0 < heard.seconds[0] < 5

    def test_that_fails_is_noted_as_what_it_met(self, flaky: FlakyStore, heard: Heard) -> None:
        guarded = GuardedStore(flaky, "The flaky store")
        flaky.down = True
        for _ in range(FAULTS + 2):
            with pytest.raises(StoreUnavailable):
                guarded.get(KEY)
        outcomes = [outcome for _, _, outcome in heard.operations]
        assert outcomes == ["unavailable"] * FAULTS + ["turned_away"] * 2

    def test_that_a_server_refuses_is_noted_as_that(
        self, flaky: FlakyStore, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*arguments: Any) -> None:
            raise StoreUnavailable("It is full.", answered=True)

        monkeypatch.setattr(flaky, "create", refuse)
        with pytest.raises(StoreUnavailable):
            GuardedStore(flaky, "The flaky store").create(KEY, record())
        assert heard.operations == [("IN_MEMORY", "create", "refused")]

    def test_that_was_tried_again_is_noted_once_and_counted(self, flaky: FlakyStore, heard: Heard) -> None:
        flaky.broken_before = 1
        GuardedStore(flaky, "The flaky store").get(KEY)
        assert heard.operations == [("IN_MEMORY", "get", "missing")]
        assert heard.counts[RETRIES, "IN_MEMORY", "get"] == 1


class TestSessions:
    pytestmark = pytest.mark.django_db

    @pytest.fixture(autouse=True)
    def on_their_own(self, switches_at_once: None) -> None:
        """In a memory that no other test has."""

    def test_a_login_and_a_logout(self, client: Client, heard: Heard) -> None:
        client.force_login(User.objects.create_user("ada"))
        assert (heard.counts[STARTED,], heard.counts.total()) == (1, 1)
        client.logout()
        assert heard.counts[ENDED, "by_user"] == 1

    def test_one_that_staff_end(self, client: Client, heard: Heard) -> None:
        client.force_login(user := User.objects.create_user("ada"))
        sessions.end_all(user, reason=Reason.BY_STAFF)
        assert heard.counts[ENDED, "by_staff"] == 1

    def test_a_merge(self, heard: Heard) -> None:
        first = SessionStore()
        first["a"] = 1
        first.save()
        second = SessionStore(first.session_key)
        second["b"] = 2
        first["c"] = 3
        first.save()
        second.save()
        assert heard.counts[MERGES,] == 1


@pytest.mark.django_db
@pytest.mark.usefixtures("switches_at_once")
def test_what_is_left_and_how_fast_it_moves() -> None:
    gauges.reset()
    open_store(MemorySettings()).create(KEY, record())
    require(Valkey)
    LoginConfiguration(**places.fields(shared(Valkey))).save()
    routing.current_store().get("b" * 64)
    assert gauges.handover_left() == {"IN_MEMORY": 1}
    assert gauges.handover_rate() == {"IN_MEMORY": 0}
    [number] = [place.number for place in routing.current_view().sources]
    for name in ("here", "there"):
        until = timezone.now() + timedelta(seconds=10)
        Lease.objects.create(scope=name, token=name, node=name, expires_at=until, moves=number, rate=120.5)
    assert gauges.handover_rate() == {"IN_MEMORY": 241}


class Counted:
    """A store whose sessions take as long to count as the test says."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.is_asked = threading.Event()
        self.asked = 0
        self.down = False

    def count(self, at_most: int) -> int:
        self.asked += 1
        self.is_asked.set()
        assert self.may_answer.wait(30)
        if self.down:
            raise StoreUnavailable("It is down.")
        return 3


def test_one_thread_counts_and_the_others_do_not_wait() -> None:
    store, count = Counted(), gauges.Count()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(count.of, cast("Drainable", store))
        assert store.is_asked.wait(30)
        assert count.of(cast("Drainable", store)) is None
        store.may_answer.set()
        assert first.result() == 3
    assert count.of(cast("Drainable", store)) == 3
    assert store.asked == 1


def test_a_store_that_could_not_be_counted_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    store, count = Counted(), gauges.Count()
    store.may_answer.set()
    store.down = True
    monkeypatch.setattr(gauges, "UNKNOWN_SECONDS", 60.0)
    assert [count.of(cast("Drainable", store)) for _ in range(3)] == [None] * 3
    assert store.asked == 1


class ToTheDripping:
    """A router of Django's."""

    def db_for_write(self, model: object, **hints: object) -> str:
        return "drips"


def test_metrics_wait_for_no_database_that_hangs(settings: Settings, django_db_blocker: Any) -> None:
    require(Postgres)
    settings.SESSIONPERSIST = {"TIMEOUT_SECONDS": 1.0}
    settings.DATABASE_ROUTERS = [ToTheDripping()]
    server = shared(Postgres)
    with django_db_blocker.unblock(), dripping(server) as relay, added_database("drips", server.url):
        relay.drips = True
        with pytest.raises(TimedOut):
            gauges._progress([1])


def test_nobody_pays_for_it_where_nobody_listens(flaky: FlakyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one call: what a verb does is look at an empty tuple."""
    monkeypatch.setattr(recorder, "listeners", ())
    guarded, called = GuardedStore(flaky, "The flaky store"), list[str]()

    def note(frame: Any, event: str, _argument: object) -> None:
        if event == "call" and "/sessionpersist/telemetry/" in frame.f_code.co_filename:
            called.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        guarded.get(KEY)
        guarded.create(KEY, record())
    finally:
        sys.setprofile(None)
    assert called == []


def test_no_request_fails_because_it_can_not_be_counted(
    flaky: FlakyStore, heard: Heard, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_quiet_until", 0.0)
    heard.fails = True
    guarded = GuardedStore(flaky, "The flaky store")
    assert [guarded.get(KEY), guarded.get(KEY)] == [None, None]
    assert caplog.text.count("A metric could not be noted") == 1


def test_names_are_those_that_opentelemetry_and_prometheus_agree_on() -> None:
    for each in METRICS:
        assert re.fullmatch(r"sessionpersist(\.[a-z]+)+", each.name)
        assert each.unit == "s" or each.unit.startswith("{")
    assert recorder.DURATION.prometheus_name == "sessionpersist_store_operation_duration_seconds"
    assert recorder.RETRIES.prometheus_name == "sessionpersist_store_retries"


class TestOpenTelemetry:
    """With a real SDK."""

    @pytest.fixture
    def reader(self, tmp_path: Path, settings: Settings) -> Iterator[InMemoryMetricReader]:
        settings.SESSIONPERSIST = {"MEMORY_DIR": tmp_path}
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], shutdown_on_exit=False)
        listener = opentelemetry.Instruments(provider.get_meter("sessionpersist"))
        recorder.listen(listener)
        gauges.reset()
        with override_login_configuration():
            yield reader
        recorder.leave(listener)
        provider.shutdown()
        node.reset()

    def read(self, reader: InMemoryMetricReader) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        found: dict[str, list[tuple[dict[str, Any], Any]]] = {}
        data = reader.get_metrics_data()
        for each in data.resource_metrics if data else ():
            for metric in each.scope_metrics[0].metrics:
                found[metric.name] = [
                    (
                        dict(point.attributes or {}),
                        point.value if isinstance(point, NumberDataPoint) else point,
                    )
                    for point in metric.data.data_points
                ]
        return found

    def test_it_listens_as_soon_as_the_api_is_there(self) -> None:
        assert any(isinstance(each, opentelemetry.Instruments) for each in recorder.listeners)

    def test_verbs_and_gauges(self, reader: InMemoryMetricReader) -> None:
        store = stores.open_store(MemorySettings())
        store.create(KEY, record())
        store.get(KEY)
        found = self.read(reader)
        [read] = [
            point
            for labels, point in found["sessionpersist.store.operation.duration"]
            if labels == {"store": "IN_MEMORY", "verb": "get", "outcome": "found"}
        ]
        assert (read.count, tuple(read.explicit_bounds)) == (1, recorder.BOUNDS)
        assert found["sessionpersist.sessions.live"] == [({"store": "IN_MEMORY"}, 1)]
        assert found["sessionpersist.store.breakers.open"] == [({"store": "IN_MEMORY"}, 0)]
        [(_, age)] = found["sessionpersist.configuration.age"]
        assert 0 <= age < 60

    def test_one_process_of_a_node_tells_the_figures_of_the_site_until_it_is_killed(
        self, reader: InMemoryMetricReader
    ) -> None:
        with another_process_that_speaks() as other:
            found = self.read(reader)
            assert "sessionpersist.sessions.live" not in found
            assert found["sessionpersist.store.breakers.open"], "each process has its own"
            os.kill(other, signal.SIGKILL)
            os.waitpid(other, 0)
            assert self.read(reader)["sessionpersist.sessions.live"] == [({"store": "IN_MEMORY"}, 0)]


@contextmanager
def another_process_that_speaks() -> Iterator[int]:
    """A process of this node that tells the figures of the site."""
    ready, said = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # another thread may hold a lock, which nobody needs
        pid = os.fork()
    if pid == 0:
        os.write(said, b"1" if node.speaks() else b"0")
        signal.pause()
    try:
        assert os.read(ready, 1) == b"1"
        yield pid
    finally:
        os.close(ready)
        os.close(said)
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_traces_are_off_by_default() -> None:
    assert tracing.tracer is None


class TestTraces:
    @pytest.fixture
    def exporter(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
        exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        monkeypatch.setattr(tracing, "tracer", provider.get_tracer("sessionpersist"))
        yield exporter
        provider.shutdown()

    def spans(self, exporter: InMemorySpanExporter) -> list[tuple[str, dict[str, Any], str]]:
        return [
            (each.name, dict(each.attributes or {}), each.status.status_code.name)
            for each in exporter.get_finished_spans()
        ]

    def test_a_span_a_verb(self, flaky: FlakyStore, exporter: InMemorySpanExporter) -> None:
        GuardedStore(flaky, "The flaky store").get(KEY)
        assert self.spans(exporter) == [
            ("sessionpersist get", {"store": "IN_MEMORY", "verb": "get"}, "UNSET")
        ]

    def test_a_failure_is_told_by_its_type_alone(
        self, flaky: FlakyStore, exporter: InMemorySpanExporter
    ) -> None:
        flaky.down = True
        with pytest.raises(StoreUnavailable):
            GuardedStore(flaky, "The flaky store").get(KEY)
        labels = {"store": "IN_MEMORY", "verb": "get", "error.type": "StoreUnavailable"}
        assert self.spans(exporter) == [("sessionpersist get", labels, "ERROR")]
        [span] = exporter.get_finished_spans()
        assert isinstance(span, ReadableSpan)
        assert not span.events
        assert not span.status.description

    def test_the_setting(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"TRACES": True}
        assert tracing.tracer is not None
        settings.SESSIONPERSIST = {}
        assert tracing.tracer is None


def in_a_process(code: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it in a process that has imported nothing yet."""
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )


def in_a_fork(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it in a process that has imported Django and the drivers, and neither models nor a listener."""
    done = warm().run(["-c", code], {**os.environ, **environment}, "", seconds=60)
    assert done.returncode == 0, done.stderr
    return done


BLOCKED = """
import sys
for name in ("opentelemetry", "prometheus_client", "health_check"):
    sys.modules[name] = None
import django
django.setup()
from sessionpersist.telemetry import recorder, tracing
import sessionpersist.health
print(recorder.listeners, tracing.tracer)
try:
    import sessionpersist.metrics
except Exception as error:
    print(type(error).__name__, error)
"""


def test_without_the_packages_there_is_nobody_to_listen() -> None:
    done = in_a_process(BLOCKED, "-W", "error")
    nobody, said = done.stdout.splitlines()
    assert nobody == "() None"
    assert said.startswith("ImproperlyConfigured sessionpersist.metrics needs prometheus_client.")


OLD_API = """
from opentelemetry.metrics import _internal
_internal._ProxyMeter.create_histogram = lambda self, name, unit="", description="": None
"""
NAMES_MISSING = "import opentelemetry.metrics; del opentelemetry.metrics.Observation"
PROVIDER_MISSING = "import os; os.environ['OTEL_PYTHON_METER_PROVIDER'] = 'there_is_none'"
SET_UP = """
import django
django.setup()
from sessionpersist.telemetry import recorder
print(recorder.listeners)
"""


@pytest.mark.parametrize(
    "installed", [OLD_API, NAMES_MISSING, PROVIDER_MISSING], ids=["old", "names missing", "provider missing"]
)
def test_a_site_starts_beside_an_opentelemetry_that_can_not_be_used(installed: str) -> None:
    done = in_a_fork(installed + SET_UP)
    assert done.stdout == "()\n"
    assert done.stderr.count("OpenTelemetry gets no metrics (") == 1


EXPORTED_AT_EXIT = """
import django
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter(), 3_600_000)]))
django.setup()
from sessionpersist.telemetry import recorder
recorder.operation("REDIS", "get", "found", 0.001)
"""


def test_what_is_exported_as_a_process_ends_is_no_error() -> None:
    done = in_a_process(EXPORTED_AT_EXIT)
    assert "sessionpersist.store.operation.duration" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("first", ["lines", "listening", "node", "recorder", "tracing"])
def test_each_module_can_be_imported_first(first: str) -> None:
    in_a_process(f"import sessionpersist.telemetry.{first}")


# Prometheus, of one process.

BESIDE_ONE_THAT_HAS_READ_NOTHING = """
import os, signal
import django
django.setup()
from sessionpersist.telemetry import gauges
from sessionpersist.telemetry.prometheus import Collector, Instruments
from sessionpersist.telemetry.recorder import AGE
ready, said = os.pipe()
other = os.fork()
if other == 0:
    Instruments()
    os.write(said, b"1")
    signal.pause()
os.read(ready, 1)
try:
    gauges.configuration_age = lambda: 7.0
    families = Collector(Instruments()).collect()
    print(next(each.samples[0].value for each in families if each.name == AGE.prometheus_name))
finally:
    os.kill(other, signal.SIGKILL)
"""


def test_the_age_of_the_configuration_is_told_beside_a_process_that_has_read_none(tmp_path: Path) -> None:
    done = in_a_fork(BESIDE_ONE_THAT_HAS_READ_NOTHING, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert 7 <= float(done.stdout) < 60


def test_a_breaker_of_a_store_that_is_out_of_use_is_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    instruments = prometheus.Instruments()

    def told(store: str) -> float | None:
        return instruments.registry.get_sample_value("sessionpersist_store_breakers_open", {"store": store})

    monkeypatch.setattr(gauges, "open_breakers", lambda: {"REDIS": 1})
    instruments.refresh()
    assert told("REDIS") == 1
    monkeypatch.setattr(gauges, "open_breakers", lambda: {"MONGODB": 0})
    instruments.refresh()
    assert (told("REDIS"), told("MONGODB")) == (0, 0)


# Prometheus, of a site with two worker processes.

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    site = a_site_that_counts(tmp_path_factory.mktemp("watched"), database=7)
    with Node(site, "node-1") as running:
        yield running


def scrape(running: Node) -> Samples:
    with urllib.request.urlopen(f"{running.url}/metrics/", timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    return sum(
        value
        for (found, of), value in samples.items()
        if found == f"sessionpersist_{name}" and labels.items() <= dict(of).items()
    )


def found_sessions(samples: Samples) -> float:
    """How many sessions were read."""
    return total(samples, "store_operation_duration_seconds_count", verb="get", outcome="found")


def test_several_workers_are_added_up_and_the_site_is_told_once(watched: Node) -> None:
    browsers = [Browser([watched.url]) for _ in range(12)]
    at_first = scrape(watched)
    begun = total(at_first, "session_started_total")
    ended = total(at_first, "session_ended_total", reason="by_user")
    pids = set[int]()
    samples: Samples = {}
    for number, browser in enumerate(browsers):
        assert browser.post(f"/login/user-{number}/").status == 200
    while len(pids) < watched.workers:
        pids.add(browsers[0].get("/whoami/").body["pid"])
    browsers[0].post("/logout/")
    for _ in range(6):  # whichever is asked
        samples = scrape(watched)
        assert total(samples, "session_started_total") == begun + 12
        assert total(samples, "session_ended_total", reason="by_user") == ended + 1
        live = [key for key in samples if key[0] == "sessionpersist_sessions_live"]
        assert live == [("sessionpersist_sessions_live", (("store", "REDIS"),))]
        assert samples[live[0]] >= 0
        assert total(samples, "store_breakers_open", store="REDIS") == 0
        assert 0 <= total(samples, "configuration_age_seconds") < 60
    before = found_sessions(samples)
    for browser in browsers[1:]:
        browser.get("/whoami/")
    assert found_sessions(scrape(watched)) == before + 11

    [first, second] = sorted(pids)
    os.kill(first, signal.SIGKILL)  # and another takes its place
    seen = {second}
    while len(seen) < 2:
        seen.add(browsers[1].get("/whoami/").body["pid"])
    samples = scrape(watched)
    assert total(samples, "session_started_total") == begun + 12
    time.sleep(2)  # one more reading of the configuration
    browsers[1].get("/whoami/")
    assert not list(
        Path(watched.site.environment["PROMETHEUS_MULTIPROC_DIR"]).glob(f"gauge_live*_{first}.db")
    )


def test_nobody_is_named(watched: Node) -> None:
    browser = Browser([watched.url])
    browser.post("/login/ada-lovelace/")
    browser.get("/visit/")
    values = {value for _, labels in scrape(watched) for name, value in labels if name != "le"}
    assert values <= {
        *("REDIS", "IN_MEMORY"),
        *(
            "get",
            "create",
            "replace",
            "touch",
            "delete",
            "end",
            "rotate",
            "get_many",
            "count",
            "place",
            "prepare",
        ),
        *("found", "missing", "ended", "created", "taken", "saved", "conflict", "done", "left"),
        *(reason.name.lower() for reason in Reason),
    }


def test_openmetrics_for_those_who_ask_for_it(watched: Node) -> None:
    asked = urllib.request.Request(
        f"{watched.url}/metrics/", headers={"Accept": "application/openmetrics-text"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert answer.read().endswith(b"# EOF\n")
