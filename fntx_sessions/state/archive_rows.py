"""What Postgres knows of archives: which sessions are due for one, what was archived, what was let go of since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.database.history import RELATIONS, delete_history
from fntx_sessions.state.archive_format import Archive
from fntx_sessions.state.archive_tables import TABLES, count_rows, insert_staged, stage
from fntx_sessions.state.codec import Codec
from fntx_sessions.testing import failpoint

_CLAIM = text("""
WITH mine AS (
  SELECT w.session_id FROM session_work w
  WHERE w.archive_due_at <= now() AND coalesce(w.archive_claimed_until < now(), true) AND w.status = 'closed'
    -- What agents of other services told last is still to be taken in.
    AND NOT EXISTS (SELECT FROM session_agents g WHERE g.session_id = w.session_id AND g.joined_at IS NOT NULL)
    AND NOT EXISTS (SELECT FROM archives d WHERE d.session_id = w.session_id AND d.rows_dropped_at IS NOT NULL)
  ORDER BY w.archive_due_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE session_work w SET archive_claimed_until = now() + :lease_s * interval '1 second'
FROM mine JOIN sessions s USING (session_id) LEFT JOIN archives a USING (session_id)
WHERE w.session_id = mine.session_id
RETURNING w.session_id, w.archive_claimed_until AS until, s.pinned, a.verified_at IS NOT NULL AS archived
""")

_AGAIN = text("""
UPDATE session_work SET archive_claimed_until = now() + :seconds * interval '1 second'
WHERE session_id = ANY(CAST(:ids AS uuid[])) AND archive_claimed_until = :until
""")

_STORED = text("""
WITH stored AS (
  INSERT INTO archives (session_id, object, checksum, size_bytes, contents, archived_at, verified_at)
  VALUES (:session_id, :object, :checksum, :size_bytes, CAST(:contents AS jsonb), :archived_at, now())
  ON CONFLICT (session_id) DO UPDATE SET object = excluded.object, checksum = excluded.checksum,
    size_bytes = excluded.size_bytes, contents = excluded.contents, archived_at = excluded.archived_at,
    verified_at = now()
)
UPDATE session_work w SET archive_claimed_until = NULL,
  archive_due_at = greatest(now(), s.ended_at + :keep_s * interval '1 second')
FROM sessions s WHERE w.session_id = :session_id AND s.session_id = w.session_id
""")

# Restored rows stay as long as those of a session that was closed just now.
NOTE_RESTORE = text("""
WITH stored AS (
  INSERT INTO archives (session_id, object, checksum, size_bytes, contents, archived_at, verified_at)
  VALUES (:session_id, :object, :checksum, :size_bytes, CAST(:contents AS jsonb), :archived_at, now())
  ON CONFLICT (session_id) DO UPDATE SET rows_dropped_at = NULL, verified_at = now()
)
UPDATE session_work SET archive_due_at = now() + :keep_s * interval '1 second', archive_claimed_until = NULL,
  host_id = NULL
WHERE session_id = :session_id
""")

_FIND = text("SELECT * FROM archives WHERE session_id = :session_id")
_LIST = text("""
SELECT a.*, s.session_type, s.created_at, s.ended_at FROM archives a LEFT JOIN sessions s USING (session_id)
ORDER BY a.archived_at DESC LIMIT :limit
""")
# A damaged one is made anew at once, from what the database still holds.
_VERIFIED = text("""
WITH a AS (
  UPDATE archives SET verified_at = CASE WHEN :sound THEN now() END WHERE session_id = :session_id
  RETURNING session_id, rows_dropped_at
)
UPDATE session_work w SET archive_due_at = now() FROM a
WHERE w.session_id = a.session_id AND NOT :sound AND a.rows_dropped_at IS NULL
""")
_LATER = text("""
UPDATE session_work SET archive_claimed_until = NULL,
  archive_due_at = now() + CAST(:seconds AS float8) * interval '1 second'
WHERE session_id = :session_id
""")

# What stays says what the session was and where the rest of it is: its row, agents, days, audit chain and archive.
_DROPPABLE = text("""
SELECT 1 FROM sessions s JOIN archives a USING (session_id)
WHERE s.session_id = :session_id AND s.status = 'closed' AND NOT s.pinned AND a.verified_at IS NOT NULL
  AND a.checksum = :checksum AND s.version = (a.contents #>> '{session,version}')::bigint
  AND s.audit_seq = (a.contents #>> '{session,audit_seq}')::bigint
""")
_DROPPED = ("snapshot_parts", "saves", "checkpoints", "parts", "invalid_states", "recovery_runs", "commands",
            "order_intents", "agent_reports")  # fmt: skip
_DROP = [text(f"DELETE FROM {table} WHERE session_id = :session_id") for table in _DROPPED]
_NOTE_DROP = text("""
WITH a AS (UPDATE archives SET rows_dropped_at = now() WHERE session_id = :session_id)
UPDATE session_work SET archive_due_at = NULL, archive_claimed_until = NULL WHERE session_id = :session_id
""")
_MARKS = text("""
SELECT s.version, s.audit_seq, v.epoch AS save_epoch, v.revision AS save_revision
FROM sessions s LEFT JOIN saves v USING (session_id) WHERE s.session_id = :session_id
""")


@dataclass(frozen=True, slots=True)
class Due:
    """A claimed session. archived: it has a verified archive, and what is due is letting go of its rows."""

    session_id: UUID
    until: datetime
    pinned: bool
    archived: bool


def claim(engine: Engine, limit: int, lease_s: float) -> list[Due]:
    """Claim up to `limit` closed sessions that are due, the longest due first."""
    with transaction(engine) as connection:
        return [Due(*row) for row in connection.execute(_CLAIM, {"limit": limit, "lease_s": lease_s})]


def release(engine: Engine, claimed: Sequence[Due], seconds: float = 0.0) -> None:
    """Give claimed sessions back, to be taken again after `seconds`."""
    if claimed:
        ids = [str(due.session_id) for due in claimed]
        with transaction(engine) as connection:
            connection.execute(_AGAIN, {"ids": ids, "until": claimed[0].until, "seconds": seconds})


def later(engine: Engine, session_id: UUID, seconds: float | None) -> None:
    """Make a session due again after `seconds`, or (None) never."""
    with transaction(engine) as connection:
        connection.execute(_LATER, {"session_id": session_id, "seconds": seconds})


def stored(engine: Engine, archive: Mapping[str, Any]) -> None:
    """Note a verified archive; its rows may go `keep_s` after the session's end."""
    with transaction(engine) as connection:
        connection.execute(_STORED, archive)
        failpoint("archive.before_commit")
    failpoint("archive.noted")


def find(engine: Engine, session_id: UUID) -> dict[str, Any] | None:
    """Return what is known of a session's archive; None: it has none here."""
    with transaction(engine) as connection:
        row = connection.execute(_FIND, {"session_id": session_id}).mappings().one_or_none()
    return None if row is None else dict(row)


def list_rows(engine: Engine, limit: int) -> list[dict[str, Any]]:
    """Return the newest archives, newest first, with type and times of their sessions."""
    with transaction(engine) as connection:
        return [dict(row) for row in connection.execute(_LIST, {"limit": limit}).mappings()]


def mark(engine: Engine, session_id: UUID, *, sound: bool) -> None:
    """Note that an archive was found whole, or that it was not."""
    with transaction(engine) as connection:
        connection.execute(_VERIFIED, {"session_id": session_id, "sound": sound})


def as_archived(engine: Engine, session_id: UUID, contents: dict[str, Any]) -> bool:
    """Tell whether Postgres holds of a session just what its archive does: nothing was added since."""
    with transaction(engine) as connection:
        marks = connection.execute(_MARKS, {"session_id": session_id}).mappings().one()
        counts = count_rows(connection, session_id)
    return bool(dict(marks).items() <= contents["session"].items() and counts == contents["counts"])


def missing_history(engine: Engine, session_id: UUID, contents: dict[str, Any]) -> dict[str, int]:
    """Return how many rows of history an archive has that Postgres has not, by relation: of weeks that were dropped."""
    with transaction(engine) as connection:
        held = count_rows(connection, session_id)
    more = {name: contents["counts"][name] - held[name] for name in RELATIONS}
    return {name: rows for name, rows in more.items() if rows > 0}


def bring_history(engine: Engine, archive: Archive, codec: Codec) -> None:
    """Put back the rows of history that left Postgres week by week after they were archived."""
    with transaction(engine) as connection:
        for table in TABLES:
            if table.name in RELATIONS:
                columns = archive.header.section(table.name).columns
                staged = stage(connection, table, columns, archive.chunks(codec, table.name))
                insert_staged(connection, table, *staged)


def drop(engine: Engine, session_id: UUID, checksum: bytes) -> bool:
    """Let go of a session's rows, all or none; False: pinned, changed, or archived anew meanwhile."""
    values = {"session_id": session_id, "checksum": checksum}
    with transaction(engine) as connection:
        if connection.execute(_DROPPABLE, values).one_or_none() is None:
            return False
        drop_rows(connection, session_id)
        connection.execute(_NOTE_DROP, values)
        failpoint("drop.before_commit")
    failpoint("drop.committed")
    return True


def drop_rows(connection: Connection, session_id: UUID) -> None:
    """Delete what an archive holds of a session, in the caller's transaction."""
    for statement in _DROP:
        connection.execute(statement, {"session_id": session_id})
        failpoint("drop.deleted")
    delete_history(connection, session_id)
