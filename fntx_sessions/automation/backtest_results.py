"""What the days of a backtest came to: a unit's result from the ledger of its session, a run's from its units."""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from fntx_sessions.database.engine import rows
from fntx_sessions.trading.ledger import TradeResult, trades_of
from fntx_sessions.trading.paper_rows import fill_from_row

_FILLS = text("SELECT * FROM fills WHERE session_id = ANY(:ids) ORDER BY session_id, timestamp, fill_id")
# Equity starts at nothing lost: the first peak is zero, or the first sample where that is higher.
_DRAWDOWNS = text("""
SELECT session_id, min(net_pnl - peak) AS drawdown FROM (
  SELECT session_id, net_pnl,
    greatest(0, max(net_pnl) OVER (PARTITION BY session_id ORDER BY timestamp)) AS peak
  FROM samples WHERE session_id = ANY(:ids)
) s GROUP BY session_id
""")
_COUNTS = text("SELECT state, count(*) AS n FROM backtest_units WHERE run_id = :run_id GROUP BY state")
_QUANTILES = "percentile_cont(ARRAY[0.05, 0.5, 0.95]) WITHIN GROUP (ORDER BY net) AS quantiles"
_DAYS = text(f"""
SELECT trade_date, count(*) AS seeds, {_QUANTILES}, avg(trades) AS trades, min(drawdown) AS worst_drawdown,
  min(net) AS worst, max(net) AS best
FROM (SELECT trade_date, (result ->> 'net_pnl')::float8 AS net, (result ->> 'trades')::float8 AS trades,
        (result ->> 'max_drawdown')::float8 AS drawdown
      FROM backtest_units WHERE run_id = :run_id AND state = 'done') u
GROUP BY trade_date ORDER BY trade_date
""")
# A year's result is one seed's days added up; the spread is that over the seeds that have all their days.
_YEARS = text(f"""
SELECT year, count(*) AS seeds, max(days) AS days, {_QUANTILES}, avg(trades) AS trades
FROM (SELECT extract(year FROM trade_date)::int AS year, seed, count(*) AS days,
        sum((result ->> 'net_pnl')::float8) AS net, sum((result ->> 'trades')::float8) AS trades,
        bool_and(state = 'done') AS whole
      FROM backtest_units WHERE run_id = :run_id GROUP BY 1, 2) u
WHERE whole GROUP BY year ORDER BY year
""")
_FAILURES = text("""
SELECT trade_date, seed, session_id, result ->> 'error' AS error FROM backtest_units
WHERE run_id = :run_id AND state = 'failed' ORDER BY trade_date, seed LIMIT :limit
""")
_SHOWN_FAILURES = 20


def unit_results(connection: Connection, session_ids: list[UUID]) -> dict[UUID, dict[str, Any]]:
    """Return each session's result in dollars: net_pnl, gross_pnl, fees, trades, max_drawdown (<= 0), exits by reason."""
    bound = {"ids": session_ids}
    drawdowns = {row["session_id"]: row["drawdown"] for row in rows(connection.execute(_DRAWDOWNS, bound))}
    fills = groupby(rows(connection.execute(_FILLS, bound)), key=itemgetter("session_id"))
    found = {session_id: trades_of(map(fill_from_row, own)) for session_id, own in fills}
    return {one: _result(found.get(one, []), drawdowns.get(one)) for one in session_ids}


def _result(trades: list[TradeResult], drawdown: Decimal | None) -> dict[str, Any]:
    net = sum((trade.net for trade in trades), Decimal(0))
    # Samples come at the end of a bar: a loss that was realised and sampled in none of them still counts.
    lowest = min(Decimal(drawdown or 0), net, Decimal(0))
    return {
        "net_pnl": float(net),
        "gross_pnl": float(sum((trade.gross for trade in trades), Decimal(0))),
        "fees": float(sum((trade.fees for trade in trades), Decimal(0))),
        "trades": len(trades),
        "wins": sum(trade.outcome == "win" for trade in trades),
        "losses": sum(trade.outcome == "loss" for trade in trades),
        "max_drawdown": float(lowest),
        "exits": dict(_exits(trades)),
    }


def _exits(trades: Iterable[TradeResult]) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for trade in trades:
        closing = [fill for fill in trade.trade.fills if not fill.opening]
        if closing:
            reasons[closing[-1].reason or "unknown"] += 1
    return reasons


def counts(connection: Connection, run_id: UUID) -> dict[str, int]:
    """Return how many units are waiting, running, done and failed."""
    known = dict.fromkeys(("waiting", "running", "done", "failed"), 0)
    return known | {row.state: row.n for row in connection.execute(_COUNTS, {"run_id": run_id})}


def summary(connection: Connection, run_id: UUID) -> dict[str, Any]:
    """Return a run by day and by year (5 %, median and 95 % over the seeds, dollars), and what failed."""
    bound = {"run_id": run_id}
    return {
        "days": [_named(row) for row in rows(connection.execute(_DAYS, bound))],
        "years": [_named(row) for row in rows(connection.execute(_YEARS, bound))],
        "failures": rows(connection.execute(_FAILURES, bound | {"limit": _SHOWN_FAILURES})),
    }


def _named(row: dict[str, Any]) -> dict[str, Any]:
    low, median, high = row.pop("quantiles")
    return row | {"p5": low, "median": median, "p95": high}
