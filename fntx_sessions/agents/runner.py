"""Stepping one session: a bar is the clock moved on, the broker's fills, and each agent once, in roster order."""

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from structlog.contextvars import bound_contextvars

from fntx_sessions import figures
from fntx_sessions.agents.actions import HostedDesk, Requests
from fntx_sessions.agents.base import StepContext
from fntx_sessions.agents.claims import HUNG
from fntx_sessions.agents.containing import bounded_memory, checked_answer, checked_secrets, checked_size
from fntx_sessions.agents.interrupts import interrupt_in
from fntx_sessions.agents.measures import exposure_of, measures_of
from fntx_sessions.agents.note import own_note
from fntx_sessions.agents.registry import get_agent
from fntx_sessions.agents.runtime import Runtime, Slot, account_view, hear_people
from fntx_sessions.agents.saying import Said, problem_of
from fntx_sessions.agents.views import market_bytes, resident_mb, session_parts, slot_report, state_bytes
from fntx_sessions.automation.rules.hosted import judge_bar
from fntx_sessions.automation.rules.judgement import Judged, Kept
from fntx_sessions.automation.rules.moments import market_facts
from fntx_sessions.exceptions import Retryable, StaleEpoch
from fntx_sessions.lifecycle import orders
from fntx_sessions.lifecycle.credentials import Opener
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.memory.store import Kept as KeptMemory
from fntx_sessions.schemas import Hold, SessionStatus, SessionType
from fntx_sessions.security.known_secrets import InUse, use_of
from fntx_sessions.settings import Settings
from fntx_sessions.state.parts import GUARD
from fntx_sessions.testing import failpoint
from fntx_sessions.trading.broker import begin_bar
from fntx_sessions.trading.market import Board, MarketTick
from fntx_sessions.trading.opening import filled_risks
from fntx_sessions.trading.orders import ZERO

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Slice:
    """What stepping a session left behind, before any of it is stored.

    judged: what its rules ask for at the last bar, None where they ask for nothing; kept: what the other bars left.
    """

    runtime: Runtime
    requests: Requests = field(default_factory=Requests)
    events: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    day: dict[str, Any] | None = None
    parts: dict[str, bytes] = field(default_factory=dict)
    measures: dict[str, Any] | None = None
    judged: Judged | None = None
    kept: list[Kept] = field(default_factory=list)
    memories: list[KeptMemory] = field(default_factory=list)
    said: dict[str, Said] = field(default_factory=dict)
    decisions_kept: int = 1
    finished: bool = False
    stale: bool = False


def run_slice(desk: Desk, runtime: Runtime, deadline: float) -> Slice:
    """Step a session: one bar, or, in a backtest, bars until its day or the time (monotonic seconds) is over.

    Raises what interrupts it from outside: a soft limit, or the worker's end.
    """
    done = Slice(runtime, decisions_kept=desk.settings.rule_decisions_kept)
    try:
        with bounded_memory(desk.settings.hosted_memory_max_bytes):
            _bars(desk, runtime, done, deadline)
    except StaleEpoch:
        done.stale = True
    finally:
        own_note().clear()
    return done


def _bars(desk: Desk, runtime: Runtime, done: Slice, deadline: float) -> None:
    hear_people(desk, runtime)
    while not done.finished:
        _bar(desk, runtime, done)
        failpoint("step.bar")
        asked = done.requests.pause or done.requests.suspend or done.requests.stop or done.judged
        if asked or not runs_on(runtime) or time.monotonic() >= deadline:
            break


def runs_on(runtime: Runtime) -> bool:
    """Tell whether a session goes on to its next bar at once: a backtest does, unless a person has to act."""
    if runtime.session_type is not SessionType.BACKTEST:
        return False
    paused_by_rule = runtime.status is SessionStatus.PAUSED and runtime.holds == {Hold.RULE}
    return runtime.status is SessionStatus.ACTIVE or paused_by_rule


def _bar(desk: Desk, runtime: Runtime, done: Slice) -> None:
    """One bar; a simulated clock moves on after it, so that the first bar is the open itself."""
    if runtime.clock.finished:
        done.finished = True
        return
    tick = runtime.feed.tick(runtime.clock.now)
    hosted = HostedDesk(
        desk, runtime, requests=done.requests, events=done.events, memories=done.memories, said=done.said
    )
    if tick is not None:
        hosted.board = Board(tick, runtime.rules, stressed=runtime.book.stressed)
        _begin(desk, runtime, hosted.board)
    context = _context(runtime, tick, hosted)
    with use_of(runtime.session_id) as use:
        context.credentials = Opener(desk.engine, desk.settings, runtime.session_id, use)
        attempted, failed = _step_agents(runtime, context, hosted, use)
    attempted, failed = attempted + hosted.calls, failed + hosted.calls_failed
    _collect(runtime, context, done, {"attempted": attempted, "failed": failed})
    _measure(desk, context, done, attempted, failed)
    runtime.clock.advance(_pace(runtime))
    done.finished = runtime.clock.finished


def _pace(runtime: Runtime) -> float | None:
    """Return how far a simulated clock moves at most: no faster than the wall while a person has to decide."""
    waits = runtime.people.deciding and runtime.session_type is not SessionType.BACKTEST
    return runtime.config.step_interval_s if waits else None


def _begin(desk: Desk, runtime: Runtime, board: Board) -> None:
    """Bring broker and book up to this bar and the ledger up to them; a new day looks at its account anew."""
    book = runtime.book
    day, working = book.trade_date, set(book.working)
    fills = begin_bar(runtime.broker, book, runtime.session_id, runtime.epoch, board)
    filled = {fill.client_order_id for fill in fills}
    states = {name: "filled" if name in filled else "expired" for name in working - set(book.working)}
    orders.settle(desk.engine, states, fills, filled_risks(fills, runtime.risk, runtime.rules))
    if book.trade_date != day:
        view = (runtime.broker, runtime.account_id, runtime.session_id, book.trade_date)
        runtime.account = account_view(desk, *view)


def _context(runtime: Runtime, tick: MarketTick | None, hosted: HostedDesk) -> StepContext:
    return StepContext(
        session_id=runtime.session_id,
        epoch=runtime.epoch,
        status=runtime.status,
        session_type=runtime.session_type,
        config=runtime.config,
        risk=runtime.risk,
        enabled_strategies=runtime.enabled_strategies,
        strategy_parameters=runtime.strategy_parameters,
        account=runtime.account,
        now=runtime.clock.now,
        tick=tick,
        board=hosted.board,
        book=runtime.book,
        desk=hosted,
        calendar=runtime.calendar,
        rules=runtime.rules,
        flatten=runtime.flatten,
        people=runtime.people,
        peak=runtime.peak,
        drawdown=runtime.drawdown,
    )


def _step_agents(runtime: Runtime, context: StepContext, hosted: HostedDesk, use: InUse) -> tuple[int, int]:
    """Step each agent; one that fails harms nobody else, one that takes too long is noted.

    Returns (attempted, failed).
    """
    settings = hosted.desk.settings
    slots = [slot for slot in runtime.stepped.values() if not slot.quarantined]
    failed = 0
    for slot in slots:
        hosted.agent, context.agent = slot.name, slot.name.removeprefix(GUARD)
        own_note().write(str(runtime.session_id), slot.name)
        began, spent = time.perf_counter(), time.process_time()
        try:
            # What it logs or prints is a line of its own.
            with bound_contextvars(session_id=str(runtime.session_id), agent=slot.name):
                _step_agent(slot, context, settings, use)
        except (StaleEpoch, Retryable):
            raise
        except BaseException as error:  # noqa: BLE001 - an agent may raise any; what comes from outside is raised on
            _raise_interrupt(runtime, slot, error, took_long=time.perf_counter() - began >= settings.hosted_hung_s)
            failed += 1
            figures.AGENT_STEPS.note(1, context.agent, "failed")
            _charge(runtime, slot, hosted, error)
        else:
            figures.AGENT_STEPS.note(1, context.agent, "done")
        took_s = time.perf_counter() - began
        if took_s >= settings.hosted_hung_s:
            runtime.failures[HUNG] = runtime.failures.get(HUNG, 0) + 1
        slot.milliseconds += took_s * 1000
        slot.cpu_ms = (time.process_time() - spent) * 1000
        _count(slot, context)
    return len(slots), failed


def _step_agent(slot: Slot, context: StepContext, settings: Settings, use: InUse) -> None:
    """Step one agent; where its step or what it returns is at fault, its memory is what it was before."""
    try:
        state = checked_answer(get_agent(slot.name.removeprefix(GUARD)).step(slot.state, context))
        kept = checked_secrets(checked_size(state_bytes(state), settings.max_part_bytes), use)
        if use.any:
            checked_secrets(market_bytes(context), use)
        slot.keep(state, kept)
    except BaseException:
        slot.go_back()
        raise


def _raise_interrupt(runtime: Runtime, slot: Slot, error: BaseException, *, took_long: bool) -> None:
    """Raise what came from outside; whoever has its turn just then is to blame only if it took too long by itself."""
    interrupt = interrupt_in(error)
    if interrupt is not None:
        runtime.overran = slot.name if took_long else ""
        raise interrupt


def _charge(runtime: Runtime, slot: Slot, hosted: HostedDesk, error: BaseException) -> None:
    slot.errors += 1
    runtime.failures[slot.name] = runtime.failures.get(slot.name, 0) + 1
    log.error("agent_failed", session_id=str(runtime.session_id), agent=slot.name, exc_info=error)
    hosted.tell_failure(f"{slot.name} failed: {problem_of(error)}", runtime.failures[slot.name])


def quarantine(runtime: Runtime, hosted_events: list[dict[str, Any]], requests: Requests, limit: int) -> None:
    """Set aside agents that failed `limit` times, and ask for their session to be suspended."""
    for name, count in runtime.failures.items():
        slot = runtime.slots.get(name)
        if slot is None or count < limit:
            continue
        # Asked at every step until it is done: the session must not go on without one of its agents.
        requests.suspend = requests.suspend or f"{name} was quarantined after {count} failures"
        requests.to_do = quarantined(name, runtime.session_id)
        if slot.quarantined:
            continue
        slot.quarantined = True
        hosted_events.append(
            {
                "timestamp": runtime.clock.now,
                "event_type": "agent_quarantined",
                "event_category": "health",
                "severity": "critical",
                "source_agent": name,
                "description": f"{name} was quarantined after {count} failures; the session is suspended",
                "requires_action": True,
            }
        )


def quarantined(names: str, session_id: UUID) -> str:
    """Return what a person has to do about agents that failed too often: their session does not come back by itself."""
    return (
        f"quarantined: {names}. Read `agent_failed` in `fntx events {session_id}`, mend it, then `fntx recover "
        f"{session_id}` and `fntx resume {session_id}`; what is open is guarded meanwhile"
    )


def _count(slot: Slot, context: StepContext) -> None:
    outputs = context.outputs
    if slot.name == "StrategicPlannerAgent":
        slot.decisions += len(outputs.plan)
    elif slot.name == "RiskManagerAgent":
        slot.decisions += len(outputs.approved) + len(outputs.refused) + len(outputs.exits)
    elif slot.name == "TacticalExecutorAgent":
        slot.actions += len(outputs.placed)


def _collect(runtime: Runtime, context: StepContext, done: Slice, steps: dict[str, int]) -> None:
    """Keep what the bar said; only the last bar's parts of a slice are reported."""
    done.parts = session_parts(runtime, context)
    if context.board is None:
        return
    money, sample = context.money(), context.outputs.sample
    runtime.unsampled = {name: runtime.unsampled.get(name, 0) + count for name, count in steps.items()}
    if sample is not None:
        runtime.peak, runtime.drawdown = max(runtime.peak, sample["peak"]), min(runtime.drawdown, sample["drawdown"])
        if _sample_due(runtime):
            done.samples.append(_sample(runtime, context, sample))
    fees = sum((fill.fee for fill in runtime.book.fills if fill.trade_date == runtime.book.trade_date), ZERO)
    done.day = {
        "session_id": runtime.session_id,
        "trade_date": runtime.book.trade_date,
        "account_id": runtime.account_id,
        # daily_pnl is after fees; the columns add up to it.
        "realized": money.daily_pnl + fees - money.unrealized,
        "fees": fees,
        "unrealized": money.unrealized,
        "open_risk": money.open_risk,
        "contracts": money.contracts,
        "margin": ZERO if runtime.book.flat else money.margin - runtime.account.other_margin,
    }


def _measure(desk: Desk, context: StepContext, done: Slice, attempted: int, failed: int) -> None:
    """Note how the session does at this bar, and judge its rules by that where the host is to."""
    runtime = done.runtime
    runtime.recent.add(context.now, attempted, failed)
    money = None if context.board is None else context.money()
    done.measures = {
        **measures_of(
            context.now, runtime.book, money, runtime.recent, peak=runtime.peak, drawdown=runtime.drawdown,
            latched=runtime.account.latched is not None, memory_mb=resident_mb(),
        ),
        **exposure_of(runtime.book, money, runtime.account, context.outputs.sample),
        "cpu_ms": {slot.name: round(slot.cpu_ms, 2) for slot in runtime.stepped.values()},
    }  # fmt: skip
    found = judge_bar(runtime, context, done.measures, desk.settings)
    if found is None:
        return
    judged, kept = found
    if judged.due is not None:
        done.judged = judged
        return
    runtime.standing = kept.standing
    done.kept.append(kept)


def _sample(runtime: Runtime, context: StepContext, sample: dict[str, Any]) -> dict[str, Any]:
    """Return one point of the equity curve, with the steps attempted and failed since the point before it."""
    steps = {**runtime.unsampled, "memory_mb": resident_mb(), **_market(context)}
    runtime.last_sample_at, runtime.unsampled = context.now, {}
    return {"timestamp": context.now, "steps": steps} | {name: sample[name] for name in ("net_pnl", "exposure", "spot")}


def _market(context: StepContext) -> dict[str, Any]:
    """Return what rules knew of the market, for those who rehearse others on this day."""
    if context.tick is None:
        return {}
    market = market_facts(context.tick)
    return {name: getattr(market, name) for name in ("vix", "regime", "liquidity", "previous_close")}


def _sample_due(runtime: Runtime) -> bool:
    if runtime.clock.simulated or runtime.last_sample_at is None:
        return True
    return runtime.clock.now - runtime.last_sample_at >= timedelta(seconds=5)


def agent_parts(runtime: Runtime) -> list[tuple[str, str, bytes]]:
    """Return (agent, part name, bytes) of every agent that steps: a guard never speaks for the agents themselves."""
    return [(slot.name, *slot_report(slot)) for slot in runtime.stepped.values()]
