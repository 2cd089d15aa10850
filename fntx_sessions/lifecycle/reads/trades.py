"""A session's trades, flat to flat: those of the ledger, and those that agents of other services told of."""

from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.lifecycle.reads.asked import Days, span_of
from fntx_sessions.lifecycle.reads.records import TradeFill, TradeRecord
from fntx_sessions.lifecycle.reads.rows import Row, of_session
from fntx_sessions.lifecycle.reads.told import told_data
from fntx_sessions.state.payloads import Payloads
from fntx_sessions.trading.ledger import TradeResult, trades_of
from fntx_sessions.trading.orders import Fill
from fntx_sessions.trading.paper_rows import fill_from_row

# Only the fills of the trades that are asked for are fetched. One that is open counts to every day since it was opened.
_TRADES = text("""
WITH legs AS (
  SELECT trade_id, min(timestamp) AS opened_at, min(trade_date) AS first_day, max(trade_date) AS last_day,
    sum(CASE side WHEN 'buy' THEN quantity ELSE -quantity END) <> 0 AS held
  FROM fills WHERE session_id = :session_id GROUP BY trade_id, symbol
), chosen AS (
  SELECT trade_id FROM legs GROUP BY trade_id
  HAVING (CAST(:last AS date) IS NULL OR min(first_day) <= :last)
    AND (CAST(:first AS date) IS NULL OR max(last_day) >= :first OR bool_or(held))
  ORDER BY min(opened_at) DESC, trade_id DESC LIMIT :limit
)
SELECT f.fill_id IS NOT NULL AS found, f.* FROM sessions s
LEFT JOIN (SELECT * FROM fills JOIN chosen USING (trade_id) WHERE session_id = :session_id) f
  ON f.session_id = s.session_id
WHERE s.session_id = :session_id ORDER BY f.timestamp, f.fill_id
""")
_TOLD = text("""
SELECT * FROM agent_reports WHERE session_id = :session_id AND kind = 'trade'
  AND (CAST(:until AS timestamptz) IS NULL OR coalesce(opened_at, timestamp) < :until)
  AND (CAST(:since AS timestamptz) IS NULL OR closed_at IS NULL OR closed_at >= :since)
ORDER BY coalesce(opened_at, timestamp) DESC, agent DESC, report_id DESC LIMIT :limit
""")


def get_trades(engine: Engine, session_id: UUID, limit: int, days: Days | None = None) -> list[TradeRecord]:
    """Return the last `limit` trades that were open on one of the days, oldest first; days None: all there are.

    An open one has neither outcome nor end. Raises NotFound.
    """
    asked = days or Days()
    span = span_of(engine, session_id, asked)
    bound = {"first": asked.first, "last": asked.last, "limit": limit}
    fills = [fill_from_row(row) for row in of_session(engine, _TRADES, session_id, **bound)]
    wanted = {"session_id": session_id, "since": span.since, "until": span.until, "limit": limit}
    with transaction(engine) as connection:
        told = rows(connection.execute(_TOLD, wanted))
    payloads = Payloads(engine)
    found = [_record(result) for result in trades_of(fills)] + [told_trade(payloads, row) for row in told]
    return sorted(found, key=lambda trade: (trade.opened_at, trade.trade_id))[-limit:]


def told_trade(payloads: Payloads, row: Row) -> TradeRecord:
    """Return a trade as its agent told of it; what it did not tell is None."""
    data = told_data(payloads, row)
    gross, fees = row["gross_pnl"], row["fees"]
    net = None if gross is None or fees is None else gross - fees
    closed = row["closed_at"] is not None and net is not None
    return TradeRecord(
        trade_id=row["report_id"],
        strategy=str(data.get("strategy") or ""),
        agent=row["agent"],
        opened_at=row["opened_at"] or row["timestamp"],
        closed_at=row["closed_at"],
        gross_pnl=gross,
        fees=fees,
        net_pnl=net,
        slippage=row["slippage"],
        outcome=_outcome(net) if closed else None,
        told=data,
    )


def _outcome(net: Any) -> str:
    return "win" if net > 0 else "loss" if net < 0 else "scratch"


def _record(result: TradeResult) -> TradeRecord:
    trade = result.trade
    closing = [fill for fill in trade.fills if not fill.opening]
    return TradeRecord(
        trade_id=trade.trade_id,
        strategy=trade.strategy,
        opened_at=trade.opened_at,
        closed_at=trade.closed_at,
        packages=trade.packages,
        credit=trade.credit,
        gross_pnl=result.gross,
        fees=result.fees,
        net_pnl=result.net,
        slippage=result.slippage,
        outcome=result.outcome,
        exit_reason=closing[-1].reason if closing and not trade.open else None,
        fills=[_fill(fill) for fill in trade.fills],
    )


def _fill(fill: Fill) -> TradeFill:
    names = ("fill_id", "client_order_id", "timestamp", "side", "quantity", "price", "fee", "slippage", "opening")
    same = {name: getattr(fill, name) for name in names}
    return TradeFill(**same, symbol=fill.contract.symbol, reason=fill.reason)
