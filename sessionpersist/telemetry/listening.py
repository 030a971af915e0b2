"""Begins to tell, as a process starts, where there is somebody to tell."""

from __future__ import annotations

from sessionpersist.telemetry import recorder, tracing


def start() -> None:
    """Pass metrics on to OpenTelemetry where its API is installed, and traces where the settings say so."""
    tracing.start()
    try:
        from sessionpersist.telemetry.opentelemetry import Instruments
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        return
    recorder.listen(Instruments())
