"""The measures of a run, as docs/metrics.md defines them."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.exceptions import Shredded
from fntx_sessions.lifecycle.reads.metrics_sql import METRICS
from fntx_sessions.lifecycle.reads.rows import Row, one
from fntx_sessions.schemas import SessionMetrics
from fntx_sessions.trading.metrics import PAPER_NOTICE, deepest, error_rate, win_rate

_ZERO = Decimal(0)
_STAKES = ("current_exposure", "dollar_delta", "stress_down", "stress_up")
ELSEWHERE_NOTICE = (
    "Its agents trade elsewhere: money and trades are what they told of them, and what they did not tell is not known. "
    "`fntx show ID` has what they report to hold now."
)


@dataclass(frozen=True, slots=True)
class _Result:
    """Trades and money of a run, dollars; None: not known."""

    total: int | None
    won: int | None
    lost: int | None
    open: int | None
    gross: Decimal | None
    fees: Decimal | None
    slippage: Decimal | None

    @property
    def net(self) -> Decimal | None:
        return None if self.gross is None or self.fees is None else self.gross - self.fees

    @property
    def even(self) -> int | None:
        return None if self.total is None else self.total - (self.won or 0) - (self.lost or 0)


_NOTHING_KNOWN = _Result(None, None, None, None, None, None, None)


def get_metrics(engine: Engine, session_id: UUID) -> SessionMetrics:
    """Return the measures of a session. Raises NotFound and Shredded."""
    return _metrics(one(engine, METRICS, session_id))


def get_metrics_and_status(engine: Engine, session_id: UUID) -> dict[str, Any]:
    """Return {"metrics", "session": {"session_id", "status", "version", "epoch"}} of one moment; raises so too."""
    row = one(engine, METRICS, session_id)
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
    result = _with_told(row) if row["elsewhere"] else _of_ledger(row)
    return SessionMetrics(
        session_id=row["session_id"],
        start_time=row["started_at"],
        end_time=row["ended_at"],
        active_duration=row["active"],
        pause_duration=row["paused"],
        total_trades=result.total,
        winning_trades=result.won,
        losing_trades=result.lost,
        scratch_trades=result.even,
        open_trades=result.open,
        win_rate=win_rate(result.won or 0, result.total or 0),
        gross_pnl=result.gross,
        fees=result.fees,
        net_pnl=result.net,
        max_drawdown=_drawdown(row, result.net),
        execution_slippage=result.slippage,
        decision_latency_ms=row["p50"],
        decision_latency_p99_ms=row["p99"],
        error_rate=_error_rate(row),
        reported_errors=row["told_errors"] if row["remote"] else None,
        peak_memory_mb=row["memory_mb"] or (None if row["elsewhere"] else 0.0),
        total_api_calls=None if row["elsewhere"] else row["calls"],
        checkpoint_count=row["checkpoint_count"],
        broker=row["broker"],
        notice=_notice(row),
        **_stake(row),
    )


def _of_ledger(row: Row) -> _Result:
    """Return what our own book comes to: fills, and what is held at its last mark."""
    return _Result(row["total"], row["won"], row["lost"], row["open"], _gross(row), row["fees"], row["slippage"])


def _gross(row: Row) -> Decimal:
    cash: Decimal = row["cash"]
    if not row["open"]:
        return cash
    # Held, and nobody has valued it: at what it was opened for, so that a premium received is no profit yet.
    if row["marked"] is None:
        at_cost: Decimal = cash + row["entered"]
        return at_cost
    # Each trade at its own mark: what was closed since is cash, what was opened since at what it was opened for.
    if row["by_trade"]:
        by_trade: Decimal = cash + row["valued"]
        return by_trade
    # Only the sum is known, after the fees that were paid by then: what filled since counts at its own price.
    at_mark: Decimal = row["marked"] + row["fees"] - row["later"]
    return at_mark


def _with_told(row: Row) -> _Result:
    """Return what agents told and what our own book has; a trade whose result was not told leaves gross unknown."""
    ours = _of_ledger(row)
    if not row["told_trades"]:
        return ours if row["total"] or row["open"] else _NOTHING_KNOWN
    still_open = row["told_trades"] - row["told_total"]
    return _Result(
        total=row["total"] + row["told_total"],
        won=row["won"] + row["told_won"],
        lost=row["lost"] + row["told_lost"],
        open=row["open"] + still_open,
        gross=None if row["told_unsaid"] else _gross(row) + row["told_gross"],
        fees=row["fees"] + row["told_fees"],
        slippage=row["slippage"] + row["told_slippage"],
    )


def _drawdown(row: Row, net: Decimal | None) -> Decimal | None:
    """Return the deepest fall from a peak; None where equity between trades is not known."""
    if row["elsewhere"] or net is None:
        return None
    return deepest(net, row["drawdown"] or _ZERO, row["peak"] or _ZERO)


def _error_rate(row: Row) -> float | None:
    """Return what rules and health go by, which the last step left; of samples where none did."""
    measures = row["measures"] or {}
    return measures["error_rate"] if "error_rate" in measures else error_rate(row["attempted"], row["failed"])


def _stake(row: Row) -> dict[str, Any]:
    """Return what is at stake: delta, stress and margin as the last step left them; nothing where nothing is open."""
    if row["elsewhere"] or row["started_at"] is None:
        return {}
    measures = row["measures"] or {}
    if not row["open"]:
        return dict.fromkeys(_STAKES, _ZERO) | _margin(measures, flat=True)
    # A step that held nothing says nothing about what was opened since.
    measured = measures if measures.get("position_count") else {}
    found = {name: measured.get(name) for name in _STAKES} | _margin(measured, flat=False)
    return found | {"current_exposure": row["exposure"], "marked_at": row["marked_at"]}


def _margin(measures: dict[str, Any], *, flat: bool) -> dict[str, Any]:
    # A broker's figure is the whole account's: other sessions' positions are in it.
    if flat and measures.get("margin_source") != "broker":
        return {"margin_used": _ZERO}
    known = measures.get("margin") is not None
    return {"margin_used": measures.get("margin"), "margin_source": measures["margin_source"] if known else None}


def _notice(row: Row) -> str:
    if row["elsewhere"]:
        return ELSEWHERE_NOTICE
    return PAPER_NOTICE if row["broker"] == "paper" else ""
