"""The files in ``deploy`` fit each other, the site, and the schemas of Kubernetes; test_running.py runs them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from django.core.management import get_commands, load_command_class
from django.urls import resolve

from tests.deploy.files import (
    DEPLOY,
    MANIFESTS,
    NODES,
    ROOT,
    SERVICES,
    command,
    containers,
    copied,
    documents,
    words,
)
from tests.docs.pages import REFERENCE, named, rows

NGINX = (DEPLOY / "nginx.conf").read_text()
CONTAINERS = containers()
VARIABLES = {*named(rows(REFERENCE / "environment.md")), "SESSIONPERSIST_REDIS_PASSWORD"}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_manifest_has_nothing_that_kubernetes_does_not_know(manifest: Path) -> None:
    for document in documents(manifest):
        if document["kind"] != "Kustomization":
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_kustomization_is_built_of_what_is_there() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    folder = DEPLOY / "kubernetes"
    done = subprocess.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    kinds = [each["kind"] for each in yaml.safe_load_all(done.stdout)]
    assert sorted(kinds) == ["Deployment", "PodDisruptionBudget", "Service"]


def test_probes_ask_pages_of_the_site_and_wait_longer_than_it_does() -> None:
    deployment = next(each for each in documents(DEPLOY / "kubernetes" / "site.yaml"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    found = {kind: container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")}
    names = {kind: resolve(probe["httpGet"]["path"]).view_name for kind, probe in found.items()}
    live, ready = "sessionpersist_health:live", "sessionpersist_health:ready"
    assert names == {"startup": ready, "readiness": live, "liveness": live}
    assert all(probe["timeoutSeconds"] > 2 for probe in found.values())
    assert [each["containerPort"] for each in container["ports"]] == [8000]


def test_what_is_copied_is_there_and_not_left_out() -> None:
    let_in = re.findall(r"^!(.*)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    sources = [source for _, source, _ in copied()]
    assert sorted(let_in) == sorted(sources)
    assert [each for each in sources if not (ROOT / each).exists()] == []


@pytest.mark.parametrize("name", CONTAINERS)
def test_container_has_variables_and_commands_of_the_site(name: str) -> None:
    container = CONTAINERS[name]
    given = {*container.get("environment", {}), *(each["name"] for each in container.get("env", []))}
    assert given - {"NODE_NAME"} <= VARIABLES
    if words(container)[:2] == ["python", "manage.py"]:
        _, _, command_name, *options = words(container)
        command_class = load_command_class(get_commands()[command_name], command_name)
        command_class.create_parser("manage.py", command_name).parse_args(options)


def test_services_of_compose_wait_for_services_that_are_there() -> None:
    needed = {name: set(each.get("depends_on", {})) for name, each in SERVICES.items()}
    assert {each for names in needed.values() for each in names} <= set(SERVICES)
    assert all("migrate" in needed[node] for node in NODES)
    assert needed["balancer"] == set(NODES)


def test_the_balancer_knows_the_nodes_and_is_where_compose_says() -> None:
    assert "--bind=0.0.0.0:8000" in command()
    assert re.findall(r"server (\S+) max_fails", NGINX) == [f"{node}:8000" for node in NODES]
    inner = {each.rsplit(":", 1)[1] for each in SERVICES["balancer"]["ports"]}
    assert inner == set(re.findall(r"listen (\d+)", NGINX))


def test_no_password_is_written_down() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|DATABASE_URL", variable):
                assert re.search(r"\$\{\w+:\?\}", value), (name, variable)
