"""SessionFacts of sessions on the wall's clock: of their last step, their account's ledger, or their agents' report."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from fntx_sessions.automation.rules.model import SessionFacts
from fntx_sessions.automation.rules.reports import LiveReport
from fntx_sessions.trading.ledger import limit_of
from fntx_sessions.trading.orders import ZERO

Row = dict[str, Any]


def session_facts(row: Row, report: LiveReport | None) -> SessionFacts:
    """Return how a session does; the day's P&L, limit and latch are its account's, whenever it stepped last."""
    ledger = _of_ledger(row)
    if row["started_at"] is None:
        return ledger
    measured = _of_steps(row, ledger)
    if row["guarded"] or not row["remote"]:
        return measured
    return _of_report(row, ledger, measured, report)


def _of_ledger(row: Row) -> SessionFacts:
    return SessionFacts(
        age_s=0.0,
        daily_pnl=row["pnl"] + row["carried"],
        loss_limit=limit_of(row["risk_parameters"]["max_daily_risk"], row["equity_at_roll"]),
        latched=row["latched"],
        guarded=row["guarded"],
        # Nothing open anywhere on the account: what is realised stays true.
        pnl_age_s=0.0 if row["simulated"] else max(row["marked_age_s"] or 0.0, 0.0),
    )


def _of_steps(row: Row, ledger: SessionFacts) -> SessionFacts:
    """Return what the last step left; before the first there is nothing but the ledger, and nothing open."""
    measures = row["measures"]
    if not measures:
        return replace(ledger, position_count=0, drawdown=ZERO) if row["hosted"] else ledger
    drawdown = measures.get("drawdown")
    return replace(
        ledger,
        age_s=0.0 if row["simulated"] else max(row["measured_age_s"] or 0.0, 0.0),
        drawdown=None if drawdown is None else Decimal(drawdown),
        position_count=measures.get("position_count"),
        error_rate=measures.get("error_rate"),
        decision_latency_ms=measures.get("decision_latency_ms"),
    )


def _of_report(row: Row, ledger: SessionFacts, measured: SessionFacts, report: LiveReport | None) -> SessionFacts:
    """Return what remote agents say of themselves, their account's other sessions added; nobody else knows."""
    if report is None or report.trading is None:
        # The manager's own guard steps where agents do not; of a session that runs, nothing is known without a report.
        return measured if row["measures"] else replace(ledger, daily_pnl=None, age_s=0.0)
    said = report.trading
    others = row["pnl"] - row["own_pnl"] + row["carried"]
    return replace(
        measured,
        age_s=report.age_s,
        daily_pnl=None if said.daily_pnl is None else said.daily_pnl + others,
        pnl_age_s=max(report.age_s, ledger.pnl_age_s or 0.0),
        position_count=said.position_count,
        positions=said.positions,
    )
