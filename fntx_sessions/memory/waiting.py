"""What waits in Postgres for a memory system of another package: whoever leaves it there waits for nobody.

Hosted agents leave slices with their steps, tasks leave slices and context. What is about a session is handed over
with that session's transitions, what is about none by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.engine import rows, statements, transaction
from fntx_sessions.memory.reading import opened
from fntx_sessions.memory.slices import StoredMemory
from fntx_sessions.memory.store import Kept, checked, put, rows_of
from fntx_sessions.settings import Settings
from fntx_sessions.state.claims import LAZY
from fntx_sessions.state.payloads import DESK

# Of one session at a time, and of no session; the rest stays due.
AT_ONCE = 50
# Longer than handing over is let run; then others may try.
CLAIM_S = 60.0
# How long a receipt is kept: much longer than anybody sends again what was not answered.
_RECEIPT_S = 3600
_KEY = "k.data_key_id, k.ring_key_id, k.wrapped, k.shredded_at"
_COLUMNS = f"""m.memory_id, m.agent, m.session_id, m.memory_type, m.importance, m.content, m.tags, m.created_at,
  m.expires_at, m.recipients, {_KEY}"""
_DUE = text("""
UPDATE session_work SET memory_due_at = greatest(memory_due_at, clock_timestamp())
WHERE session_id = ANY(CAST(:ids AS uuid[]))
""")
_WAITING = text(f"""
SELECT {_COLUMNS}
FROM unnest(CAST(:ids AS uuid[])) AS d(session_id) CROSS JOIN LATERAL (
  SELECT * FROM memories n WHERE n.session_id = d.session_id AND n.waits ORDER BY n.created_at, n.memory_id
  LIMIT {AT_ONCE}
) m LEFT JOIN session_keys k ON k.session_id = m.session_id
WHERE k.shredded_at IS NULL ORDER BY m.session_id, m.created_at, m.memory_id
""")
_CLAIM = text(f"""{LAZY}
WITH due AS (
  SELECT memory_id FROM memories WHERE waits AND session_id IS NULL AND coalesce(hand_due_at, created_at) <= now()
  ORDER BY coalesce(hand_due_at, created_at), memory_id LIMIT {AT_ONCE} FOR NO KEY UPDATE SKIP LOCKED
), m AS (
  UPDATE memories n SET hand_due_at = now() + make_interval(secs => {CLAIM_S}) FROM due
  WHERE n.memory_id = due.memory_id RETURNING n.*
)
SELECT {_COLUMNS} FROM m LEFT JOIN session_keys k ON k.session_id = '{DESK}' ORDER BY m.created_at, m.memory_id
""")
# The receipt makes the same asked again nothing new. It holds no content.
_TAKEN = text(f"""{LAZY}
UPDATE memories SET waits = false, taken_at = now(), content = '', tags = '{{}}', hand_due_at = NULL,
  expires_at = now() + make_interval(secs => {_RECEIPT_S})
WHERE memory_id = ANY(CAST(:ids AS uuid[])) AND waits
""")
# What failed waits as long as it has waited; what was not tried is next.
_LATER = text(f"""{LAZY}
UPDATE memories SET hand_due_at = now() + CASE WHEN memory_id = ANY(CAST(:failed AS uuid[]))
  THEN least(greatest(now() - created_at, make_interval(secs => :retry_s)), make_interval(secs => 64 * :retry_s))
  ELSE make_interval(secs => :retry_s / 2) END
WHERE memory_id = ANY(CAST(:ids AS uuid[])) AND waits
""")


@dataclass(frozen=True, slots=True)
class Left:
    """A slice that was left; recipients: it is context for these, and its agent the sender."""

    memory: StoredMemory
    recipients: list[str] | None = None


def leave(engine: Engine, settings: Settings, kept: Kept) -> UUID:
    """Leave a slice, or context, to be handed over; raises as `store.store`. Left again, nothing is there twice."""
    checked(kept.memory.content, settings, "content" if kept.recipients is None else "context")
    [row] = rows_of(engine, [kept])
    with transaction(engine) as connection:
        if put(connection, kept, row) and kept.memory.session_id is not None:
            make_due(connection, [kept.memory.session_id])
    return kept.memory_id


def make_due(connection: Connection, session_ids: Sequence[UUID]) -> None:
    """Let the sweep take up what these sessions left; an outage's pause is not cut short."""
    connection.execute(_DUE, {"ids": sorted(map(str, session_ids))})


def read_waiting(engine: Engine, session_ids: Sequence[UUID]) -> dict[UUID, list[Left]]:
    """Return what waits of these sessions, oldest first; raises Unavailable."""
    found: dict[UUID, list[Left]] = {}
    with statements(engine) as connection:
        listed = rows(connection.execute(_WAITING, {"ids": list(map(str, session_ids))}))
    for one in _left(engine, listed):
        if one.memory.session_id is not None:
            found.setdefault(one.memory.session_id, []).append(one)
    return found


def claim_loose(engine: Engine) -> list[Left]:
    """Claim what waits of no session and is due, oldest first; raises Unavailable."""
    with statements(engine) as connection:
        return _left(engine, rows(connection.execute(_CLAIM)))


def forget_taken(engine: Engine, memory_ids: Sequence[UUID]) -> None:
    """Let go of what the other system has; raises Unavailable."""
    if memory_ids:
        with statements(engine) as connection:
            connection.execute(_TAKEN, {"ids": list(map(str, memory_ids))})


def put_off(engine: Engine, settings: Settings, memory_ids: Sequence[UUID], failed: Sequence[UUID]) -> None:
    """Let what was claimed and not taken be due later; failed: those of them that were tried. Raises Unavailable."""
    bound = {"ids": list(map(str, memory_ids)), "failed": list(map(str, failed)), "retry_s": settings.memory_retry_s}
    if memory_ids:
        with statements(engine) as connection:
            connection.execute(_LATER, bound)


def _left(engine: Engine, listed: Sequence[dict[str, Any]]) -> list[Left]:
    recipients = [one.pop("recipients") for one in listed]
    return [Left(*pair) for pair in zip(opened(engine, listed), recipients, strict=True)]
