"""Slices that wait in Postgres for a memory system of another package: what hosted agents left with their steps."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, statements
from fntx_sessions.memory.reading import opened
from fntx_sessions.memory.slices import StoredMemory
from fntx_sessions.state.claims import LAZY

# Of one session at a time; the rest stays due.
AT_ONCE = 50
_WAITING = text(f"""
SELECT m.memory_id, m.agent, m.session_id, m.memory_type, m.importance, m.content, m.tags, m.created_at, m.expires_at,
  k.data_key_id, k.ring_key_id, k.wrapped, k.shredded_at
FROM unnest(CAST(:ids AS uuid[])) AS d(session_id) CROSS JOIN LATERAL (
  SELECT * FROM memories n WHERE n.session_id = d.session_id AND n.waits ORDER BY n.created_at, n.memory_id
  LIMIT {AT_ONCE}
) m LEFT JOIN session_keys k ON k.session_id = m.session_id
WHERE k.shredded_at IS NULL ORDER BY m.session_id, m.created_at, m.memory_id
""")
_TAKEN = text(f"{LAZY} DELETE FROM memories WHERE memory_id = ANY(CAST(:ids AS uuid[])) AND waits")


def read_waiting(engine: Engine, session_ids: Sequence[UUID]) -> dict[UUID, list[StoredMemory]]:
    """Return what waits of these sessions, oldest first; raises Unavailable."""
    found: dict[UUID, list[StoredMemory]] = {}
    with statements(engine) as connection:
        listed = rows(connection.execute(_WAITING, {"ids": list(map(str, session_ids))}))
    for one in opened(engine, listed):
        if one.session_id is not None:
            found.setdefault(one.session_id, []).append(one)
    return found


def forget_taken(engine: Engine, memory_ids: Sequence[UUID]) -> None:
    """Let go of what the other system has; raises Unavailable."""
    if memory_ids:
        with statements(engine) as connection:
            connection.execute(_TAKEN, {"ids": list(map(str, memory_ids))})
