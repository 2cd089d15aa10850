"""Sessions that are due for a checkpoint before their agents reported anything: looked at again, not given up."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import statements
from fntx_sessions.settings import Settings
from fntx_sessions.state.claims import KEPT, LAZY, Claim

# Again after as long as its status has stood by now: soon at first, and ever more seldom where no agent comes.
_AGAIN_IN = (
    "least(greatest(now() - s.status_since, interval '1 second'), w.checkpoint_interval_s * interval '1 second')"
)
_AWAIT = text(f"""{LAZY}
WITH mine AS (
  SELECT w.session_id, {_AGAIN_IN} AS again_in,
    w.next_step_at IS NOT NULL AND s.status_since < now() - make_interval(secs => :patience_s) AS overdue
  FROM session_work w JOIN sessions s USING (session_id)
  WHERE w.session_id = ANY(CAST(:ids AS uuid[])) AND w.checkpoint_claimed_until = :until
  ORDER BY w.session_id FOR NO KEY UPDATE OF w
)
UPDATE session_work w SET checkpoint_claimed_until = NULL,
  next_checkpoint_at = CASE WHEN w.next_checkpoint_at IS NOT NULL AND w.status IN ({KEPT}) THEN now() + m.again_in END
FROM mine m WHERE w.session_id = m.session_id RETURNING w.session_id, m.overdue
""")


def await_states(engine: Engine, settings: Settings, claim: Claim, session_ids: Collection[UUID]) -> set[UUID]:
    """Give claimed sessions that have no state yet back, due again soon and for what they were due for.

    Return those that are stepped here and yet have none `overdue_s` after they came to their status: that is a failure.
    A session whose agents run elsewhere, and none of them has reported, waits for them.
    """
    if not session_ids:
        return set()
    values = {"ids": list(map(str, session_ids)), "until": claim.until, "patience_s": settings.overdue_s}
    with statements(engine) as connection:
        return {row.session_id for row in connection.execute(_AWAIT, values) if row.overdue}
