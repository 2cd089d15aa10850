"""What the sweep of rules costs where ten times as many sessions live: the spec's stop rules and a market's pause."""

import time
from dataclasses import replace
from uuid import UUID, uuid4

import orjson
from sqlalchemy import text

from benchmarks.desk import Desk
from benchmarks.report import Result, middle
from fntx_sessions.automation.rules.sweep import evaluate_due
from fntx_sessions.schemas import RiskParameters, SessionConfig
from fntx_sessions.security.actor import system_actor
from fntx_sessions.trading.market_store import MARKET_KEY

FEW, MANY = 1_000, 10_000
MOST_TIMES = 12
ROUNDS = 3
_RULES = {
    "auto_stop_conditions": [
        {"condition": "daily_loss_exceeded", "value": True},
        {"condition": "error_rate_above", "value": 0.1},
        {"condition": "drawdown_above", "value": 5000},
    ],
    "auto_pause_conditions": [
        {"condition": "vix_above", "value": 30, "for_s": 10, "clear_value": 28, "cooldown_s": 600},
        {"condition": "market_regime", "value": "high_volatility"},
    ],
    "auto_resume_conditions": [{"condition": "vix_below", "value": 25}],
}
_ADD = text("""
WITH n AS (SELECT * FROM unnest(CAST(:ids AS uuid[])) AS t(id)),
account AS (
  INSERT INTO accounts (account_id, equity) SELECT 'bench:' || id, 100000 FROM n RETURNING account_id
), made AS (
  INSERT INTO sessions (session_id, session_type, status, version, epoch, account_id, exclusive_account, broker,
    status_actor, started_at, config, risk_parameters)
  SELECT id, 'regular', 'initializing', 1, 1, 'bench:' || id, true, 'paper', 'bench', now(), CAST(:config AS jsonb),
    CAST(:risk AS jsonb) FROM n
), agents AS (
  INSERT INTO session_agents (session_id, agent) SELECT id, 'RiskManagerAgent' FROM n
), day AS (
  INSERT INTO session_days (session_id, trade_date, account_id, realized)
  SELECT id, CURRENT_DATE, 'bench:' || id, -100 FROM n
)
INSERT INTO session_work (session_id, status, epoch, session_type, save_interval_s, checkpoint_interval_s,
  step_interval_s, measures)
SELECT id, 'active', 1, 'regular', 3600, 3600, 1, '{}' FROM n
""")
_ACTIVE = text(
    "UPDATE sessions SET status = 'active', version = version + 1 WHERE session_id = ANY(CAST(:ids AS uuid[]))"
)
_DUE = text("""
UPDATE session_work SET next_rule_at = now(), measures = jsonb_build_object('stored_at', now(), 'drawdown', '-100',
  'position_count', 1, 'error_rate', 0.01) WHERE session_id = ANY(CAST(:ids AS uuid[]))
""")


def rules(desk: Desk) -> list[Result]:
    """Return the seconds of one process to judge all sessions once, nothing firing, at 10,000 and at 1,000."""
    few, many = ruled_sessions(desk, FEW), ruled_sessions(desk, MANY)
    for ids in (few, many):
        _swept(desk, ids)
    took = [(_swept(desk, few), _swept(desk, many)) for _ in range(ROUNDS)]
    at_few, at_many = (middle(list(times)) for times in zip(*took, strict=True))
    what = f"rules of {MANY:,} sessions judged"
    return [
        Result(what, "s", at_many, f"of {FEW:,}", at_few, MOST_TIMES, fewer=True, rounds=ROUNDS),
        Result("sessions one process judges each 5 s", "", MANY / at_many * desk.settings.rule_interval_s),
    ]


def ruled_sessions(desk: Desk, count: int) -> list[UUID]:
    """Add active sessions on the published market with rules of each kind; due for nothing else."""
    ids = sorted(uuid4() for _ in range(count))
    config = SessionConfig.model_validate({"feed": {"kind": "published"}, **_RULES}).model_dump_json(exclude_none=True)
    bound = {"ids": list(map(str, ids)), "config": config, "risk": RiskParameters().model_dump_json()}
    with desk.engine.begin() as connection:
        connection.execute(_ADD, bound)
        connection.execute(_ACTIVE, {"ids": bound["ids"]})
    with desk.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    return ids


def _swept(desk: Desk, ids: list[UUID]) -> float:
    with desk.engine.begin() as connection:
        now = connection.execute(text("SELECT now()")).scalar_one()
        connection.execute(_DUE, {"ids": list(map(str, ids))})
    state = {"timestamp": now, "spy_price": 270.0, "vix_level": 18.0, "market_regime": "normal"}
    desk.redis.set(MARKET_KEY, orjson.dumps(state))
    settings = desk.settings.model_copy(update={"state_sweep_s": 60.0, "rule_interval_s": 3600.0})
    began = time.perf_counter()
    counts = evaluate_due(replace(desk.tools, settings=settings), system_actor("bench"))
    took = time.perf_counter() - began
    if counts != {"judged": len(ids)}:
        raise RuntimeError(counts)
    return took
