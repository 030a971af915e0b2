"""Who may read the metrics of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import RequestFactory
from pytest_django import Settings

from sessionpersist.telemetry import recorder

pytestmark = pytest.mark.django_db


@pytest.fixture
def metrics() -> Iterator[ModuleType]:
    """The module, which listens from then on: for no longer than the test."""
    from sessionpersist import metrics

    yield metrics
    recorder.leave(metrics.collector.instruments)


def asked(metrics: ModuleType, authorization: str | None = None) -> HttpResponse:
    headers = {"authorization": authorization} if authorization is not None else {}
    answer: HttpResponse = metrics.metrics(RequestFactory(headers=headers).get("/metrics/"))
    return answer


def test_without_a_token_the_page_is_open(metrics: ModuleType) -> None:
    assert asked(metrics).status_code == 200
    assert asked(metrics, "Bearer of-another-service").status_code == 200


@pytest.mark.parametrize("given", ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret "])
def test_whoever_has_the_token_may_read_it(metrics: ModuleType, settings: Settings, given: str) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "METRICS_TOKEN": "s3cret"}
    response = asked(metrics, given)
    assert response.status_code == 200
    assert b"sessionpersist_" in response.content


@pytest.mark.parametrize(
    "given", [None, "", "s3cret", "Basic s3cret", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crét"]
)
def test_nobody_else_may(metrics: ModuleType, settings: Settings, given: str | None) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "METRICS_TOKEN": "s3cret"}
    response = asked(metrics, given)
    assert (response.status_code, response["WWW-Authenticate"], response.content) == (401, "Bearer", b"")


def test_an_empty_token_opens_it_to_nobody(metrics: ModuleType, settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "METRICS_TOKEN": ""}
    with pytest.raises(ImproperlyConfigured):
        asked(metrics, "Bearer ")
