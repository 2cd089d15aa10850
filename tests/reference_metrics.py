"""The measures of docs/metrics.md once more, in plain Python: what the one SELECT that ships is compared with.

Nothing of what ships counts here: an error in it would show in neither.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from fntx_sessions.schemas import SessionMetrics, SessionStatus
from fntx_sessions.trading.metrics import PAPER_NOTICE
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
    once = list({fill.fill_id: fill for fill in fills}.values())
    trades = [[fill for fill in once if fill.trade_id == name] for name in {fill.trade_id for fill in once}]
    nets = [cash_of(trade) - fees_of(trade) for trade in trades if not held_of(trade)]
    wins = sum(net > 0 for net in nets)
    gross, fees = cash_of(once) + facts.held_value, fees_of(once)
    return SessionMetrics(
        session_id=facts.session_id,
        start_time=facts.started_at,
        end_time=facts.ended_at,
        active_duration=time_in(facts, SessionStatus.ACTIVE),
        pause_duration=time_in(facts, SessionStatus.PAUSED),
        total_trades=len(nets),
        winning_trades=wins,
        losing_trades=sum(net < 0 for net in nets),
        scratch_trades=nets.count(ZERO),
        win_rate=wins / len(nets) if nets else None,
        gross_pnl=gross,
        fees=fees,
        net_pnl=gross - fees,
        max_drawdown=max_drawdown(facts.net_curve),
        decision_latency_ms=nearest_rank(facts.latencies_ms, 50),
        decision_latency_p99_ms=nearest_rank(facts.latencies_ms, 99),
        execution_slippage=sum((fill.slippage for fill in once), ZERO),
        error_rate=facts.failed / facts.attempts if facts.attempts >= 20 else None,
        peak_memory_mb=facts.peak_memory_mb,
        total_api_calls=facts.total_api_calls,
        checkpoint_count=facts.checkpoint_count,
        broker=facts.broker,
        open_trades=len(trades) - len(nets),
        # Of a run in which nothing is held; what is at stake otherwise has hand-worked cases of its own.
        **(dict.fromkeys(STAKES, ZERO) if len(nets) == len(trades) else {}),
        notice=PAPER_NOTICE if facts.broker == "paper" else "",
    )


def cash_of(fills: Iterable[Fill]) -> Decimal:
    """Return what was received less what was paid, dollars, before fees."""
    units = {"stock": 1, "put": 100, "call": 100}
    return sum(
        (
            units[fill.contract.right] * fill.quantity * (fill.price if fill.side == "sell" else -fill.price)
            for fill in fills
        ),
        ZERO,
    )


def fees_of(fills: Iterable[Fill]) -> Decimal:
    """Return all fees, dollars."""
    return sum((fill.fee for fill in fills), ZERO)


def held_of(fills: Iterable[Fill]) -> set[str]:
    """Return the symbols that are still held."""
    held: dict[str, int] = {}
    for fill in fills:
        symbol = fill.contract.symbol
        held[symbol] = held.get(symbol, 0) + (fill.quantity if fill.side == "buy" else -fill.quantity)
    return {symbol for symbol, quantity in held.items() if quantity}


def nearest_rank(values: Sequence[float], percent: int) -> float | None:
    """Return the least value that at least `percent` of them do not exceed; None of nothing."""
    covered = [one for one in values if 100 * sum(other <= one for other in values) >= percent * len(values)]
    return min(covered, default=None)


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
