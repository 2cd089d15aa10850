"""A collector of traces: takes OTLP over HTTP, as OpenTelemetry's own does, and keeps the spans."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """One span. parent: empty for the first of its trace."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    failed: bool
    facts: dict[str, Any]


@dataclass
class Collector:
    """Where spans arrive."""

    url: str
    requests: list[bytes] = field(default_factory=list)

    def spans(self) -> list[Span]:
        """Return what arrived until now."""
        return [
            _span(span)
            for request in list(self.requests)
            for resource in ExportTraceServiceRequest.FromString(request).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def of(self, trace: str) -> dict[str, Span]:
        """Return the spans of a trace by name."""
        return {span.name: span for span in self.spans() if span.trace == trace}


def _span(span: Any) -> Span:
    facts = {one.key: one.value.string_value or one.value.int_value for one in span.attributes}
    named = (one.hex() for one in (span.trace_id, span.span_id, span.parent_span_id))
    return Span(span.name, span.kind, *named, failed=span.status.code == 2, facts=facts)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.requests.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
