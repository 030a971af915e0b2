"""What can be run of ``deploy`` without Docker: each line of the Dockerfile in a fresh environment, and what it makes
behind a real nginx with the balancer's own configuration, on a real PostgreSQL and a real Valkey.

Not run: the base images, the network of Compose, and a cluster of Kubernetes.
"""

from __future__ import annotations

import http.cookiejar
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.files import COMPOSE, DEPLOY, NODES, ROOT, SERVICES, command, steps, words
from tests.load.operator import Form
from tests.servers import Postgres, Valkey, require
from tests.servers.certificates import make_certificates
from tests.servers.places import free_port, is_free
from tests.servers.process import GuardedProcess

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("deploy")]

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
PASSWORD = "for-this-test-only-1"
KEPT = ("HOME", "TMPDIR", "LANG")
SECONDS = 120.0  # on a busy machine


@dataclass
class Image:
    """What the Dockerfile has made: a folder, an environment of Python, and the variables that it sets."""

    folder: Path
    environment: dict[str, str]

    def run(self, words: list[str], **variables: str) -> str:
        """Run a command as a container would, and return what it said."""
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Every line of the stage of the site, in order. Only the user is not made: this machine needs none."""
    folder = tmp_path_factory.mktemp("srv")
    python, stubs = folder / "python", folder / "stubs"
    subprocess.run([sys.executable, "-m", "venv", python], check=True)
    stubs.mkdir()
    (stubs / "useradd").symlink_to("/bin/true")
    path = f"{python / 'bin'}:{stubs}:{os.environ['PATH']}"
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    image = Image(
        folder / "site",
        {**{name: os.environ[name] for name in KEPT if name in os.environ}, **pip, "PATH": path},
    )
    image.folder.mkdir()
    for word, rest in steps("site"):
        if word == "ENV":
            image.environment |= dict([rest.split("=", 1)])
        elif word == "COPY":
            copy(rest, image.folder)
        elif word == "RUN":
            image.run(["sh", "-c", rest])
        else:
            assert word in ("WORKDIR", "USER", "EXPOSE", "CMD"), word
    return image


def copy(rest: str, folder: Path) -> None:
    source, target = rest.split()
    if (ROOT / source).is_dir():
        shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(ROOT / source, folder / target)


@dataclass
class Stack:
    """The services of compose.yaml, as far as they run here."""

    url: str
    plain_url: str
    ca_file: Path
    nodes: dict[str, GuardedProcess]
    redis: Valkey


@pytest.fixture
def stack(image: Image, tmp_path: Path) -> Iterator[Stack]:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    for server in (Postgres, Valkey):
        require(server)
    with ExitStack() as running:
        database, redis = running.enter_context(Postgres()), running.enter_context(Valkey())
        ports = {name: free_port() for name in (*NODES, "8080", "8443")}
        given = {"SECRET_KEY": "k" * 64, "DATABASE_PASSWORD": "", "REDIS_PASSWORD": redis.password}
        changed = {
            "DATABASE_URL": database.url,
            "CSRF_TRUSTED_ORIGINS": f"https://localhost:{ports['8443']}",
            "MEMORY_DIR": str(tmp_path),
        }
        variables = {name: filled(SERVICES[name]["environment"], given) | changed for name in NODES}
        set_up(image, variables[NODES[0]], redis)
        nodes = {
            name: running_node(running, image, name, ports[name], variables[name], tmp_path) for name in NODES
        }
        certificates = make_certificates(tmp_path)
        balancer(running, image, ports, certificates.server_file, tmp_path)
        url = f"https://localhost:{ports['8443']}"
        yield Stack(url, f"http://localhost:{ports['8080']}", certificates.ca_file, nodes, redis)


def filled(environment: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """What Compose makes of ``${NAME:?}``."""
    return {
        name: re.sub(r"\$\{(\w+):\?\}", lambda match: given[match[1]], str(value))
        for name, value in environment.items()
    }


def set_up(image: Image, variables: dict[str, str], redis: Valkey) -> None:
    """What is done once: the tables by the service that migrates, an account, and the store."""
    image.run(words(COMPOSE["services"]["migrate"]), **variables)
    image.run(
        ["python", "manage.py", "createsuperuser", "--no-input", "--username=ada", "--email=ada@example.org"],
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
        **variables,
    )
    chosen = ["--type=REDIS", f"--host={redis.host}", f"--port={redis.port}"]
    chosen.append("--password-env=SESSIONPERSIST_REDIS_PASSWORD")
    at_once = {**variables, "ACTIVATION_SECONDS": "0"}  # no node runs yet
    image.run(["python", "manage.py", "login_configuration", "set", *chosen], **at_once)


def running_node(
    running: ExitStack, image: Image, name: str, port: int, variables: dict[str, str], folder: Path
) -> GuardedProcess:
    """The command of the image, on a port of its own, once the health check of the container is content."""
    moved = [each.replace("0.0.0.0:8000", f"127.0.0.1:{port}") for each in command()]
    moved.append(f"--chdir={image.folder}")  # its guard removes the folder that it is given
    log = folder / f"{name}.log"
    own = folder / name
    own.mkdir()
    process = GuardedProcess(moved, own, "", log, image.environment | variables)
    running.callback(process.end, signal.SIGTERM)
    check = (
        f"from project.healthy import main; raise SystemExit(main('http://127.0.0.1:{port}/health/live/'))"
    )
    give_up = time.monotonic() + SECONDS
    while subprocess.run(
        ["python", "-c", check],
        cwd=image.folder,
        env=image.environment | variables,
        capture_output=True,
        check=False,
    ).returncode:
        assert process.alive, log.read_text()
        assert time.monotonic() < give_up, log.read_text()
        time.sleep(0.2)
    return process


def balancer(
    running: ExitStack, image: Image, ports: dict[str, int], certificate: Path, folder: Path
) -> None:
    """nginx with the configuration of the image; only addresses and paths are those of this machine."""
    text = (DEPLOY / "nginx.conf").read_text()
    for old, new in {
        **{f"server {name}:8000": f"server 127.0.0.1:{ports[name]}" for name in NODES},
        "listen 8080;": f"listen 127.0.0.1:{ports['8080']};",
        "listen 8443 ssl;": f"listen 127.0.0.1:{ports['8443']} ssl;",
        "/etc/nginx/certificates/certificate.pem": str(certificate),
        "/etc/nginx/certificates/key.pem": str(certificate),
        "/srv/static/": f"{image.folder / 'static_root'}/",
        "/tmp/nginx.pid": str(folder / "nginx.pid"),
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    file, own = folder / "nginx.conf", folder / "nginx"
    own.mkdir()
    file.write_text(text)
    user = "user root; " if os.geteuid() == 0 else ""  # another could not read the folder of the test
    words = [str(NGINX), "-p", str(own), "-c", str(file), "-g", f"{user}daemon off;"]
    tried = subprocess.run([*words[:-2], "-t"], capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stderr
    log = folder / "nginx.log"
    process = GuardedProcess(words, own, "", log)
    running.callback(process.end, signal.SIGTERM)
    give_up = time.monotonic() + SECONDS
    while is_free(ports["8080"]) or is_free(ports["8443"]):
        assert process.alive, log.read_text()
        assert time.monotonic() < give_up, log.read_text()
        time.sleep(0.1)


class Browser:
    """Keeps cookies, and follows no redirect, so that each can be looked at."""

    def __init__(self, stack: Stack) -> None:
        self.url = stack.url
        trusted = ssl.create_default_context(cafile=str(stack.ca_file))
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=trusted),
            urllib.request.HTTPCookieProcessor(self.cookies),
            Unfollowed(),
        )

    def open(self, url: str, typed: dict[str, str] | None = None) -> tuple[int, str, Any]:
        """Return the status, the text and the headers."""
        data = None if typed is None else urllib.parse.urlencode(typed).encode()
        request = urllib.request.Request(url, data, {"Referer": self.url + "/", "Origin": self.url})
        try:
            with self._opener.open(request, timeout=SECONDS) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(), error.headers

    def log_in(self) -> None:
        _, page, _ = self.open(f"{self.url}/admin/login/")
        status, text, _ = self.open(
            f"{self.url}/admin/login/",
            Form.of(page, "login-form") | {"username": "ada", "password": PASSWORD},
        )
        assert status == 302, text


class Unfollowed(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


def seen(page: str, name: str) -> str:
    return str(re.findall(rf'id="{name}">\s*([^<]+?)\s*<', page)[0])


def test_a_login_holds_on_both_nodes_and_when_one_is_killed_and_an_outage_reaches_the_browser_as_it_is(
    stack: Stack,
) -> None:
    browser = Browser(stack)
    status, _, headers = browser.open(stack.plain_url + "/")
    assert (status, headers["Location"]) == (308, "https://localhost/")
    status, text, _ = browser.open(f"{stack.url}/static/project/site.css")
    assert (status, ".card" in text) == (200, True)

    browser.log_in()
    pages = [browser.open(f"{stack.url}/") for _ in range(8)]
    assert {status for status, _, _ in pages} == {200}
    assert {seen(text, "node") for _, text, _ in pages} == set(NODES)
    assert [int(seen(text, "visits")) for _, text, _ in pages] == list(range(1, 9))
    assert seen(pages[-1][1], "store") == "REDIS"

    stack.nodes[NODES[0]].kill()
    after = [browser.open(f"{stack.url}/") for _ in range(6)]
    assert [status for status, _, _ in after] == [200] * 6
    assert {seen(text, "node") for _, text, _ in after} == {NODES[1]}
    assert int(seen(after[-1][1], "visits")) == 14

    kept = {each.name: each.value for each in browser.cookies}
    stack.redis.kill()
    status, _, headers = browser.open(f"{stack.url}/")
    assert (status, "Retry-After" in headers) == (503, True)
    assert {each.name: each.value for each in browser.cookies} == kept
