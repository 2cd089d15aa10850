"""What is due for a save, settled in one statement: the unchanged are done with it, the changed are claimed.

Whoever saves looks first and takes no lock; the live marks tell what changed; then one statement takes the rows that
are still as they were seen. An unchanged session so costs one update of its work row, and no claim.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import statements
from fntx_sessions.state.claims import LAZY, Claim, Work, after, array, moment

_LOOK = text("""
SELECT session_id, epoch, saved_epoch, saved_revision, CAST(next_save_at AS text), checkpoint_type FROM session_work
WHERE next_save_at <= now() AND coalesce(save_claimed_until < now(), true)
ORDER BY next_save_at LIMIT :limit OFFSET :skip
""")

# The due time changes with every claim that is finished, so equal ones mean that nobody was here since the look.
_SETTLE = text(f"""{LAZY}
WITH n AS (
  SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:dues AS timestamptz[]), CAST(:changed AS boolean[]))
    WITH ORDINALITY AS t(session_id, due_at, changed, number)
), mine AS (
  SELECT n.* FROM session_work w JOIN n USING (session_id)
  WHERE w.next_save_at = n.due_at AND coalesce(w.save_claimed_until < now(), true)
  ORDER BY w.session_id FOR NO KEY UPDATE OF w SKIP LOCKED
), done AS (
  UPDATE session_work w SET
    save_claimed_until = CASE WHEN mine.changed THEN now() + :lease_s * interval '1 second' END,
    next_save_at = CASE WHEN mine.changed THEN w.next_save_at ELSE {after("save", "mine.due_at", "now()")} END,
    last_saved_at = CASE WHEN mine.changed THEN w.last_saved_at ELSE now() END
  FROM mine WHERE w.session_id = mine.session_id
  RETURNING mine.number, mine.changed, w.epoch, w.saved_epoch, w.saved_revision
)
SELECT number, changed, epoch, saved_epoch, saved_revision,
  CASE WHEN row_number() OVER () = 1 THEN CAST(now() + :lease_s * interval '1 second' AS text) END,
  CASE WHEN row_number() OVER () = 1 THEN CAST(now() AS text) END
FROM done
""")


@dataclass(frozen=True, slots=True)
class Settled:
    """The changed sessions, claimed, and those that are current until they are due again.

    seen: of each claimed one, its place among those that were looked at.
    """

    claim: Claim
    seen: list[int]
    current: list[UUID]


def look(engine: Engine, limit: int, skip: int = 0) -> list[Work]:
    """Return up to `limit` sessions that are due and free, the longest due first but for `skip`; nothing is locked."""
    with statements(engine) as connection:
        rows = connection.execute(_LOOK, {"limit": limit, "skip": skip}).all()
    return [Work(one, epoch, (saved, revision), due, kind) for one, epoch, saved, revision, due, kind in rows]


def settle(engine: Engine, looked: Sequence[Work], current: Sequence[bool], lease_s: float) -> Settled:
    """Give those looked at that are `current` their next due time, and claim the others; the claim is committed.

    Left out: what somebody else took since the look.
    """
    if not looked:
        return Settled(Claim(()), [], [])
    values = {
        "ids": array(str(work.session_id) for work in looked),
        "dues": array(moment(work.due_at) for work in looked),
        "changed": array("f" if one else "t" for one in current),
        "lease_s": lease_s,
    }
    with statements(engine) as connection:
        rows = connection.execute(_SETTLE, values).all()
    return _settled(rows, looked)


def _settled(rows: Sequence[Any], looked: Sequence[Work]) -> Settled:
    seen, work, current = list[int](), list[Work](), list[UUID]()
    for number, changed, epoch, saved_epoch, saved_revision, _, _ in rows:
        one = looked[number - 1]
        if changed:
            seen.append(number - 1)
            work.append(Work(one.session_id, epoch, (saved_epoch, saved_revision), one.due_at, one.checkpoint_type))
        else:
            current.append(one.session_id)
    until, claimed_at = rows[0][-2:] if rows else (None, None)
    return Settled(Claim(work, claimed_at, until), seen, current)
