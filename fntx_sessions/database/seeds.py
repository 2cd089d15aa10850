"""The templates every desk begins with, and how a newer one of them reaches a desk that may have edited its own."""

from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson
from sqlalchemy import Connection, text

from fntx_sessions.schemas import SessionType, TemplateContents

_PACKAGE = "fntx-sessions"
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
# What all five say, so that whoever reads one sees what a session does at its end, overnight and after a recovery.
_CONFIG: dict[str, Any] = {
    "calendar": "XNYS",
    "close_positions_on_stop": True,
    "allow_overnight_positions": False,
    "require_confirmation": False,
    "use_limit_orders_only": True,
    "auto_resume_after_recovery": False,
    "on_breach": "pause",
}
_RISK = {"max_daily_risk": 0.02, "position_limit": 3, "stop_loss_multiplier": 3.0, "take_profit_multiplier": 0.5}
_PUT = {"delta": 0.15, "contracts": 1, "entry_time": "10:00:00", "min_bid": 0.10, "max_entries_per_day": 1}


@dataclass(frozen=True, slots=True)
class Shipped:
    """One template as this release has it."""

    template_name: str
    contents: TemplateContents

    @property
    def template_id(self) -> UUID:
        """The same at every desk."""
        return uuid5(NAMESPACE_URL, f"fntx-sessions/templates/{self.template_name}")

    @property
    def session_type(self) -> SessionType:
        """What is made of it."""
        return self.contents.session_type


def _shipped(
    name: str, session_type: SessionType, description: str, config: dict[str, Any], risk: dict[str, Any], **more: Any
) -> Shipped:
    contents = {
        "description": description,
        "session_type": session_type,
        "default_config": _CONFIG | config,
        "default_risk_parameters": _RISK | risk,
        "required_agents": ROSTER,
        "enabled_strategies": ["sell_put"],
        "strategy_parameters": {"sell_put": _PUT},
    }
    return Shipped(name, TemplateContents.model_validate(contents | more))


BUILT_IN: tuple[Shipped, ...] = (
    _shipped(
        "Regular Trading",
        SessionType.REGULAR,
        "Standard market hours, SPY options",
        {"feed": {"kind": "published"}},
        {},
        agent_configurations={"StrategicPlannerAgent": {"last_entry_time": "15:00:00"}},
        auto_start_conditions=_START_RULES,
        auto_stop_conditions=_STOP_RULES,
    ),
    _shipped(
        "Extended Hours",
        SessionType.EXTENDED_HOURS,
        "Pre and post market: watches while options are shut, trades only in option hours",
        {"feed": {"kind": "published"}},
        {"max_daily_risk": 0.01, "position_limit": 1},
        agent_configurations={"StrategicPlannerAgent": {"last_entry_time": "15:00:00"}},
        auto_stop_conditions=_STOP_RULES,
    ),
    _shipped(
        "Paper Trading",
        SessionType.PAPER_TRADING,
        "Simulated trades on a synthetic, seeded market",
        {"feed": {"kind": "synthetic"}},
        {"max_daily_risk": 0.05},
    ),
    _shipped(
        "Backtest",
        SessionType.BACKTEST,
        "One historical day through a seeded intraday path, as fast as it steps",
        {"feed": {"kind": "replayed"}, "auto_resume_after_recovery": True, "step_interval_s": 0.05},
        {"max_daily_risk": 0.05},
    ),
    _shipped(
        "Manual Override",
        SessionType.MANUAL_OVERRIDE,
        "A person in the loop: every opening order waits for a confirmation",
        {
            "feed": {"kind": "published"},
            "require_confirmation": True,
            "approval_expires_s": 300.0,
            "approval_drift_max": 0.2,
        },
        {"position_limit": 1},
        auto_stop_conditions=_STOP_RULES,
    ),
)

_THERE = text("""
SELECT t.body, (SELECT v.body FROM template_versions v WHERE v.template_id = t.template_id AND v.action = 'shipped'
  ORDER BY v.version DESC LIMIT 1) AS shipped
FROM templates t WHERE t.template_name = :name FOR UPDATE OF t
""")
_ADD = text("""
WITH added AS (
  INSERT INTO templates (template_id, template_name, version, body) VALUES (:id, :name, 1, CAST(:body AS jsonb))
  ON CONFLICT DO NOTHING RETURNING template_id, version, body
)
INSERT INTO template_versions (template_id, version, body, action, actor, reason)
SELECT template_id, version, body, 'shipped', :actor, :reason FROM added
""")
_RENEW = text("""
WITH renewed AS (
  UPDATE templates SET version = version + 1, body = CAST(:body AS jsonb) WHERE template_name = :name
  RETURNING template_id, version, body
)
INSERT INTO template_versions (template_id, version, body, action, actor, reason)
SELECT template_id, version, body, 'shipped', :actor, :reason FROM renewed
""")


def shipped_body(name: str) -> dict[str, Any] | None:
    """Return what this release ships under a name, as it would be stored; None: nothing."""
    return next((one.contents.body() for one in BUILT_IN if one.template_name == name), None)


def seed(connection: Connection) -> None:
    """Put the shipped templates into the database: those that are missing, and newer ones where nobody edited theirs.

    What the desk edited stays the desk's, as do retirements and templates of its own by such a name.
    """
    for one in BUILT_IN:
        body = one.contents.body()
        there = connection.execute(_THERE, {"name": one.template_name}).one_or_none()
        bound = {
            "id": one.template_id, "name": one.template_name, "body": orjson.dumps(body).decode(), "actor": _PACKAGE,
        }  # fmt: skip
        if there is None:
            connection.execute(_ADD, bound | {"reason": "shipped with this package"})
        elif there.body == there.shipped and there.body != body:
            connection.execute(_RENEW, bound | {"reason": "a newer one is shipped; nobody had edited this one"})
