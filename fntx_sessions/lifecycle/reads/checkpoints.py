"""The checkpoints of a session, listed."""

from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.lifecycle.reads.rows import of_session
from fntx_sessions.schemas import SessionCheckpoint

_CHECKPOINTS = text("""
SELECT c.checkpoint_id IS NOT NULL AS found, c.* FROM sessions s LEFT JOIN LATERAL (
  SELECT checkpoint_id, session_id, timestamp, checkpoint_type, is_recovery_point, encode(checksum, 'hex') AS checksum,
    verified, epoch, revision, size_bytes, identity, note,
    tier, created_by, pinned
  FROM checkpoints WHERE session_id = s.session_id ORDER BY timestamp DESC, checkpoint_id DESC LIMIT :limit
) c ON true WHERE s.session_id = :session_id ORDER BY c.timestamp DESC, c.checkpoint_id DESC
""")


def get_checkpoints(engine: Engine, session_id: UUID, limit: int) -> list[SessionCheckpoint]:
    """Return the last `limit` checkpoints, newest first, without their states; raises NotFound."""
    found = of_session(engine, _CHECKPOINTS, session_id, limit=limit)
    return [SessionCheckpoint.model_validate(row) for row in found]
