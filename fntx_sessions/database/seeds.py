"""The templates every desk begins with; the migration puts them into the database."""

from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson
from sqlalchemy import Connection, text

from fntx_sessions.schemas import SessionTemplate, SessionType

ROSTER = [
    "EnvironmentWatcherAgent",
    "StrategicPlannerAgent",
    "RiskManagerAgent",
    "TacticalExecutorAgent",
    "EvaluatorAgent",
]
_STOP_RULES = [
    {"condition": "daily_loss_exceeded", "value": True},
    {"condition": "market_close", "value": True},
    {"condition": "error_rate_above", "value": 0.1},
]
_START_RULES = [
    {"condition": "market_open", "value": True},
    {"condition": "vix_below", "value": 30},
    {"condition": "time_after", "value": "09:35:00"},
]


def _template(name: str, session_type: SessionType, description: str, **body: Any) -> SessionTemplate:
    return SessionTemplate(
        template_id=uuid5(NAMESPACE_URL, f"fntx-sessions/templates/{name}"),
        template_name=name,
        description=description,
        session_type=session_type,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        **({"required_agents": ROSTER, "enabled_strategies": ["sell_put"]} | body),
    )


BUILT_IN: tuple[SessionTemplate, ...] = (
    _template(
        "Regular Trading",
        SessionType.REGULAR,
        "Standard market hours, SPY options",
        default_config={"feed": {"kind": "published"}},
        auto_start_conditions=_START_RULES,
        auto_stop_conditions=_STOP_RULES,
    ),
    _template(
        "Extended Hours",
        SessionType.EXTENDED_HOURS,
        "Pre and post market: watches while options are shut, trades only in option hours",
        default_config={"feed": {"kind": "published"}},
        default_risk_parameters={"max_daily_risk": 0.01, "position_limit": 1},
        auto_stop_conditions=_STOP_RULES,
    ),
    _template(
        "Paper Trading",
        SessionType.PAPER_TRADING,
        "Simulated trades on a synthetic, seeded market",
        default_config={"feed": {"kind": "synthetic"}},
        default_risk_parameters={"max_daily_risk": 0.05},
    ),
    _template(
        "Backtest",
        SessionType.BACKTEST,
        "One historical day through a seeded intraday path, as fast as it steps",
        default_config={
            "feed": {"kind": "replayed"},
            "auto_resume_after_recovery": True,
            "step_interval_s": 0.05,
        },
        default_risk_parameters={"max_daily_risk": 0.05},
    ),
    _template(
        "Manual Override",
        SessionType.MANUAL_OVERRIDE,
        "A person in the loop: every opening order waits for a confirmation",
        default_config={"feed": {"kind": "published"}, "require_confirmation": True},
        default_risk_parameters={"position_limit": 1},
    ),
)
_SEED = text("""
INSERT INTO templates (template_id, template_name, version, body) VALUES (:id, :name, :version, CAST(:body AS jsonb))
ON CONFLICT (template_name) DO UPDATE SET body = excluded.body, version = excluded.version
WHERE templates.version < excluded.version AND coalesce(templates.body -> 'rules_history', '[]') = '[]'
""")


def seed(connection: Connection) -> None:
    """Put the shipped templates into the database; a newer one, and one with rules of the desk's, stays."""
    for template in BUILT_IN:
        body = orjson.dumps(template.model_dump(mode="json")).decode()
        connection.execute(
            _SEED,
            {"id": template.template_id, "name": template.template_name, "version": template.version, "body": body},
        )
