"""The measures of docs/metrics.md once more, in plain Python: what the one SELECT that ships is compared with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from fntx_sessions.schemas import SessionMetrics, SessionStatus
from fntx_sessions.trading.ledger import trades_of
from fntx_sessions.trading.metrics import PAPER_NOTICE, error_rate, percentile, win_rate
from fntx_sessions.trading.orders import ZERO, Fill

STAKES = ("current_exposure", "dollar_delta", "stress_down", "stress_up", "margin_used")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the metrics are computed from, beside fills.

    held_value: what is held now is worth, dollars. net_curve: equity since the start, unrealised included, oldest
    first. statuses: (moment, status from then on). latencies_ms: quote received -> intent stored. attempts, failed:
    steps and broker calls of the last `ERROR_WINDOW_S` seconds, refusals counted in neither.
    """

    session_id: UUID
    now: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    held_value: Decimal = ZERO
    net_curve: Sequence[Decimal] = ()
    statuses: Sequence[tuple[datetime, SessionStatus]] = ()
    latencies_ms: Sequence[float] = ()
    attempts: int = 0
    failed: int = 0
    peak_memory_mb: float = 0.0
    total_api_calls: int = 0
    checkpoint_count: int = 0
    broker: str = "paper"


def session_metrics(facts: RunFacts, fills: Iterable[Fill]) -> SessionMetrics:
    """Return the metrics of a session at `facts.now`. gross = fills + marks; net = gross - fees."""
    results = trades_of(fills)
    done = [result for result in results if result.outcome is not None]
    wins = sum(result.outcome == "win" for result in done)
    gross = sum((result.gross for result in results), ZERO) + facts.held_value
    fees = sum((result.fees for result in results), ZERO)
    return SessionMetrics(
        session_id=facts.session_id,
        start_time=facts.started_at,
        end_time=facts.ended_at,
        active_duration=time_in(facts, SessionStatus.ACTIVE),
        pause_duration=time_in(facts, SessionStatus.PAUSED),
        total_trades=len(done),
        winning_trades=wins,
        losing_trades=sum(result.outcome == "loss" for result in done),
        scratch_trades=sum(result.outcome == "scratch" for result in done),
        win_rate=win_rate(wins, len(done)),
        gross_pnl=gross,
        fees=fees,
        net_pnl=gross - fees,
        max_drawdown=max_drawdown(facts.net_curve),
        decision_latency_ms=percentile(facts.latencies_ms, 50),
        decision_latency_p99_ms=percentile(facts.latencies_ms, 99),
        execution_slippage=sum((result.slippage for result in results), ZERO),
        error_rate=error_rate(facts.attempts, facts.failed),
        peak_memory_mb=facts.peak_memory_mb,
        total_api_calls=facts.total_api_calls,
        checkpoint_count=facts.checkpoint_count,
        broker=facts.broker,
        open_trades=len(results) - len(done),
        # Of a run in which nothing is held; what is at stake otherwise has hand-worked cases of its own.
        **(dict.fromkeys(STAKES, ZERO) if len(done) == len(results) else {}),
        notice=PAPER_NOTICE if facts.broker == "paper" else "",
    )


def max_drawdown(curve: Sequence[Decimal]) -> Decimal:
    """Return the deepest fall of equity from its peak so far, dollars, never above zero; the curve begins at zero."""
    peak = worst = ZERO
    for value in curve:
        peak = max(peak, value)
        worst = min(worst, value - peak)
    return worst


def time_in(facts: RunFacts, status: SessionStatus) -> float:
    """Return the seconds spent in `status` until now."""
    ends = [moment for moment, _ in facts.statuses[1:]] + [facts.ended_at or facts.now]
    spans = zip(facts.statuses, ends, strict=False)
    return sum(max((end - start).total_seconds(), 0.0) for (start, found), end in spans if found is status)
