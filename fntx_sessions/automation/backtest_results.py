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
from fntx_sessions.database.measuring import PEAK
from fntx_sessions.trading.backtest import RunResult, report
from fntx_sessions.trading.ledger import TradeResult, trades_of
from fntx_sessions.trading.metrics import deepest
from fntx_sessions.trading.paper_rows import fill_from_row

_FILLS = text("SELECT * FROM fills WHERE session_id = ANY(:ids) ORDER BY session_id, timestamp, fill_id")
_DRAWDOWNS = text(f"""
SELECT session_id, min(net_pnl - peak) AS drawdown, max(peak) AS peak FROM (
  SELECT session_id, net_pnl, {PEAK} AS peak FROM samples WHERE session_id = ANY(:ids)
) s GROUP BY session_id
""")
_COUNTS = text("SELECT state, count(*) AS n FROM backtest_units WHERE run_id = :run_id GROUP BY state")
_DONE = text("""
SELECT trade_date, seed, result FROM backtest_units WHERE run_id = :run_id AND state = 'done'
ORDER BY trade_date, seed
""")
_FAILURES = text("""
SELECT trade_date, seed, session_id, result ->> 'error' AS error FROM backtest_units
WHERE run_id = :run_id AND state = 'failed' ORDER BY trade_date, seed LIMIT :limit
""")
_SHOWN_FAILURES = 20


def unit_results(connection: Connection, session_ids: list[UUID]) -> dict[UUID, dict[str, Any]]:
    """Return each session's result, dollars: net_pnl, gross_pnl, fees, trades, max_drawdown (<= 0), exits by reason."""
    bound = {"ids": session_ids}
    curves = {row["session_id"]: row for row in rows(connection.execute(_DRAWDOWNS, bound))}
    fills = groupby(rows(connection.execute(_FILLS, bound)), key=itemgetter("session_id"))
    found = {session_id: trades_of(map(fill_from_row, own)) for session_id, own in fills}
    return {one: _result(found.get(one, []), curves.get(one)) for one in session_ids}


def _result(trades: list[TradeResult], curve: dict[str, Any] | None) -> dict[str, Any]:
    net = sum((trade.net for trade in trades), Decimal(0))
    lowest = deepest(net, **{name: curve[name] for name in ("drawdown", "peak")} if curve else {})
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
    """Return a run by day and by year as docs/trading.md reports it, how its trades ended, and what failed."""
    done = rows(connection.execute(_DONE, {"run_id": run_id}))
    exits: Counter[str] = Counter()
    for row in done:
        exits.update(row["result"]["exits"])
    failures = rows(connection.execute(_FAILURES, {"run_id": run_id, "limit": _SHOWN_FAILURES}))
    return report(map(_run_result, done)).to_json() | {"exits": dict(exits.most_common()), "failures": failures}


def _run_result(row: dict[str, Any]) -> RunResult:
    known = {name: row["result"][name] for name in ("net_pnl", "fees", "trades", "max_drawdown")}
    return RunResult(day=row["trade_date"], seed=row["seed"], **known)
