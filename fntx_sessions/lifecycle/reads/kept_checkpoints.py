"""A session's checkpoints, the newest first and a page at a time, and how far its last recovery is."""

from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.lifecycle.reads.cursors import Cursor
from fntx_sessions.lifecycle.reads.rows import Row

_PAGE = text("""
SELECT checkpoint_id, timestamp, checkpoint_type, is_recovery_point, verified, damage, epoch, revision, size_bytes,
  identity, note, tier, cold_object, moved_at, created_by, pinned, encode(checksum, 'hex') AS checksum
FROM checkpoints WHERE session_id = :session_id AND (timestamp, checkpoint_id) < (:at, :id)
ORDER BY timestamp DESC, checkpoint_id DESC LIMIT :limit
""")
_TOTALS = text("""
SELECT count(*) AS count, coalesce(sum(size_bytes), 0) AS size_bytes, count(*) FILTER (WHERE tier = 'cold') AS cold,
  count(*) FILTER (WHERE NOT verified) AS unverified, count(*) FILTER (WHERE damage IS NOT NULL) AS damaged,
  count(*) FILTER (WHERE pinned) AS pinned
FROM checkpoints WHERE session_id = :session_id
""")
_RECOVERY = text("""
SELECT run_id, epoch, state, plan, steps, report, began_at, updated_at, finished_at FROM recovery_runs
WHERE session_id = :session_id ORDER BY began_at DESC LIMIT 1
""")


def list_checkpoints(engine: Engine, session_id: UUID, limit: int, before: Cursor) -> tuple[list[Row], Cursor | None]:
    """Return up to `limit` checkpoints before a cursor, and the cursor of the next; raises Busy and Unavailable.

    damage: what was wrong when it was read last, None: nothing, or it was not read yet.
    """
    bound = {"session_id": session_id, "limit": limit + 1, "at": before.at, "id": before.id}
    with transaction(engine) as connection:
        found = rows(connection.execute(_PAGE, bound))
    listed = found[:limit]
    more = Cursor(listed[-1]["timestamp"], listed[-1]["checkpoint_id"]) if len(found) > limit else None
    return listed, more


def checkpoint_totals(engine: Engine, session_id: UUID) -> Row:
    """Return how many checkpoints there are, their bytes, and how many are cold, unverified, damaged and pinned."""
    with transaction(engine) as connection:
        return dict(connection.execute(_TOTALS, {"session_id": session_id}).mappings().one())


def last_recovery(engine: Engine, session_id: UUID) -> Row | None:
    """Return the newest run of a recovery: its state, steps and what it found so far; None: there was none."""
    with transaction(engine) as connection:
        found = connection.execute(_RECOVERY, {"session_id": session_id}).mappings().one_or_none()
    return None if found is None else dict(found)
