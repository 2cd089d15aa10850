"""What happens in the demo: a backtest of real days, then a paper session that is paused, killed, recovered, closed."""

import time
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text

from fntx_sessions.cli import backtest, output
from fntx_sessions.cli.asking import line
from fntx_sessions.cli.demo_checks import Checks
from fntx_sessions.database.engine import get_engine, rows, transaction
from fntx_sessions.exceptions import IllegalTransition
from fntx_sessions.security.chain_check import verify_chain
from fntx_sessions.settings import get_settings
from fntx_sessions.stack import Stack
from fntx_sessions.state.chain_key import ChainKeys

Session = dict[str, Any]
WORKER = "worker_agents"
LUNCH = "2018-02-06T18:00:00"
# A synthetic day of which five minutes pass in a second, so that it is far from over when the worker dies, however slow
# the machine. Profit is taken late and loss later, so that a position is open then.
PAPER = {
    "template_name": "Paper Trading",
    "overrides": {
        "config": {
            "feed": {"kind": "synthetic", "seed": 7, "trade_date": "2018-02-06", "step_s": 300},
            "step_interval_s": 1,
            "save_interval_s": 1,
        },
        "risk_parameters": {"take_profit_multiplier": 0.95, "stop_loss_multiplier": 10},
        "enabled_strategies": ["sell_strangle"],
        "strategy_parameters": {"sell_strangle": {"entry_time": "09:40:00", "delta": 0.2}},
    },
    "reason": "demo",
}
HURRY = {"config": {"step_interval_s": 0.05}, "reason": "demo: on to the end"}
EXPECTED_PATH = [
    "initializing", "active", "paused", "active", "suspended", "paused", "active", "closing", "closed",
]  # fmt: skip
ENDING = ("closing", "closed")
_SAMPLES = text("SELECT timestamp, net_pnl FROM samples WHERE session_id = :session_id ORDER BY timestamp")
_AUDIT = text("SELECT * FROM audit WHERE session_id = :session_id ORDER BY seq")
_HEADS = text("SELECT session_id, audit_head FROM sessions ORDER BY created_at")


@dataclass
class Story:
    """What the report tells. rto_s: from the kill to PAUSED under a new epoch; lost_s: agents' memory that is gone."""

    report: dict[str, Any]
    session: Session
    transitions: list[dict[str, Any]]
    trades: list[dict[str, Any]]
    curve: list[tuple[datetime, float]]
    rto_s: float
    lost_s: float | None
    sessions: int


def play(stack: Stack, checks: Checks, data: Path, days: tuple[datetime, datetime], seeds: int) -> Story:
    """Do it all; raises StepFailed at the first thing that is not as it must be."""
    report = _backtest(checks, data, days, seeds)
    session_id = _begin(checks)
    _pause_and_resume(checks, session_id)
    rto_s, lost_s = _kill_and_recover(stack, checks, session_id)
    _end(checks, session_id)
    sessions = _verify(stack, checks)
    return _story(report, session_id, rto_s, lost_s, sessions)


def _backtest(checks: Checks, data: Path, days: tuple[datetime, datetime], seeds: int) -> dict[str, Any]:
    name = f"a backtest of real days, {days[0]:%Y-%m-%d} to {days[1]:%Y-%m-%d}, {seeds} paths each, runs to its end"
    with checks.step(name):
        run = backtest.follow(backtest.start(data, *days, seeds=seeds))
        report: dict[str, Any] = line().query("backtests.report", run_id=run["run_id"])
        failures = [failure["error"] for failure in report["failures"]]
        checks.equal("failed days", failures, [])
        checks.equal("finished sessions", report["counts"]["done"], run["units"])
        checks.true("a result a day", len(report["days"]) * seeds == run["units"], len(report["days"]))
    return report


def _get(session_id: UUID | str) -> Session:
    session: Session = line().query("sessions.get", session_id=session_id)
    return session


def _held(session: Session) -> dict[str, int]:
    return {one["symbol"]: one["quantity"] for one in session["trading_state"]["open_positions"]}


def _begin(checks: Checks) -> UUID:
    with checks.step("a paper session is created and started"):
        created = line().command("create_from_template", PAPER)
        checks.equal("status", created["status"], "initializing")
        session_id = UUID(created["session_id"])
        started = line().command("start", {"session_id": session_id, "reason": "demo"})
        checks.equal("status and epoch", (started["status"], started["epoch"]), ("active", 1))
    with checks.step("its agents trade: a position is open"):
        checks.until("an open position", lambda: _get(session_id), _held, 40)
    return session_id


def _pause_and_resume(checks: Checks, session_id: UUID) -> None:
    with checks.step("it is paused, and quiet: nothing in flight"):
        paused = line().command("pause", {"session_id": session_id, "reason": "demo"})
        checks.equal("status", paused["status"], "paused")
        session = checks.until("quiet", lambda: _get(session_id), lambda one: one["quiesced_at"], 20)
        checks.equal("orders", session["trading_state"]["pending_orders"], [])
    with checks.step("it is resumed, and steps on"):
        resumed = line().command("resume", {"session_id": session_id, "reason": "demo"})
        checks.equal("status", resumed["status"], "active")
        _steps_on(checks, session_id)


def _steps_on(checks: Checks, session_id: UUID) -> Session:
    """Wait until the session's own clock has moved."""
    before = _clock(_get(session_id))
    return checks.until("a moving clock", lambda: _get(session_id), lambda one: _clock(one) > before, 30)


def _clock(session: Session) -> str:
    return session["market_state"]["timestamp"] if session["market_state"] else ""


def _kill_and_recover(stack: Stack, checks: Checks, session_id: UUID) -> tuple[float, float | None]:
    with checks.step("its worker is killed with -9; liveness takes it over: PAUSED under a new epoch"):
        before = _get(session_id)
        checks.true("an open position to lose", _held(before))
        killed_at = datetime.now(UTC)
        pid = stack.kill(WORKER)
        after = checks.until(
            "PAUSED under a new epoch", lambda: _get(session_id), lambda one: _recovered(one, before), 45
        )
        data = after["recovery_data"]
        rto_s = (datetime.fromisoformat(data["finished_at"]) - killed_at).total_seconds()
        checks.equal("positions", _held(after), _held(before))
        checks.equal("orders", after["trading_state"]["pending_orders"], [])
        checks.true("memory restored", data["state_lost_s"] is not None, data["source"])
        output.note(f"     worker {pid} died; recovered from {data['source']} {rto_s:.1f} s after the kill")
    with checks.step("it is resumed by a new worker, and trades on, faster, until one o'clock"):
        line().command("update", HURRY | {"session_id": session_id})
        line().command("resume", {"session_id": session_id, "reason": "demo: recovered"})
        checks.until("one o'clock in New York", lambda: _get(session_id), lambda one: _clock(one) >= LUNCH, 60)
        worker = stack.processes()[WORKER]
        checks.true("another worker process", worker.pid not in (None, pid), worker.pid)
    return rto_s, data["state_lost_s"]


def _recovered(session: Session, before: Session) -> bool:
    newer = session["epoch"] > before["epoch"]
    return bool(session["status"] == "paused" and newer and "finished_at" in session["recovery_data"])


def _end(checks: Checks, session_id: UUID) -> None:
    with checks.step("it is stopped: flat, final checkpoint verified, closed"):
        status = _stop(session_id)
        checks.true("CLOSING or CLOSED", status in ENDING, status)
        closed = checks.until("CLOSED", lambda: _get(session_id), lambda one: one["status"] == "closed", 40)
        checks.equal("positions", _held(closed), {})
        checks.equal("orders", closed["trading_state"]["pending_orders"], [])
        final = [one for one in closed["checkpoints"] if one["checkpoint_type"] == "final"]
        checks.true("a verified final checkpoint", final and final[0]["verified"], final)
    with checks.step("its history is whole: every transition in order"):
        listed = line().query("sessions.transitions", session_id=session_id)
        checks.equal("transitions", [one["to_status"] for one in listed], EXPECTED_PATH)


def _stop(session_id: UUID) -> str:
    """Stop it and return its status; where its day was over before the stop arrived, it has stopped by itself."""
    asked = {"session_id": session_id, "close_positions": True, "reason": "demo"}
    try:
        stopped = line().command("stop", asked)
    except IllegalTransition as late:
        found = late.named()
        if found["status"] not in ENDING:
            raise
        output.note(f"     {found['reason']}: it was {found['status']} before the stop arrived")
        return str(found["status"])
    return str(stopped["status"])


def _verify(stack: Stack, checks: Checks) -> int:
    with checks.step("the audit chain of every session verifies"), transaction(get_engine()) as connection:
        # Heads and rows of one moment: a command may commit between the two questions.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        heads, keys = rows(connection.execute(_HEADS)), ChainKeys(get_engine(), get_settings())
        for head in heads:
            chain = rows(connection.execute(_AUDIT, {"session_id": head["session_id"]}))
            checks.equal(
                f"problems of {head['session_id']}", verify_chain(chain, keys.rows, head=head["audit_head"]), []
            )
    with checks.step("Flower answers"):
        address = f"{stack.addresses().flower}healthcheck"
        checks.until("an answer", lambda: _answers(address), bool, 20)
    return len(heads)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 -- our own loopback address
            return bool(answer.status == 200)
    except OSError:
        time.sleep(0.2)
        return False


def _story(report: dict[str, Any], session_id: UUID, rto_s: float, lost_s: float | None, sessions: int) -> Story:
    with transaction(get_engine()) as connection:
        found = rows(connection.execute(_SAMPLES, {"session_id": session_id}))
    return Story(
        report=report,
        session=_get(session_id),
        transitions=line().query("sessions.transitions", session_id=session_id),
        trades=line().query("sessions.trades", session_id=session_id),
        curve=[(row["timestamp"], float(row["net_pnl"])) for row in found],
        rto_s=rto_s,
        lost_s=lost_s,
        sessions=sessions,
    )
