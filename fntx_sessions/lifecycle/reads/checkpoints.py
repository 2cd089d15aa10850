"""The checkpoints of a session: listed, read, verified."""

from typing import Any
from uuid import UUID

from redis import Redis
from sqlalchemy import Engine, text

from fntx_sessions.exceptions import NotFound
from fntx_sessions.lifecycle.arguments import CheckpointQuery
from fntx_sessions.lifecycle.reads.rows import of_session
from fntx_sessions.schemas import SessionCheckpoint
from fntx_sessions.settings import Settings
from fntx_sessions.state.checkpoint_rows import find_row
from fntx_sessions.state.checkpoints import describe_checkpoint, to_checkpoint
from fntx_sessions.state.proving import verify_checkpoint
from fntx_sessions.state.tiers.base import Ref

_CHECKPOINTS = text("""
SELECT c.checkpoint_id IS NOT NULL AS found, c.* FROM sessions s LEFT JOIN LATERAL (
  SELECT checkpoint_id, session_id, timestamp, checkpoint_type, is_recovery_point, encode(checksum, 'hex') AS checksum,
    verified, epoch, revision, size_bytes, identity, note, tier, created_by, pinned
  FROM checkpoints WHERE session_id = s.session_id ORDER BY timestamp DESC, checkpoint_id DESC LIMIT :limit
) c ON true WHERE s.session_id = :session_id ORDER BY c.timestamp DESC, c.checkpoint_id DESC
""")


def get_checkpoints(engine: Engine, session_id: UUID, limit: int) -> list[SessionCheckpoint]:
    """Return the last `limit` checkpoints, newest first, without their states; raises NotFound."""
    found = of_session(engine, _CHECKPOINTS, session_id, limit=limit)
    return [SessionCheckpoint.model_validate(row) for row in found]


def get_checkpoint(engine: Engine, redis: Redis, settings: Settings, asked: CheckpointQuery) -> SessionCheckpoint:
    """Return one checkpoint of a session; raises NotFound, and where states are asked for as `loading.load` does."""
    row = _row(engine, asked)
    return describe_checkpoint(engine, redis, settings, row) if asked.states else to_checkpoint(row)


def verify(engine: Engine, redis: Redis, settings: Settings, asked: CheckpointQuery) -> dict[str, Any]:
    """Read a checkpoint whole and return it with what is wrong with it (`problem`), None where it is sound.

    mended: what was wrong with it, and which copy it was written again from; None where nothing was.
    """
    _row(engine, asked)
    verdict = verify_checkpoint(engine, redis, settings, Ref(asked.session_id, asked.checkpoint_id))
    made = to_checkpoint(_row(engine, asked), read_from=verdict.read_from)
    return {"problem": verdict.problem, "mended": verdict.mended, "checkpoint": made.model_dump(mode="json")}


def _row(engine: Engine, asked: CheckpointQuery) -> dict[str, Any]:
    row = find_row(engine, asked.session_id, asked.checkpoint_id)
    if row is None:
        fix = f"List those of session {asked.session_id} with `fntx checkpoints ID`."
        raise NotFound("checkpoint", str(asked.checkpoint_id), fix)
    return row
