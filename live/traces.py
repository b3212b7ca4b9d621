"""Traces by OpenTelemetry where OTEL_EXPORTER_OTLP_ENDPOINT says to whom they go; elsewhere nothing of it is imported.

A signal's trace is made of its fingerprint, so all that any instance has to do with it, and each time that it comes, is in one.
Spans leave by a thread of their own with room for some thousands; what finds no room is left out, and no alert waits for it.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from core.errors import ConfigurationError
from core.journal import Batch, signals_of

if TYPE_CHECKING:
    from opentelemetry.context import Context

_WANTED_BY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# Of a SHA-256 in hex: the first 16 bytes name the trace, the next 8 the span that all of it is below.
_TRACE, _SPAN = slice(0, 32), slice(32, 48)
_FLUSH_SECONDS = 2.0


class Traces:
    """What is told of signals. Neither method raises or waits."""

    def __init__(self, instance_id: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise ConfigurationError(
                f"`{' or '.join(_WANTED_BY)}` is set, and OpenTelemetry is not installed: pip install -r requirements-traces.txt"
            ) from error
        resource = Resource.create({"service.name": "portfolio-manager", "service.instance.id": instance_id})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("portfolio-manager")

    def answered(self, fingerprint: str, seconds: float, attributes: Mapping[str, Any]) -> None:
        """An alert was answered so long after it arrived."""
        self._tell("alert", fingerprint, seconds, attributes)

    def committed(self, batch: Batch, seconds: float) -> None:
        """A batch is committed that was waited for so long: a span for each of its signals."""
        for entry, given in signals_of(batch.entries):
            attributes = {
                "portfolio": batch.after.name,
                "status": entry.decision.outcome.status.value,
                "batch.entries": len(batch.entries),
            }
            self._tell("commit", given.fingerprint, seconds, attributes)

    def stop(self) -> None:
        """Send what waits, for a moment at most."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(_FLUSH_SECONDS)

    def _tell(self, name: str, fingerprint: str, seconds: float, attributes: Mapping[str, Any]) -> None:
        ended = time.time_ns()
        told = {f"signal.{key}": value for key, value in attributes.items() if value is not None}
        # Whatever it is: an alert is answered all the same.
        with suppress(Exception):
            span = self._tracer.start_span(
                name,
                context=_below(fingerprint),
                start_time=ended - int(seconds * 1e9),
                attributes={"signal.fingerprint": fingerprint, **told},
            )
            span.end(ended)


def _below(fingerprint: str) -> "Context":
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    of_the_signal = SpanContext(
        trace_id=int(fingerprint[_TRACE], 16),
        span_id=int(fingerprint[_SPAN], 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    return set_span_in_context(NonRecordingSpan(of_the_signal))


_traces: Traces | None = None


@contextmanager
def traced(instance_id: str) -> Iterator[None]:
    """Tell of signals within this block, where that is wanted. Raises ConfigurationError where it cannot be."""
    global _traces
    if not any(os.environ.get(name) for name in _WANTED_BY):
        yield
        return
    _traces = Traces(instance_id)
    try:
        yield
    finally:
        ended, _traces = _traces, None
        ended.stop()


def tell_answer(fingerprint: str | None, seconds: float, **attributes: Any) -> None:
    """An alert was answered."""
    if _traces is not None and fingerprint is not None:
        _traces.answered(fingerprint, seconds, attributes)


def tell_commit(batch: Batch, seconds: float) -> None:
    """A batch was committed."""
    if _traces is not None:
        _traces.committed(batch, seconds)
