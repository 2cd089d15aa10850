"""Rows of the audit, of one chain or of all, the newest first."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction

_LIST = text("""
SELECT session_id, seq, timestamp, actor, roles, action, outcome, reason, command_id, version_before, version_after,
  host, target, task, token_id, confirmed_by, key_id
FROM audit
WHERE (CAST(:session_id AS uuid) IS NULL OR session_id = :session_id)
  AND (CAST(:since AS timestamptz) IS NULL OR timestamp >= :since)
  AND (CAST(:until AS timestamptz) IS NULL OR timestamp < :until)
  AND (CAST(:actor AS text) IS NULL OR actor = :actor)
  AND (CAST(:action AS text) IS NULL OR action = :action)
  AND (CAST(:outcome AS text) IS NULL OR outcome = :outcome)
ORDER BY timestamp DESC, session_id, seq DESC LIMIT :limit
""")
_LIKE = text("SELECT session_id FROM sessions WHERE CAST(session_id AS text) LIKE :prefix || '%' LIMIT :limit")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows; None: whatever it is. since: from that moment on; until: before that moment."""

    session_id: UUID | None = None
    actor: str | None = None
    action: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_audit(engine: Engine, wanted: Wanted, limit: int) -> list[dict[str, Any]]:
    """Return up to `limit` rows; without a session all since `since` are looked through. Raises Unavailable."""
    bound = {name: getattr(wanted, name) for name in Wanted.__slots__}
    with transaction(engine) as connection:
        return rows(connection.execute(_LIST, bound | {"limit": limit}))


def sessions_like(engine: Engine, prefix: str, limit: int) -> list[UUID]:
    """Return sessions whose id begins so; raises Unavailable."""
    with transaction(engine) as connection:
        return list(connection.execute(_LIKE, {"prefix": prefix, "limit": limit}).scalars())
