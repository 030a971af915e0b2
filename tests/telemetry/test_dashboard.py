"""The dashboard for Grafana asks for what a real run exposes; by Prometheus itself, where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sessionpersist.telemetry.recorder import METRICS
from tests.load.clients import Browser
from tests.load.site import Node
from tests.servers.places import free_port
from tests.telemetry.counting import a_site_that_counts

DASHBOARD = Path(__file__).resolve().parents[2] / "docs" / "grafana" / "sessionpersist.json"
QUERIES: list[str] = [
    target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]
]
NAME = re.compile(r"\bsessionpersist_\w+")
SELECTED = re.compile(r"(sessionpersist_\w+)\{([^}]*)\}")
GROUPED = re.compile(r"by \(([\w, ]+)\)")
START_SECONDS = 60.0
# A handover to watch has none of these: nobody retries, merges, or fails.
MAY_BE_EMPTY = ("retries", "merges", "unavailable", "session_ended", "handover_moved")


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A site in the midst of a handover, which users have logged in to."""
    site = a_site_that_counts(tmp_path_factory.mktemp("exposed"), database=8)
    with Node(site, "node-1") as running:
        browsers = [Browser([running.url]) for _ in range(4)]
        for number, browser in enumerate(browsers):
            assert browser.post(f"/login/user-{number}/").status == 200
        site.configure(persistence_type="IN_MEMORY")
        time.sleep(2)
        for browser in browsers[:2]:
            browser.get("/visit/")
        yield running


def test_every_metric_is_on_it() -> None:
    asked = " ".join(QUERIES)
    assert [each.name for each in METRICS if each.prometheus_name not in asked] == []


def test_it_asks_for_names_and_labels_that_a_run_exposes(exposed: Node) -> None:
    with urllib.request.urlopen(f"{exposed.url}/metrics/", timeout=30) as answer:
        text = answer.read().decode()
    families = {each.name: each for each in text_string_to_metric_families(text)}
    labels = {each.prometheus_name: {*each.labels, "le", "job"} for each in METRICS}
    for query in QUERIES:
        for name in NAME.findall(query):
            family = re.sub("_(bucket|count|total)$", "", name)
            assert family in labels, name
            # A counter that nobody has counted yet is in no file of any process.
            assert family in families or any(part in query for part in MAY_BE_EMPTY), name
        for name, selector in SELECTED.findall(query):
            family = re.sub("_(bucket|count|total)$", "", name)
            assert set(re.findall(r"(\w+)[!=]?[=~]", selector)) <= labels[family]
            for group in GROUPED.findall(query):
                assert set(group.split(", ")) <= set().union(*labels.values())


@pytest.fixture(scope="module")
def prometheus(exposed: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed.")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    target = urllib.parse.urlsplit(exposed.url).netloc
    scraped = {"job_name": "site", "metrics_path": "/metrics/", "static_configs": [{"targets": [target]}]}
    settings = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scraped]}
    (folder / "prometheus.yml").write_text(json.dumps(settings))  # JSON is YAML
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
    ]
    with subprocess.Popen(
        [*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL
    ) as running:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for_samples(url)
            yield url
        finally:
            running.terminate()


def ask(url: str, query: str) -> list[Any]:
    """Return what a query results in. Raises HTTPError where Prometheus does not understand it."""
    query = query.replace("$__rate_interval", "1m").replace("$job", ".*")
    with urllib.request.urlopen(
        f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=30
    ) as answer:
        found = json.load(answer)
    assert found["status"] == "success"
    result: list[Any] = found["data"]["result"]
    return result


def wait_for_samples(url: str) -> None:
    """A rate takes two of them."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):
            if ask(url, "count_over_time(sessionpersist_sessions_live[1m]) > 2"):
                return
        time.sleep(0.2)
    raise TimeoutError("Prometheus has scraped nothing.")


def test_prometheus_understands_each_query_and_finds_something(prometheus: str) -> None:
    for query in QUERIES:
        found = ask(prometheus, query)
        assert found or any(part in query for part in MAY_BE_EMPTY), query


def test_prometheus_sees_the_handover(prometheus: str) -> None:
    [left] = ask(prometheus, "sessionpersist_handover_left")
    assert left["metric"]["store"] == "REDIS"
    assert float(left["value"][1]) == 2
    [rate] = ask(prometheus, "sessionpersist_handover_rate_per_second")
    assert (rate["metric"]["store"], float(rate["value"][1])) == ("REDIS", 0)
