"""Traces: a span for each verb of a store, where ``SESSIONPERSIST["TRACES"]`` is on. Off, a verb pays for one look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from sessionpersist import conf

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

tracer: Tracer | None = None


def start() -> None:
    """Trace from now on, or no longer, as the settings say. Raises ImproperlyConfigured where there is no API to trace
    with."""
    global tracer
    tracer = None
    # What is wrong with the settings, the system checks say.
    if not isinstance(getattr(settings, "SESSIONPERSIST", {}), dict) or conf.get("TRACES") is not True:
        return
    try:
        from opentelemetry.trace import get_tracer
    except ModuleNotFoundError as error:
        raise ImproperlyConfigured(
            "SESSIONPERSIST['TRACES'] needs opentelemetry-api. Install it with: "
            "pip install 'sessionpersist[opentelemetry]'"
        ) from error
    tracer = get_tracer("sessionpersist")


@contextmanager
def span(store: str, verb: str) -> Iterator[Span | None]:
    """Have what is done inside be a span. An error is told by its type: the driver's words may name a host."""
    if tracer is None:  # it has just been turned off
        yield None
        return
    from opentelemetry.trace import SpanKind, StatusCode

    attributes = {"store": store, "verb": verb}
    with tracer.start_as_current_span(
        f"sessionpersist {verb}",
        kind=SpanKind.INTERNAL,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as begun:
        try:
            yield begun
        except Exception as error:
            begun.set_attribute("error.type", type(error).__name__)
            begun.set_status(StatusCode.ERROR)
            raise
