"""One command, one trace: from the client over its task and its transaction to what follows it.

Spans go nowhere until somebody traces in this process (`monitoring/tracing.py`), so that nobody here knows of
OpenTelemetry, and a desk that is not traced pays for a look at one variable. Between processes a trace travels as the
text of W3C's `traceparent`: in a message's headers, in the outbox, in an event of an inbox. Facts of a span are ids,
names of tasks and counts: no reason, no name of a person, nothing that somebody wrote.
"""

import re
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol

HEADER = "traceparent"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
Kind = Literal["internal", "client", "consumer", "producer"]


class Tracer(Protocol):
    """Who traces."""

    def span(self, name: str, kind: Kind, parent: str | None, facts: dict[str, Any]) -> AbstractContextManager[None]:
        """Return a span around a block, a child of `parent`, or of the span that the block is in."""
        ...

    def current(self) -> str | None:
        """Return the span that this is in, as `traceparent`; None: it is in none."""
        ...

    def note(self, facts: dict[str, Any]) -> None:
        """Add facts to the span that this is in."""
        ...


class _Tracing:
    """Who traces in this process; None: nobody."""

    by: Tracer | None = None


_NOTHING = nullcontext()


def span(name: str, kind: Kind = "internal", parent: object = None, **facts: Any) -> AbstractContextManager[None]:
    """Return a span around a block; facts that are None are left out.

    parent: a `traceparent` that came from elsewhere, so that anything may be in it; what is none is passed over.
    """
    if _Tracing.by is None:
        return _NOTHING
    return _Tracing.by.span(name, kind, _known(parent), facts)


def part_of(name: str, kind: Kind, parent: object, **facts: Any) -> AbstractContextManager[None]:
    """Return a span as `span` does, where it belongs to a trace; one of its own is not begun."""
    return span(name, kind, parent, **facts) if _known(parent) or current() else _NOTHING


def _known(parent: object) -> str | None:
    """Return `parent` if it is a `traceparent`."""
    return parent if isinstance(parent, str) and _TRACEPARENT.fullmatch(parent) else None


def current() -> str | None:
    """Return the span that this is in, as `traceparent`; None: it is in none, or nobody traces."""
    return None if _Tracing.by is None else _Tracing.by.current()


def note(**facts: Any) -> None:
    """Add facts to the span that this is in."""
    if _Tracing.by is not None:
        _Tracing.by.note(facts)


def trace_with(tracer: Tracer | None) -> None:
    """Let `tracer` trace in this process from now on; None: nobody."""
    _Tracing.by = tracer
