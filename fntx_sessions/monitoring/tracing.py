"""Traces by OpenTelemetry, to where `OTEL_EXPORTER_OTLP_ENDPOINT` says; needs the extra `otel` and FNTX_TRACING.

What leads to a collector never holds up trading: spans wait in a bounded queue, a thread sends them, and what does not
go out is dropped. A service that has set up OpenTelemetry itself keeps its own provider, and our spans go through that.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog

from fntx_sessions import traces
from fntx_sessions.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.trace import SpanKind, TracerProvider

_log = structlog.get_logger(__name__)
# One try to send, and all that the end of a process waits for.
_EXPORT_S = 1
_SAY_AGAIN_S = 60.0
_PROBLEM_CHARACTERS = 200
_NAME = "fntx-sessions"


class OtelTracer:
    """Makes our spans with one provider. A span that an exception leaves is marked, without the exception's words."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._tracer = provider.get_tracer(_NAME)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, kind: traces.Kind, parent: str | None, facts: dict[str, Any]) -> Iterator[None]:
        """Run a block in a span."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

        context = None if parent is None else self._propagator.extract({traces.HEADER: parent})
        with self._tracer.start_as_current_span(
            name, context, _kind(kind), attributes=_attributes(facts), record_exception=False,
            set_status_on_exception=False,
        ) as current:  # fmt: skip
            try:
                yield
            except Exception as error:
                current.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def current(self) -> str | None:
        """Return the span that this is in."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get(traces.HEADER)

    def note(self, facts: dict[str, Any]) -> None:
        """Add facts to the span that this is in."""
        from opentelemetry.trace import get_current_span  # noqa: PLC0415

        get_current_span().set_attributes(_attributes(facts))


class _NotSent(logging.Handler):
    """Takes what the library says of a collector that is away, a line or two a batch, and says it once a minute."""

    _quiet_until = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Say that spans were dropped, unless it was said a moment ago."""
        if record.levelno >= logging.WARNING and monotonic() >= self._quiet_until:
            self._quiet_until = monotonic() + _SAY_AGAIN_S
            _log.warning("traces_not_sent", problem=record.getMessage()[:_PROBLEM_CHARACTERS])


_LIBRARY = logging.getLogger("opentelemetry")


class _Process:
    """What traces in which process: a forked child begins anew."""

    pid: int | None = None
    own: Any = None


def start_tracing(settings: Settings) -> None:
    """Trace in this process, once, where the settings ask for it; without the extra it says so, and goes on."""
    if not settings.tracing or _Process.pid == os.getpid():
        return
    _Process.pid, _Process.own = os.getpid(), None
    try:
        traces.trace_with(OtelTracer(_provider()))
    except ImportError as error:
        traces.trace_with(None)
        _log.error("tracing_not_possible", problem=str(error), fix="pip install 'fntx-sessions[otel]'")


def end_tracing() -> None:
    """Send what was not sent yet, for a second at most, and trace no more."""
    provider, _Process.own, _Process.pid = _Process.own, None, None
    traces.trace_with(None)
    if provider is not None:
        provider.shutdown()
        _LIBRARY.handlers[:] = [one for one in _LIBRARY.handlers if not isinstance(one, _NotSent)]
        _LIBRARY.propagate = True


def _provider() -> "TracerProvider":
    """Return the provider that this process has set up, or one of our own, which sends in batches."""
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    known = trace.get_tracer_provider()
    if isinstance(known, TracerProvider):
        return known
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": _NAME}
    _Process.own = TracerProvider(resource=Resource.create(named), shutdown_on_exit=True)
    _Process.own.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=_EXPORT_S)))
    _LIBRARY.handlers[:], _LIBRARY.propagate = [_NotSent()], False
    return _Process.own  # type: ignore[no-any-return]


@lru_cache(maxsize=8)
def _kind(kind: traces.Kind) -> "SpanKind":
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    return SpanKind[kind.upper()]


def _attributes(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts as attributes: our own names, and no types but text and numbers."""
    return {
        f"fntx.{name}": value if isinstance(value, bool | int | float) else str(value)
        for name, value in facts.items()
        if value is not None
    }
