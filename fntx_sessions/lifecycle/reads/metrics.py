"""The measures of a run, as docs/trading.md defines them, in one SELECT over the ledger, samples and transitions."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.hosting import TRADED_ELSEWHERE
from fntx_sessions.exceptions import Shredded
from fntx_sessions.lifecycle.reads.rows import Row, one
from fntx_sessions.schemas import SessionMetrics
from fntx_sessions.trading.metrics import PAPER_NOTICE, error_rate, win_rate

_ZERO = Decimal(0)
ELSEWHERE_NOTICE = (
    "Its agents trade elsewhere: money and trades here are those of the manager's own book alone, which is not where "
    "they trade. `fntx show ID` has what they report."
)

# A trade is flat to flat: closed when every leg of it is back at nothing. The first peak of equity is nothing lost.
_METRICS = text(f"""
WITH legs AS (
  SELECT trade_id, symbol, sum(fee) AS fees, sum(slippage) AS slippage,
    sum(CASE side WHEN 'buy' THEN quantity ELSE -quantity END) AS held,
    sum((CASE side WHEN 'sell' THEN 1 ELSE -1 END) * quantity * price * (CASE "right" WHEN 'stock' THEN 1 ELSE 100 END))
      AS cash
  FROM fills WHERE session_id = :session_id GROUP BY trade_id, symbol
), trades AS (
  SELECT trade_id, bool_and(held = 0) AS closed, sum(cash) AS cash, sum(fees) AS fees, sum(slippage) AS slippage
  FROM legs GROUP BY trade_id
), money AS (
  SELECT count(*) FILTER (WHERE closed) AS total, count(*) FILTER (WHERE NOT closed) AS open,
    count(*) FILTER (WHERE closed AND cash > fees) AS won, count(*) FILTER (WHERE closed AND cash < fees) AS lost,
    coalesce(sum(cash), 0) AS cash, coalesce(sum(fees), 0) AS fees, coalesce(sum(slippage), 0) AS slippage
  FROM trades
), equity AS (
  SELECT min(net_pnl - peak) AS drawdown, max(peak) AS peak, (array_agg(net_pnl ORDER BY timestamp DESC))[1] AS latest
  FROM (SELECT timestamp, net_pnl, greatest(0, max(net_pnl) OVER (ORDER BY timestamp)) AS peak
        FROM samples WHERE session_id = :session_id) running
), recent AS (
  SELECT coalesce(sum((steps ->> 'attempted')::bigint), 0)::bigint AS attempted,
    coalesce(sum((steps ->> 'failed')::bigint), 0)::bigint AS failed
  FROM samples WHERE session_id = :session_id AND timestamp > (
    SELECT max(timestamp) FROM samples WHERE session_id = :session_id) - interval '5 minutes'
), effort AS (
  SELECT coalesce(max((steps ->> 'memory_mb')::float8), 0) AS memory_mb FROM samples WHERE session_id = :session_id
), spans AS (
  SELECT to_status, extract(epoch FROM coalesce(lead(timestamp) OVER (ORDER BY version, timestamp), clock_timestamp())
    - timestamp)::float8 AS seconds
  FROM transitions WHERE session_id = :session_id
), spent AS (
  SELECT coalesce(sum(seconds) FILTER (WHERE to_status = 'active'), 0) AS active,
    coalesce(sum(seconds) FILTER (WHERE to_status = 'paused'), 0) AS paused FROM spans
), decisions AS (
  SELECT count(*) AS calls, percentile_disc(0.5) WITHIN GROUP (ORDER BY decision_latency_ms) AS p50,
    percentile_disc(0.99) WITHIN GROUP (ORDER BY decision_latency_ms) AS p99
  FROM order_intents WHERE session_id = :session_id
)
SELECT s.session_id, s.session_type, s.status, s.version, s.epoch, s.started_at, s.ended_at, s.broker, money.*,
  s.started_at IS NOT NULL AND {TRADED_ELSEWHERE} AS elsewhere,
  equity.drawdown, equity.peak, equity.latest, recent.*, effort.*, spent.*, decisions.*,
  (SELECT count(*) FROM checkpoints c WHERE c.session_id = s.session_id) AS checkpoint_count,
  (SELECT a.contents -> 'metrics' FROM archives a WHERE a.session_id = s.session_id AND a.rows_dropped_at IS NOT NULL)
    AS archived,
  (SELECT k.shredded_at FROM session_keys k WHERE k.session_id = s.session_id) AS shredded_at
FROM sessions s, money, equity, recent, effort, spent, decisions WHERE s.session_id = :session_id
""")


def get_metrics(engine: Engine, session_id: UUID) -> SessionMetrics:
    """Return the measures of a session; total_api_calls: orders sent to the broker. Raises NotFound and Shredded."""
    return _metrics(one(engine, _METRICS, session_id))


def get_metrics_and_status(engine: Engine, session_id: UUID) -> dict[str, Any]:
    """Return {"metrics", "session": {"session_id", "status", "version", "epoch"}} of one moment; raises so too."""
    row = one(engine, _METRICS, session_id)
    return {
        "metrics": _metrics(row),
        "session": {name: row[name] for name in ("session_id", "status", "version", "epoch")},
    }


def _metrics(row: Row) -> SessionMetrics:
    # What they would be made of is erased: 0 would be an invention.
    if row["shredded_at"] is not None:
        raise Shredded(str(row["session_id"]), row["shredded_at"].isoformat())
    # What they would be made of has left with the archive; they were taken then.
    if row["archived"] is not None:
        return SessionMetrics.model_validate(row["archived"])
    # Where something is open its marks count too: those of the last sample, which are net of fees.
    marked = row["open"] > 0 and row["latest"] is not None
    net = row["latest"] if marked else row["cash"] - row["fees"]
    return SessionMetrics(
        session_id=row["session_id"],
        start_time=row["started_at"],
        end_time=row["ended_at"],
        active_duration=row["active"],
        pause_duration=row["paused"],
        total_trades=row["total"],
        winning_trades=row["won"],
        losing_trades=row["lost"],
        scratch_trades=row["total"] - row["won"] - row["lost"],
        win_rate=win_rate(row["won"], row["total"]),
        gross_pnl=net + row["fees"],
        fees=row["fees"],
        net_pnl=net,
        max_drawdown=_drawdown(row, net),
        decision_latency_ms=row["p50"],
        decision_latency_p99_ms=row["p99"],
        execution_slippage=row["slippage"],
        error_rate=error_rate(row["attempted"], row["failed"]),
        peak_memory_mb=row["memory_mb"],
        total_api_calls=row["calls"],
        checkpoint_count=row["checkpoint_count"],
        broker=row["broker"],
        notice=_notice(row),
    )


def _notice(row: Row) -> str:
    if row["elsewhere"]:
        return ELSEWHERE_NOTICE
    return PAPER_NOTICE if row["broker"] == "paper" else ""


def _drawdown(row: Row, net: Decimal) -> Decimal:
    """Return the deepest fall from a peak, <= 0; a loss that was realised after the last sample counts as well."""
    return min(row["drawdown"] or _ZERO, net - max(row["peak"] or _ZERO, _ZERO), _ZERO)
