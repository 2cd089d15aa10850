"""The health of the desk as a whole: asked of the stores directly, so that it works with either of them down."""

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from fntx_sessions.automation.alerts import Changes, Found, settle
from fntx_sessions.automation.health.model import Check, Grade, worst_first
from fntx_sessions.automation.lag import read_overdue
from fntx_sessions.database.engine import rows
from fntx_sessions.exceptions import FntxError
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Severity
from fntx_sessions.security.keyring import load_ring
from fntx_sessions.settings import Settings
from fntx_sessions.stack.backup_status import read_backups
from fntx_sessions.stack.desk_checks import DESK_CHECKS, DeskFacts, SessionsFound
from fntx_sessions.stack.redis_status import read_redis
from fntx_sessions.stack.status import connected, read_database

_WORST = 20
# What no other watch raises an alert for: beat, sweeps and overdue work are automation's own.
ALERTED = ("redis", "cold", "backups", "queues", "disk", "workers", "key_ring")
_PREFIX = "desk_"
_WORKERS = text("""
SELECT host_id, queues, node, pid, started_at, measures FROM hosts
WHERE NOT "left" AND lease_until > now() ORDER BY queues, host_id
""")
_HALTS = text("""
SELECT scope || coalesce(' ' || scope_name, '') || to_char(created_at, ' "since" DD Mon HH24:MI:SS "UTC: "') || reason
FROM halts WHERE released_at IS NULL ORDER BY created_at
""")
_GRADES = text("""
SELECT coalesce(h.grade, 'ok') AS grade, count(*) AS sessions FROM session_work w
LEFT JOIN session_health h USING (session_id) WHERE w.next_health_at IS NOT NULL GROUP BY 1
""")
_WORST_SESSIONS = text("""
SELECT h.session_id, w.status, h.grade, h.checks, h.checked_at, h.failed_since FROM session_health h
JOIN session_work w USING (session_id) WHERE h.grade <> 'ok' AND w.next_health_at IS NOT NULL
ORDER BY h.grade = 'failed' DESC, h.failed_since, h.session_id LIMIT :limit
""")


def check_desk(settings: Settings) -> tuple[list[Check], SessionsFound]:
    """Look at the whole desk; return its checks, worst first, and its sessions. Whatever is down is a finding."""
    facts = read_desk(settings)
    return grade_desk(facts, settings), facts.sessions


def grade_desk(facts: DeskFacts, settings: Settings) -> list[Check]:
    """Return what was found as checks, worst first."""
    return worst_first(check(facts, settings) for check in DESK_CHECKS)


def desk_json(settings: Settings) -> dict[str, Any]:
    """Return what `check_desk` finds as the JSON form for people and other services."""
    checks, sessions = check_desk(settings)
    return {"checks": [check.to_json() for check in checks], "grades": sessions.grades, "sessions": sessions.worst}


def read_desk(settings: Settings) -> DeskFacts:
    """Ask both stores, the data folder and the key ring; nothing is changed but for a probe that is gone again."""
    database_url = settings.database_url.get_secret_value() if settings.database_url else None
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    facts = DeskFacts(
        read_database(database_url) if database_url else None,
        read_redis(redis_url) if redis_url else None,
        read_backups(settings.home),
        _free_bytes(settings.home),
        _ring(settings),
    )
    return _with_rows(facts, database_url, settings) if database_url and facts.postgres_seen else facts


def alert_desk(desk: Desk) -> Changes:
    """Raise an alert for each part of the desk that failed, clear those of parts that do not. Raises Unavailable."""
    checks, _ = check_desk(desk.settings)
    found = [
        Found(_PREFIX + check.name, "", Severity.ERROR, f"{check.reason}. {check.fix}")
        for check in checks
        if check.grade is Grade.FAILED and check.name in ALERTED
    ]
    return settle(desk.engine, [_PREFIX + name for name in ALERTED], found)


def _with_rows(facts: DeskFacts, url: str, settings: Settings) -> DeskFacts:
    try:
        with connected(url, "fntx health") as connection:
            return _read_rows(facts, connection, settings)
    except SQLAlchemyError:
        return facts  # it went away between two questions, or is of another version: what was seen stands


def _read_rows(facts: DeskFacts, connection: Connection, settings: Settings) -> DeskFacts:
    behind = facts.database and facts.database.behind
    grades = {row.grade: row.sessions for row in connection.execute(_GRADES)}
    return replace(
        facts,
        sessions=SessionsFound(grades, rows(connection.execute(_WORST_SESSIONS, {"limit": _WORST}))),
        workers=rows(connection.execute(_WORKERS)),
        halts=list(connection.execute(_HALTS).scalars()),
        overdue=read_overdue(connection, settings, _WORST) if behind and behind.lag.waiting else [],
    )


def _free_bytes(home: Path) -> int | None:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(home).free
    return None


def _ring(settings: Settings) -> str:
    try:
        load_ring(settings)
    except FntxError as error:
        return str(error)
    return ""
