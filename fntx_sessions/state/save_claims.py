"""What is due for a save, settled in one statement: the unchanged are done with it, the changed are claimed.

Whoever saves looks first and takes no lock; the live marks tell what changed; then one statement takes the rows that
are still as they were seen. An unchanged session so costs one update of its work row, and no claim.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import statements
from fntx_sessions.state.claims import LAZY, Claim, Work, after, array, moment

_LOOK = text("""
SELECT session_id, epoch, saved_epoch, saved_revision, next_save_at, checkpoint_type FROM session_work
WHERE next_save_at <= now() AND coalesce(save_claimed_until < now(), true)
ORDER BY next_save_at LIMIT :limit OFFSET :skip
""")

# The due time changes with every claim that is finished, so equal ones mean that nobody was here since the look.
_SETTLE = text(f"""{LAZY}
WITH n AS (
  SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:dues AS timestamptz[]), CAST(:changed AS boolean[]))
    AS t(session_id, due_at, changed)
), mine AS (
  SELECT w.session_id, n.due_at, n.changed FROM session_work w JOIN n USING (session_id)
  WHERE w.next_save_at = n.due_at AND coalesce(w.save_claimed_until < now(), true)
  ORDER BY w.session_id FOR NO KEY UPDATE OF w SKIP LOCKED
), done AS (
  UPDATE session_work w SET
    save_claimed_until = CASE WHEN mine.changed THEN now() + :lease_s * interval '1 second' END,
    next_save_at = CASE WHEN mine.changed THEN w.next_save_at ELSE {after("save", "mine.due_at", "now()")} END,
    last_saved_at = CASE WHEN mine.changed THEN w.last_saved_at ELSE now() END
  FROM mine WHERE w.session_id = mine.session_id
  RETURNING w.session_id, mine.changed, w.epoch, w.saved_epoch, w.saved_revision, w.save_claimed_until
)
SELECT session_id, CASE WHEN changed THEN epoch END, saved_epoch, saved_revision,
  CASE WHEN changed AND first THEN save_claimed_until END, CASE WHEN changed AND first THEN now() END
FROM (SELECT *, row_number() OVER (PARTITION BY changed) = 1 AS first FROM done) d
""")


@dataclass(frozen=True, slots=True)
class Settled:
    """The changed sessions, claimed, and those that are current until they are due again."""

    claim: Claim
    current: list[UUID]


def look(engine: Engine, limit: int, skip: int = 0) -> list[Work]:
    """Return up to `limit` sessions that are due and free, the longest due first but for `skip`; nothing is locked."""
    with statements(engine) as connection:
        rows = connection.execute(_LOOK, {"limit": limit, "skip": skip}).all()
    return [Work(row[0], row[1], (row[2], row[3]), row[4], row[5]) for row in rows]


def settle(engine: Engine, looked: Sequence[Work], current: Collection[UUID], lease_s: float) -> Settled:
    """Give `current` ones among the looked at their next due time, and claim the others; the claim is committed.

    Left out: what somebody else took since the look.
    """
    if not looked:
        return Settled(Claim(()), [])
    values = {
        "ids": array(str(work.session_id) for work in looked),
        "dues": array(moment(work.due_at) for work in looked),
        "changed": array("f" if work.session_id in current else "t" for work in looked),
        "lease_s": lease_s,
    }
    with statements(engine) as connection:
        rows = connection.execute(_SETTLE, values).all()
    return _settled(rows, {work.session_id: work for work in looked})


def _settled(rows: Sequence[Any], looked: Mapping[UUID, Work]) -> Settled:
    current = [row[0] for row in rows if row[1] is None]
    claimed_at, until, work = None, None, list[Work]()
    for session_id, epoch, saved_epoch, saved_revision, lapses, at in rows:
        if epoch is not None:
            seen = looked[session_id]
            work.append(Work(seen.session_id, epoch, (saved_epoch, saved_revision), seen.due_at, seen.checkpoint_type))
            claimed_at, until = claimed_at or at, until or lapses
    return Settled(Claim(work, claimed_at, until), current)
