"""What a session's recent steps come to: what rules and health read between steps, and where that begins."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.automation.rules.standing import Standing
from fntx_sessions.database.engine import transaction
from fntx_sessions.database.measuring import CURVE, RECENT
from fntx_sessions.trading.book import BookView
from fntx_sessions.trading.ledger import AccountView, Money, margin_of, margin_source
from fntx_sessions.trading.metrics import ERROR_WINDOW_S, error_rate, percentile
from fntx_sessions.trading.orders import SHARES_PER_CONTRACT, ZERO

_SPAN = timedelta(seconds=ERROR_WINDOW_S)
_DECISIONS = 50
_HALF = 50.0

# The equity curve so far, what the last samples counted, the newest decisions, and where the session's rules stand.
_HISTORY = text(f"""
SELECT curve.peak, curve.drawdown, coalesce(curve.memory_mb, 0) AS memory_mb, r.state, r.missing_since, r.retry_at,
  coalesce(r.retries, 0) AS retries, coalesce(r.decision_seq, 0) AS decision_seq,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('at', c.timestamp, 'attempted', c.attempted, 'failed', c.failed)
      ORDER BY c.timestamp), '[]') FROM ({RECENT}) AS c) AS steps,
  (SELECT coalesce(jsonb_agg(o.decision_latency_ms ORDER BY o.created_at), '[]') FROM (
    SELECT decision_latency_ms, created_at FROM order_intents
    WHERE session_id = :session_id AND decision_latency_ms IS NOT NULL ORDER BY epoch DESC, seq DESC
    LIMIT {_DECISIONS}) o) AS latencies
FROM ({CURVE}) AS curve LEFT JOIN rule_states r ON r.session_id = :session_id
""")


@dataclass(slots=True)
class Recent:
    """Steps of the last five minutes of the session's clock, oldest first, and its newest decisions' latencies, ms.

    memory_mb: the most that a process which stepped it has held.
    """

    steps: deque[tuple[datetime, int, int]] = field(default_factory=deque)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_DECISIONS))
    memory_mb: float = 0.0

    def add(self, now: datetime, attempted: int, failed: int) -> None:
        """Count a step; what is older than the window is forgotten."""
        self.steps.append((now, attempted, failed))
        while self.steps and self.steps[0][0] <= now - _SPAN:
            self.steps.popleft()

    @property
    def error_rate(self) -> float | None:
        """Return failed / attempted, None below 20 attempts."""
        return error_rate(sum(step[1] for step in self.steps), sum(step[2] for step in self.steps))

    @property
    def decision_latency_ms(self) -> float | None:
        """Return the median, None before the first decision."""
        return percentile(list(self.latencies), _HALF)


@dataclass(frozen=True, slots=True)
class History:
    """What a session's earlier steps left in the stores, whoever made them. drawdown: dollars, <= 0."""

    peak: Decimal
    drawdown: Decimal
    recent: Recent
    standing: Standing


def load_history(engine: Engine, session_id: UUID) -> History:
    """Return where a session's measures and rules stand, in one round trip; raises Unavailable."""
    with transaction(engine) as connection:
        found = dict(connection.execute(_HISTORY, {"session_id": session_id}).mappings().one())
    return History(found["peak"], found["drawdown"], _recent(found), Standing.of(found))


def _recent(found: dict[str, Any]) -> Recent:
    recent = Recent(memory_mb=found["memory_mb"])
    for step in found["steps"]:
        recent.steps.append((datetime.fromisoformat(step["at"]), step["attempted"], step["failed"]))
    recent.latencies.extend(found["latencies"])
    return recent


def position_count(book: BookView) -> int:
    """Return contracts held, long and short, over all legs, and shares in lots of 100, a broken lot as one."""
    shares = sum(
        abs(quantity)
        for trade in book.open_trades
        for contract, quantity in trade.legs.items()
        if not contract.is_option
    )
    return book.contracts - (-shares // SHARES_PER_CONTRACT)


def measures_of(
    now: datetime,
    book: BookView,
    money: Money | None,
    recent: Recent,
    *,
    peak: Decimal,
    drawdown: Decimal,
    latched: bool,
    memory_mb: float,
) -> dict[str, Any]:
    """Return the measures of a moment as JSON, dollars as text; money None: no market was ever known.

    peak, drawdown: of the whole run so far; whoever goes on from here needs no sample before `at`. memory_mb: what this
    process has held.
    """
    recent.memory_mb = max(recent.memory_mb, memory_mb)
    return {
        "at": now.isoformat(),
        "daily_pnl": None if money is None else str(money.counted),
        "loss_limit": None if money is None else str(money.limit),
        "latched": latched,
        "peak": str(peak),
        "drawdown": str(drawdown),
        "position_count": position_count(book),
        "error_rate": recent.error_rate,
        "decision_latency_ms": recent.decision_latency_ms,
        "net_pnl": None if money is None else str(money.net_pnl),
        "marks": None if money is None else _marks(book),
        "memory_mb": recent.memory_mb,
    }


def _marks(book: BookView) -> dict[str, dict[str, list[Any]]]:
    """Return what net_pnl valued: by trade and symbol, how many were held (signed) and the mark, dollars as text."""
    return {
        trade.trade_id: {one.symbol: [held, str(book.marks[one.symbol])] for one, held in trade.legs.items()}
        for trade in book.open_trades
    }


def exposure_of(
    book: BookView, money: Money | None, account: AccountView, sample: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what is at stake as JSON, dollars as text: exposure, delta, stress, margin and whose figure that is.

    margin: the broker's, which is of the whole account, or the estimate of this session's own positions. None: nobody
    looked at a market, or (delta, stress) no agent evaluates.
    """
    delta = {
        name: ZERO if book.flat else (sample or {}).get(name) for name in ("dollar_delta", "stress_down", "stress_up")
    }
    found = delta | {
        "exposure": None if money is None else money.exposure,
        "margin": None if money is None else margin_of(money, account),
    }
    amounts = {name: None if value is None else str(value) for name, value in found.items()}
    return amounts | {"margin_source": margin_source(account)}
