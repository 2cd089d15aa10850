"""Traces: client, task, transaction and follow-up in one, over processes; nothing where nobody asked for them."""

import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from agent_world import PLANNER
from hosting import T, make_hosting
from otlp import Collector, Span, collecting
from running_desk import RunningDesk, quiet_desk, run
from worker_process import wait_until

from fntx_sessions import AgentClient, traces
from fntx_sessions.agent_client.joined import AgentEvent
from fntx_sessions.exceptions import Rejected
from fntx_sessions.monitoring.tracing import _Process, end_tracing, start_tracing
from fntx_sessions.settings import Settings

__all__ = ["quiet_desk"]
TASK = "fntx.sessions.pause"
_INTERNAL, _CLIENT, _PRODUCER, _CONSUMER = 1, 3, 4, 5


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that this process's spans go to, and those of processes that it starts."""
    with collecting() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield made
        end_tracing()


def traced(collector: Collector, *names: str) -> dict[str, Span]:
    """Return the spans of the trace that has all of these names, once it has."""

    def found() -> dict[str, Span]:
        known = (collector.of(trace) for trace in {span.trace for span in collector.spans()})
        return next((one for one in known if one.keys() >= set(names)), {})

    wait_until(found, f"a trace has {names}: {[span.name for span in collector.spans()]}")
    return found()


def test_a_command_is_one_trace_from_its_client_to_the_agent_that_hears_of_it(
    quiet_desk: RunningDesk, collector: Collector
) -> None:
    """Manager, task, transaction, relay and an agent of another service: each the child of the one before it."""
    settings = quiet_desk.settings.model_copy(update={"tracing": True})
    with make_hosting(quiet_desk.settings) as hosting, quiet_desk.worker(FNTX_TRACING="true"):
        session_id = hosting.create(config={"agents": [PLANNER]})
        with AgentClient(session_id, PLANNER, settings=settings) as client:
            client.join()
            hosting.do(T.START, session_id)

            async def scenario() -> Any:
                async with quiet_desk.manager(tracing=True) as manager:
                    return await manager.pause_session(session_id, "hunter2 said so")

            assert run(scenario).state == "done"
            stop = threading.Event()

            def heard(event: AgentEvent) -> None:
                if event.payload.get("to_status") == "paused":
                    client.ask("fntx.agents.ready", agent=PLANNER)
                    stop.set()

            client.run(heard, stop=stop)
        spans = traced(collector, TASK, "transaction", "follow_up", "agent_event", "fntx.agents.ready")
        check_chain(collector, spans["transaction"].trace, session_id)
    assert b"hunter2" not in b"".join(collector.requests)


def check_chain(collector: Collector, trace: str, session_id: UUID) -> None:
    spans = [span for span in collector.spans() if span.trace == trace]
    parents = {span.id: span for span in spans}

    def chain(span: Span) -> list[tuple[str, int]]:
        above = chain(parents[span.parent]) if span.parent in parents else []
        return [*above, (span.name, span.kind)]

    heard = next(span for span in spans if span.name == "agent_event")
    assert chain(heard) == [
        (TASK, _CLIENT), (TASK, _CONSUMER), ("transaction", _INTERNAL), ("follow_up", _PRODUCER),
        ("agent_event", _CONSUMER),
    ]  # fmt: skip
    assert {(span.name, span.kind) for span in spans if span.parent == heard.id} == {("fntx.agents.ready", _CLIENT)}
    transaction = next(span for span in spans if span.name == "transaction" and span.facts["fntx.trigger"] == T.PAUSE)
    assert transaction.facts["fntx.session_id"] == str(session_id)
    commands = {span.facts["fntx.command_id"] for span in (transaction, *(one for one in spans if one.name == TASK))}
    assert len(commands) == 1


def test_a_refusal_marks_its_span_and_says_none_of_its_words(collector: Collector) -> None:
    """The span fails with the kind of the error; what people wrote, and a parent that is none, go nowhere."""
    start_tracing(Settings(tracing=True))
    with pytest.raises(Rejected):
        _refused()
    end_tracing()
    (span,) = collector.spans()
    assert (span.name, span.parent, span.failed, span.facts["fntx.state"]) == ("asked", "", True, "refused")
    assert "fntx.session_id" not in span.facts
    assert b"hunter2" not in b"".join(collector.requests)


def _refused() -> None:
    with traces.span("asked", "client", "no-traceparent", session_id=None, command_id=uuid4()):
        traces.note(state="refused")
        raise Rejected("hunter2")


def test_nothing_is_traced_unless_asked_for(collector: Collector) -> None:
    """Off, which it is by default, spans are nothing: the very same empty one each time."""
    start_tracing(Settings())
    assert traces.span("a") is traces.span("b", "client", session_id=uuid4())
    with traces.span("a"):
        assert traces.current() is None
        traces.note(state="done")
    assert collector.requests == []


def test_a_question_begins_no_trace_of_its_own(collector: Collector) -> None:
    """What is asked again and again is part of a trace where there is one, and else of none."""
    start_tracing(Settings(tracing=True))
    for none in (None, "", "a", ["a"], 7, "00-" + "0" * 32 + "-" + "1" * 16 + "-01"):
        with traces.part_of("look", "consumer", none):
            assert traces.current() is None
    with traces.span("outer"), traces.part_of("look", "consumer", None):
        assert traces.current() is not None
    end_tracing()
    assert sorted(span.name for span in collector.spans()) == ["look", "outer"]


def test_a_collector_that_is_away_holds_up_nobody(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Spans that cannot be sent are dropped, and that is said once a minute; the end is not waited for long."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    start_tracing(Settings(tracing=True))
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            with traces.span("work"):
                done = True
            _Process.own.force_flush()
        end_tracing()
    assert done
    assert [line["event"] for line in lines] == ["traces_not_sent"]
    assert not caplog.records, "the library says nothing beside it"
    assert collector.requests == []


def test_without_the_extra_everything_else_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for and not installed: said once, with what to install; nothing fails."""
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    try:
        start_tracing(Settings(tracing=True))
        with traces.span("a"):
            assert traces.current() is None
    finally:
        end_tracing()
