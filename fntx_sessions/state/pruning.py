"""Deleting checkpoints on purpose: chosen, marked so that nobody offers them any more, destroyed in every tier.

A marked one is no recovery point and never moves; whoever was killed on the way finds it again by its mark. Kept in any
case: what is pinned, the newest verified one, and the final one of a closed session that is not archived yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import redis
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.settings import Settings
from fntx_sessions.state import part_rows
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import get_memory
from fntx_sessions.state.tiers.redis import HotTier
from fntx_sessions.testing import failpoint

MOST = 1000

# Being moved to the cold store, it is left for the next time: the mover would write an object nobody knows.
_FREE = """
NOT c.pinned AND NOT s.pinned AND (NOT c.is_recovery_point OR coalesce(c.move_claimed_until < now(), true))
AND NOT (c.checkpoint_type = 'final' AND NOT EXISTS (
  SELECT FROM archives a WHERE a.session_id = c.session_id AND a.verified_at IS NOT NULL))
AND c.checkpoint_id IS DISTINCT FROM (
  SELECT n.checkpoint_id FROM checkpoints n WHERE n.session_id = c.session_id AND n.verified
  ORDER BY n.timestamp DESC, n.checkpoint_id DESC LIMIT 1)
"""

_CHOOSE = text(f"""
WITH placed AS (
  SELECT checkpoint_id, row_number() OVER (ORDER BY is_recovery_point DESC, timestamp DESC, checkpoint_id DESC) AS place
  FROM checkpoints WHERE session_id = :session_id
)
SELECT c.checkpoint_id FROM checkpoints c JOIN placed p USING (checkpoint_id) JOIN sessions s USING (session_id)
WHERE {_FREE} AND (NOT c.is_recovery_point OR (p.place > :keep
  AND coalesce(c.timestamp < now() - CAST(:older_than_s AS float8) * interval '1 second', true)))
ORDER BY c.timestamp LIMIT :most
""")

# `cold_object` is noted for one that a mover may have copied before it was killed, so that the copy goes too.
_MARK = text(f"""
WITH mine AS (
  SELECT c.checkpoint_id FROM checkpoints c JOIN sessions s USING (session_id)
  WHERE c.session_id = :session_id AND c.checkpoint_id = ANY(CAST(:ids AS uuid[])) AND {_FREE}
  ORDER BY c.checkpoint_id FOR NO KEY UPDATE OF c
)
UPDATE checkpoints c SET is_recovery_point = false, verified = false, move_claimed_until = 'infinity',
  cold_object = coalesce(c.cold_object, CASE WHEN c.is_recovery_point AND c.move_claimed_until IS NOT NULL
    THEN 'sessions/' || c.session_id || '/checkpoints/' || c.checkpoint_id END)
FROM mine WHERE c.checkpoint_id = mine.checkpoint_id
RETURNING c.checkpoint_id, c.cold_object, c.size_bytes
""")

_DELETE = text("""
WITH gone AS (DELETE FROM checkpoints WHERE checkpoint_id = :checkpoint_id AND NOT pinned RETURNING checkpoint_id)
DELETE FROM snapshot_parts sp USING gone WHERE sp.session_id = :session_id AND sp.snapshot_id = gone.checkpoint_id
RETURNING sp.part_hash
""")

_LEFT = text("""
SELECT checkpoint_id FROM checkpoints WHERE session_id = :session_id AND checkpoint_id = ANY(CAST(:ids AS uuid[]))
""")


@dataclass(frozen=True, slots=True)
class Marked:
    """A checkpoint that goes. cold_object None: nothing of it was ever in the cold store."""

    ref: Ref
    cold_object: str | None
    size_bytes: int


def choose(engine: Engine, session_id: UUID, keep: int, older_than_s: float | None) -> list[UUID]:
    """Return which checkpoints to prune, oldest first, `MOST` at most: all but the newest `keep`, if old enough.

    Those an earlier pruning marked and did not get to are always among them.
    """
    values = {"session_id": session_id, "keep": keep, "older_than_s": older_than_s, "most": MOST}
    with transaction(engine) as connection:
        return list(connection.execute(_CHOOSE, values).scalars())


def mark(engine: Engine, session_id: UUID, chosen: Sequence[UUID]) -> list[Marked]:
    """Mark the chosen that are there and may go, so that nobody recovers from them any more; return those."""
    values = {"session_id": session_id, "ids": list(map(str, chosen))}
    with transaction(engine) as connection:
        found = connection.execute(_MARK, values).all()
    return [Marked(Ref(session_id, row.checkpoint_id), row.cold_object, row.size_bytes) for row in found]


def destroy(engine: Engine, client: redis.Redis, settings: Settings, marked: Marked) -> None:
    """Delete a marked checkpoint wherever it lies, its row last; raises Unavailable, and may be asked again."""
    failpoint("prune.marked")
    if marked.cold_object is not None:
        from fntx_sessions.state.objects.cold import open_cold  # noqa: PLC0415 - a bucket's library, only where needed

        open_cold(settings).destroy(marked.cold_object)
    failpoint("prune.destroyed")
    get_memory().delete(marked.ref)
    HotTier.of(client, settings).delete(marked.ref)
    values = {"session_id": marked.ref.session_id, "checkpoint_id": marked.ref.checkpoint_id}
    with transaction(engine) as connection:
        gone = {(marked.ref.session_id, bytes(digest)) for digest in connection.execute(_DELETE, values).scalars()}
        failpoint("prune.before_commit")
    failpoint("prune.deleted")
    part_rows.collect(engine, gone)


def left(engine: Engine, session_id: UUID, chosen: Sequence[UUID]) -> list[UUID]:
    """Return which of the chosen are still there."""
    with transaction(engine) as connection:
        return list(connection.execute(_LEFT, {"session_id": session_id, "ids": list(map(str, chosen))}).scalars())
