"""``login_configuration`` and ``validate_connections`` on real Sentinels, a real Cluster and a real replica set."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest

from sessionpersist.models import LoginConfiguration
from tests.commands.running import run
from tests.load import stores
from tests.servers import Cluster, ReplicaSet, Server, Watched, shared
from tests.servers.places import free_port

VARIABLE = "SESSIONPERSIST_TEST_PASSWORD"

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class Case:
    """A kind of several servers; which of its fields has the list of them; what a probe says that each of them is."""

    server: type[Server]
    nodes: str
    roles: set[str]

    @property
    def fields(self) -> dict[str, Any]:
        return stores.fields_on(self.server)

    @property
    def addresses(self) -> list[str]:
        """Where the servers are that hold sessions."""
        server = shared(self.server)
        members = server.servers if isinstance(server, Watched) else server.members  # type: ignore[attr-defined]
        return [f"{each.host}:{each.port}" for each in members]

    def with_seeds(self, seeds: list[str]) -> dict[str, Any]:
        """The fields with these in the place of the servers that are entered."""
        if self.server is not ReplicaSet:
            return {**self.fields, self.nodes: "\n".join(seeds)}
        host, port = seeds[0].split(":")
        return {**self.fields, "mongodb_host": host, "mongodb_port": port, self.nodes: "\n".join(seeds[1:])}

    def options(self) -> list[str]:
        """What the command takes for these fields."""
        prefix = "mongodb_" if self.server is ReplicaSet else "redis_"
        given = {name.removeprefix(prefix): value for name, value in self.fields.items()}
        options = ["--type", given.pop("persistence_type")]
        for name, value in given.items():
            option = f"--{name.replace('_', '-')}"
            if name.endswith("password"):
                options += [f"{option}-env", f"{VARIABLE}_{name.upper()}"]
            else:
                options += [option, *str(value).split()]
        return options


GROUPS = {
    "cluster": Case(Cluster, "redis_nodes", {"primary, no replica"}),
    "sentinel": Case(Watched, "redis_nodes", {"primary", "replica"}),
    "replica_set": Case(ReplicaSet, "mongodb_nodes", {"primary", "secondary"}),
}
CASES = [pytest.param(case, id=name, marks=pytest.mark.xdist_group(name)) for name, case in GROUPS.items()]


@pytest.mark.parametrize("case", CASES)
class TestSeveralServers:
    def test_set_and_show_have_all_fields_and_no_secret(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secrets = {name: value for name, value in case.fields.items() if name.endswith("password")}
        for name, value in secrets.items():
            monkeypatch.setenv(f"{VARIABLE}_{name.partition('_')[2].upper()}", value)
        result = run("login_configuration", "set", *case.options())
        assert result.error is None
        assert "Saved: " in result.output
        saved = vars(LoginConfiguration.get_solo())
        plain = {name: value for name, value in case.fields.items() if name not in secrets}
        assert {name: saved[name] for name in plain} == plain
        shown = run("login_configuration", "show")
        told = json.loads(run("login_configuration", "show", "--json").output)["settings"]
        for name, value in plain.items():
            field = name.partition("_")[2]
            if name != "persistence_type":
                assert told[field] == value
                assert all(line in shown.output for line in str(value).splitlines())
        for value in secrets.values():
            assert value not in result.everything + shown.everything + json.dumps(told)

    def test_each_server_is_shown_with_its_role_and_time(self, case: Case) -> None:
        LoginConfiguration(**case.fields).save()
        result = run("validate_connections")
        assert result.error is None
        for address in case.addresses:
            told = re.findall(f"  ok .*{address} .*ms.*", result.output)
            assert [line for line in told if any(role in line.partition(address)[2] for role in case.roles)]

    def test_so_it_is_in_json(self, case: Case) -> None:
        LoginConfiguration(**case.fields).save()
        (store,) = json.loads(run("validate_connections", "--json").output)
        assert store["ok"]
        for address in case.addresses:
            (step,) = (
                step
                for step in store["steps"]
                if f"{address} " in f"{step['name']} {step['message']} "
                and any(role in step["message"] for role in case.roles)
            )
            assert step["milliseconds"] > 0

    def test_one_that_does_not_answer_is_a_warning(self, case: Case) -> None:
        silent = f"127.0.0.1:{free_port()}"
        fields = case.fields
        LoginConfiguration(**case.with_seeds([silent, *seeds_of(fields, case)])).save()
        result = run("validate_connections")
        assert result.error is None
        assert [
            line for line in result.output.splitlines() if line.startswith("  warning") and silent in line
        ]

    def test_where_none_answers_it_is_an_error(self, case: Case) -> None:
        silent = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        LoginConfiguration(**case.with_seeds(silent)).save()
        result = run("validate_connections", "--json")
        assert result.error is not None
        (store,) = json.loads(result.output)
        assert not store["ok"]
        last = store["steps"][-1]
        assert last["field"] in ("nodes", "host")
        assert silent[0].partition(":")[2] in last["message"]


def seeds_of(fields: dict[str, Any], case: Case) -> list[str]:
    """The servers that are entered."""
    first = [f"{fields['mongodb_host']}:{fields['mongodb_port']}"] if case.server is ReplicaSet else []
    return [*first, *fields[case.nodes].splitlines()]
