"""The site as in production: without DEBUG and over HTTPS."""

from __future__ import annotations

import os
import signal
import ssl
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.browser.visitor import PASSWORD, USER
from tests.load.site import ROOT, Site
from tests.load.warm import warm
from tests.servers.certificates import Certificates
from tests.servers.places import free_port

START_SECONDS = 30.0


@contextmanager
def production(folder: Path, certificates: Certificates) -> Iterator[str]:
    """A site with one account; the address at which it answers."""
    port = free_port()
    site = Site(folder, DEBUG="false", ALLOWED_HOSTS="localhost", DJANGO_SUPERUSER_PASSWORD=PASSWORD)
    site.migrate()
    site.manage("createsuperuser", "--no-input", f"--username={USER}", "--email=grace@example.org")
    command = ["-m", "gunicorn", "tests.browser.wsgi", f"--bind=127.0.0.1:{port}", "--threads=4"]
    command += [f"--certfile={certificates.server_file}", f"--keyfile={certificates.server_file}"]
    log = folder / "production.log"
    with log.open("ab") as out, Path(os.devnull).open() as nothing:
        standard = [nothing.fileno(), out.fileno(), out.fileno()]
        process = warm().start([*command, f"--chdir={ROOT}"], site.environment, standard, folder)
    try:
        url = f"https://localhost:{port}"
        wait_for(url, certificates, log)
        yield url
    finally:
        process.end(signal.SIGTERM)


def key_pin(certificates: Certificates) -> str:
    """The server's public key as Chromium wants it named."""
    key = x509.load_pem_x509_certificate(certificates.server_file.read_bytes()).public_key()
    return b64encode(
        sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    ).decode()


def wait_for(url: str, certificates: Certificates, log: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificates.ca_file))
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=5, context=context).close()
            return
        except urllib.error.URLError:
            time.sleep(0.05)
    raise TimeoutError(log.read_text())
