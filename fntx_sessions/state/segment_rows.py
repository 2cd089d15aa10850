"""What Postgres knows of segments: whose week is due for one, what the week holds, what was archived of it."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, TextClause, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.database.history import RELATIONS
from fntx_sessions.database.weeks import Week, layouts

# Sessions that go on, in the order of their ids from `after` on: a closed one is archived whole.
_CLAIM = """
WITH due AS (
  SELECT w.session_id FROM session_work w
  WHERE w.session_id > CAST(:after AS uuid) AND w.status <> 'closed' AND coalesce(w.archive_claimed_until < now(), true)
    AND EXISTS (SELECT FROM {relation} t
      WHERE t.session_id = w.session_id AND t.timestamp >= :since AND t.timestamp < :until)
    AND NOT EXISTS (SELECT FROM archive_segments g WHERE g.session_id = w.session_id AND g.relation = :relation
      AND g.week = :week AND g.verified_at IS NOT NULL)
    AND NOT EXISTS (SELECT FROM session_keys k WHERE k.session_id = w.session_id AND k.shredded_at IS NOT NULL)
  ORDER BY w.session_id LIMIT :limit FOR NO KEY UPDATE OF w SKIP LOCKED
)
UPDATE session_work w SET archive_claimed_until = now() + :lease_s * interval '1 second'
FROM due WHERE w.session_id = due.session_id RETURNING w.session_id, w.archive_claimed_until AS claimed_until
"""
_ROWS = """
SELECT to_jsonb(t)::text FROM {relation} t
WHERE t.session_id = :session_id AND t.timestamp >= :since AND t.timestamp < :until ORDER BY {key}
"""
_CLAIMS = {name: text(_CLAIM.format(relation=name)) for name in RELATIONS}
_OF_WEEK = {name: text(_ROWS.format(relation=name, key=", ".join(one.key))) for name, one in RELATIONS.items()}
_RELEASE = text("""
UPDATE session_work SET archive_claimed_until = NULL
WHERE session_id = :session_id AND archive_claimed_until = :claimed_until
""")
# Of two that were at it at once, the one that saw more rows stands.
_RECORD = text("""
INSERT INTO archive_segments AS g (session_id, relation, week, object, checksum, rows, size_bytes, verified_at)
VALUES (:session_id, :relation, :week, :object, :checksum, :rows, :size_bytes, now())
ON CONFLICT (session_id, relation, week) DO UPDATE SET object = excluded.object, checksum = excluded.checksum,
  rows = excluded.rows, size_bytes = excluded.size_bytes, archived_at = now(), verified_at = now()
WHERE g.verified_at IS NULL OR g.rows <= excluded.rows
""")
_KNOWN = text("""
SELECT relation, week, object, checksum, rows, size_bytes, archived_at, verified_at FROM archive_segments
WHERE session_id = :session_id ORDER BY week, relation
""")
_PROVEN = text("""
SELECT rows FROM archive_segments
WHERE session_id = :session_id AND relation = :relation AND week = :week AND verified_at IS NOT NULL
""")
_OLD = text("SELECT ((now() - :keep_s * interval '1 second') AT TIME ZONE 'UTC')::date")


@dataclass(frozen=True, slots=True)
class Claimed:
    """One session's week of a relation, claimed until `claimed_until`."""

    session_id: UUID
    relation: str
    week: Week
    claimed_until: datetime


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as Postgres knows it. week: its Monday. checksum: of its plain bytes. verified_at None: not proven."""

    session_id: UUID
    relation: str
    week: date
    object: str
    checksum: bytes
    rows: int
    size_bytes: int
    archived_at: datetime
    verified_at: datetime | None


def old_weeks(engine: Engine, keep_s: float) -> list[tuple[str, Week]]:
    """Return the weeks that ended longer than `keep_s` ago and are still there, with their relations, oldest first."""
    with transaction(engine) as connection:
        before: date = connection.execute(_OLD, {"keep_s": keep_s}).scalar_one()
        found = [(name, week) for name, layout in layouts(connection).items() for week in layout.weeks]
    return sorted(((name, week) for name, week in found if week.until <= before), key=lambda one: one[1].since)


def claim(engine: Engine, relation: str, week: Week, after: UUID, limit: int, lease_s: float) -> list[Claimed]:
    """Claim up to `limit` sessions behind `after` whose rows of the week are in no proven segment; by their ids."""
    bound = {"relation": relation, "week": week.since, "after": str(after), "limit": limit, "lease_s": lease_s}
    with transaction(engine) as connection:
        found = connection.execute(_CLAIMS[relation], bound | _span(week)).all()
    return sorted((Claimed(row[0], relation, week, row[1]) for row in found), key=lambda one: one.session_id)


def week_rows(connection: Connection, claimed: Claimed) -> list[str]:
    """Return a session's rows of the week as Postgres's own JSON, in the order of their key; [] once it was dropped."""
    bound = {"session_id": claimed.session_id} | _span(claimed.week)
    found = list(connection.execute(_OF_WEEK[claimed.relation], bound).scalars())
    # Asked after the rows, whose reading keeps the partitions as they are: what is left of a dropped week is no week.
    there = any(week.since == claimed.week.since for week in layouts(connection)[claimed.relation].weeks)
    return found if there else []


def proven_rows(connection: Connection, claimed: Claimed) -> int:
    """Return how many rows of the week are in a proven segment, 0 where there is none."""
    bound = {"session_id": claimed.session_id, "relation": claimed.relation, "week": claimed.week.since}
    return connection.execute(_PROVEN, bound).scalar_one_or_none() or 0


def record(engine: Engine, claimed: Claimed, **facts: Any) -> bool:
    """Note a segment as proven; False: one that holds more is known already."""
    bound = {"session_id": claimed.session_id, "relation": claimed.relation, "week": claimed.week.since, **facts}
    return bool(_write(engine, _RECORD, bound))


def release(engine: Engine, claimed: Claimed) -> None:
    """Give a session back."""
    _write(engine, _RELEASE, {"session_id": claimed.session_id, "claimed_until": claimed.claimed_until})


def segments_of(connection: Connection, session_id: UUID) -> list[Segment]:
    """Return what is known of a session's segments, oldest week first."""
    found = rows(connection.execute(_KNOWN, {"session_id": session_id}))
    return [Segment(session_id, **{**row, "checksum": bytes(row["checksum"])}) for row in found]


def _write(engine: Engine, statement: TextClause, bound: dict[str, Any]) -> int:
    with transaction(engine) as connection:
        return connection.execute(statement, bound).rowcount


def _span(week: Week) -> dict[str, datetime]:
    return {
        "since": datetime.combine(week.since, time(), UTC),
        "until": datetime.combine(week.until, time(), UTC),
    }
