"""Which checkpoints are to move, claimed in batches, and what a move changes in Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.state import part_rows
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.testing import failpoint

# Not those of an archived session: its archive holds them, and they leave Postgres together.
_CLAIM = text("""
WITH mine AS (
  SELECT c.checkpoint_id FROM checkpoints c JOIN sessions s USING (session_id)
  WHERE c.tier = 'postgres' AND c.timestamp < now() - :keep_s * interval '1 second'
    AND coalesce(c.move_claimed_until < now(), true) AND NOT c.pinned AND NOT s.pinned
    AND NOT EXISTS (SELECT FROM archives a WHERE a.session_id = c.session_id)
  ORDER BY c.timestamp LIMIT :limit FOR NO KEY UPDATE OF c SKIP LOCKED
)
UPDATE checkpoints c SET move_claimed_until = now() + :lease_s * interval '1 second'
FROM mine WHERE c.checkpoint_id = mine.checkpoint_id
RETURNING c.session_id, c.checkpoint_id, c.timestamp, c.checkpoint_type, c.move_claimed_until
""")

_CLAIM_AGAIN = text("""
UPDATE checkpoints SET move_claimed_until = now() + :seconds * interval '1 second'
WHERE checkpoint_id = ANY(CAST(:ids AS uuid[])) AND move_claimed_until = :until
""")

_FLIP = text("""
UPDATE checkpoints c SET tier = 'cold', manifest = NULL, cold_object = :object, moved_at = now(),
  move_claimed_until = NULL, verified = true
WHERE c.checkpoint_id = :checkpoint_id AND c.tier = 'postgres' AND c.checksum = :checksum
  AND sha256(c.manifest) = :digest AND NOT c.pinned
  AND NOT EXISTS (SELECT FROM sessions s WHERE s.session_id = c.session_id AND s.pinned)
RETURNING c.checkpoint_id
""")

_UNNAME = text("""
DELETE FROM snapshot_parts WHERE session_id = :session_id AND snapshot_id = :checkpoint_id RETURNING part_hash
""")


@dataclass(frozen=True, slots=True)
class Old:
    """A claimed checkpoint, and until when it is."""

    session_id: UUID
    checkpoint_id: UUID
    timestamp: datetime
    checkpoint_type: str
    until: datetime


def claim(engine: Engine, keep_s: float, limit: int, lease_s: float) -> list[Old]:
    """Claim up to `limit` checkpoints older than `keep_s` that may move, the oldest first."""
    with transaction(engine) as connection:
        found = connection.execute(_CLAIM, {"keep_s": keep_s, "limit": limit, "lease_s": lease_s}).all()
    return sorted((Old(*row) for row in found), key=lambda old: old.timestamp)


def release(engine: Engine, claimed: Sequence[Old], seconds: float = 0.0) -> None:
    """Give claimed checkpoints back, to be taken again after `seconds`."""
    if claimed:
        ids = [str(old.checkpoint_id) for old in claimed]
        with transaction(engine) as connection:
            connection.execute(_CLAIM_AGAIN, {"ids": ids, "until": claimed[0].until, "seconds": seconds})


def flip(engine: Engine, packed: Packed, cold_object: str) -> bool:
    """Say that a checkpoint is in the cold store, and let go of its bytes here, in one transaction; collect its parts.

    False: it is not what was copied any more, was pinned, or was moved by somebody else; then nothing changed.
    """
    values = {
        "session_id": packed.session_id,
        "checkpoint_id": packed.checkpoint_id,
        "checksum": packed.checksum,
        "digest": sha256(packed.manifest).digest(),
        "object": cold_object,
    }
    with transaction(engine) as connection:
        if connection.execute(_FLIP, values).one_or_none() is None:
            return False
        named = connection.execute(_UNNAME, values).scalars()
        dropped = {(packed.session_id, bytes(digest)) for digest in named}
        failpoint("move.before_commit")
    failpoint("move.flipped")
    part_rows.collect(engine, dropped)
    return True
