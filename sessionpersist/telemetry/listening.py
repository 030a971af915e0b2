"""Begins to tell, as a process starts, where there is somebody to tell."""

from __future__ import annotations

from sessionpersist.telemetry import lines, recorder, tracing
from sessionpersist.telemetry.lines import METRIC_FAILED

ABSENT = {"opentelemetry", "opentelemetry.metrics"}  # what is missing where there is no API


def start() -> None:
    """Pass metrics on to OpenTelemetry where its API is installed, and traces where the settings say so.

    An API that is too old, or a project's provider that fails, is a line of the log: no site stops for its metrics.
    """
    tracing.start()
    try:
        from sessionpersist.telemetry.opentelemetry import Instruments

        recorder.listen(Instruments())
    except Exception as error:  # noqa: BLE001 - whatever else is installed may raise
        if isinstance(error, ModuleNotFoundError) and error.name in ABSENT:
            return
        kind = type(error).__name__
        sentence = f"OpenTelemetry gets no metrics ({kind}). It takes opentelemetry-api 1.31 or newer."
        lines.say(METRIC_FAILED, sentence, error=kind, exc_info=error)
