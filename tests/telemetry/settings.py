"""The site of the load tests, which Prometheus asks as well."""

from tests.load.settings import *  # noqa: F403

ROOT_URLCONF = "tests.telemetry.watched_urls"
