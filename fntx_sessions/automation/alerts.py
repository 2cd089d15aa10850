"""Alerts: what the desk as a whole has to be told. One stands for a name and subject until it is cleared."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import orjson
import structlog
from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.engine import rows, statements
from fntx_sessions.schemas import Severity

_log = structlog.get_logger(__name__)

# One message: what is found stands or is raised, what stood under these names and is not found any more is cleared.
_SETTLE = text("""
WITH found AS (
  SELECT * FROM jsonb_to_recordset(CAST(:found AS jsonb)) AS x(name text, subject text, severity text, description text)
), cleared AS (
  UPDATE alerts a SET cleared_at = now() WHERE cleared_at IS NULL AND a.name = ANY(:names)
    AND NOT EXISTS (SELECT FROM found f WHERE f.name = a.name AND f.subject = a.subject)
  RETURNING a.name, a.subject, a.severity, a.description, a.since, 'cleared' AS became
), raised AS (
  INSERT INTO alerts AS a (alert_id, name, subject, severity, description)
  SELECT gen_random_uuid(), f.name, f.subject, f.severity, f.description FROM found f ORDER BY f.name, f.subject
  ON CONFLICT (name, subject) WHERE cleared_at IS NULL
  DO UPDATE SET severity = excluded.severity, description = excluded.description
  RETURNING a.name, a.subject, a.severity, a.description, a.since,
    CASE WHEN a.xmax = 0 THEN 'raised' ELSE 'stands' END AS became
)
SELECT * FROM cleared UNION ALL SELECT * FROM raised
""")
_CLEAR = text("""
UPDATE alerts SET cleared_at = now() WHERE cleared_at IS NULL AND name = :name AND subject = :subject
RETURNING name, subject, severity, description, since
""")
_STANDING = text("""
SELECT name, subject, severity, description, since FROM alerts WHERE cleared_at IS NULL ORDER BY since, name, subject
""")


@dataclass(frozen=True, slots=True)
class Found:
    """What is wrong now: `subject` tells alerts of one name apart, `description` says what to run."""

    name: str
    subject: str
    severity: Severity
    description: str


@dataclass(frozen=True, slots=True)
class Alert(Found):
    """A standing alert, or one that was just cleared. since: when it was raised."""

    since: datetime

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.severity.value} since {self.since:%d %b %H:%M:%S} UTC: {self.description}"


@dataclass(frozen=True, slots=True)
class Changes:
    """What one look changed: alerts that are new, and alerts that are over."""

    raised: list[Alert]
    cleared: list[Alert]


def raise_alert(engine: Engine, name: str, subject: str, severity: Severity, description: str) -> bool:
    """Raise an alert, or note that it is seen again; return whether it is new. Raises Unavailable."""
    return bool(settle(engine, (), [Found(name, subject, severity, description)]).raised)


def clear(engine: Engine, name: str, subject: str) -> bool:
    """Clear an alert; return whether it stood. Raises Unavailable."""
    with statements(engine) as connection:
        cleared = [_alert(row) for row in rows(connection.execute(_CLEAR, {"name": name, "subject": subject}))]
    _say(Changes([], cleared))
    return bool(cleared)


def settle(engine: Engine, names: Collection[str], found: Sequence[Found]) -> Changes:
    """Let alerts of `names` be what was found: raised once, seen again, cleared where not found. Raises Unavailable."""
    with statements(engine) as connection:
        return settle_in(connection, names, found)


def settle_in(connection: Connection, names: Collection[str], found: Sequence[Found]) -> Changes:
    """Do as `settle` on the caller's connection."""
    values = {"names": list(names), "found": orjson.dumps([asdict(one) for one in found]).decode()}
    told = [(row.pop("became"), _alert(row)) for row in rows(connection.execute(_SETTLE, values))]
    changes = Changes(*([alert for became, alert in told if became == word] for word in ("raised", "cleared")))
    _say(changes)
    return changes


def standing(engine: Engine) -> list[Alert]:
    """Return the alerts that stand, the oldest first. Raises Unavailable."""
    with statements(engine) as connection:
        return read_standing(connection)


def read_standing(connection: Connection) -> list[Alert]:
    """Do as `standing` on the caller's connection."""
    return [_alert(row) for row in rows(connection.execute(_STANDING))]


def _alert(row: dict[str, Any]) -> Alert:
    return Alert(**row | {"severity": Severity(row["severity"])})


def _say(changes: Changes) -> None:
    for alert in changes.raised:
        log = _log.error if alert.severity in (Severity.CRITICAL, Severity.ERROR) else _log.warning
        log("alert.raised", alert=alert.name, subject=alert.subject, meaning=alert.description)
    for alert in changes.cleared:
        _log.info("alert.cleared", alert=alert.name, subject=alert.subject, stood_since=alert.since.isoformat())
