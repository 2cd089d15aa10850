"""The save of record, written for a whole batch in one statement, behind the fence."""

from collections.abc import Iterator, Sequence
from struct import Struct
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.copying import copy_in
from fntx_sessions.database.engine import transaction
from fntx_sessions.state import part_rows
from fntx_sessions.state.claims import Claim, Work, after
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.testing import failpoint

# Saves come by binary COPY: as constants of a statement they take Postgres longer to parse than to store.
_STAGE = text("""
CREATE TEMP TABLE IF NOT EXISTS staged_saves (
  session_id uuid, epoch bigint, revision bigint, due_at text, manifest bytea, checksum bytea
) ON COMMIT DELETE ROWS
""")
_COLUMNS = ("session_id", "epoch", "revision", "due_at", "manifest", "checksum")

# The fence and the marks are on the work row, locked here until the commit: an epoch cannot move past a save.
_WRITE = text(f"""
WITH n AS (
  SELECT session_id, epoch, revision, CAST(nullif(due_at, '') AS timestamptz) AS due_at FROM staged_saves
), mine AS (
  SELECT w.session_id FROM session_work w JOIN n USING (session_id) ORDER BY w.session_id FOR NO KEY UPDATE OF w
), fenced AS (
  UPDATE session_work w SET saved_epoch = n.epoch, saved_revision = n.revision, last_saved_at = now(),
    save_claimed_until = NULL, next_save_at = {after("save", "n.due_at")}
  FROM n JOIN mine USING (session_id)
  WHERE w.session_id = n.session_id AND w.epoch = n.epoch
    AND (w.saved_epoch, w.saved_revision) < (n.epoch, n.revision)
  RETURNING w.session_id
)
INSERT INTO saves AS s (session_id, epoch, revision, manifest, checksum)
SELECT n.session_id, n.epoch, n.revision, n.manifest, n.checksum FROM staged_saves n JOIN fenced USING (session_id)
ON CONFLICT (session_id) DO UPDATE SET epoch = excluded.epoch, revision = excluded.revision, saved_at = now(),
  manifest = excluded.manifest, checksum = excluded.checksum
WHERE (s.epoch, s.revision) < (excluded.epoch, excluded.revision)
RETURNING CAST(s.session_id AS text)
""")

_bigint = Struct(">q").pack

_OWNED = text("SELECT session_id FROM session_work WHERE host_id = :host AND next_save_at IS NOT NULL")


def write_saves(engine: Engine, claim: Claim, packed: Sequence[Packed], renamed: set[UUID]) -> set[UUID]:
    """Store saves with their large parts and marks in one transaction; return the sessions written.

    Left out: those whose epoch moved on or that are saved further already. renamed: sessions whose former save may
    name large parts that this one does not.
    """
    if not packed:
        return set()
    dropped: set[part_rows.Ref] = set()

    def work(connection: Connection, sent: set[part_rows.Ref]) -> set[UUID]:
        connection.execute(_STAGE)
        copy_in(connection, "staged_saves", _COLUMNS, _rows(claim, packed))
        written = _ids(packed, connection.execute(_WRITE, {"claimed_at": claim.claimed_at}).scalars().all())
        mine = [p for p in packed if p.session_id in written]
        part_rows.insert(connection, mine, sent)
        dropped.update(part_rows.unname(connection, [p for p in mine if p.session_id in renamed]))
        failpoint("save.before_commit")
        return written

    written = part_rows.storing(engine, packed, work)
    failpoint("save.after_commit")
    part_rows.collect(engine, dropped)
    return written


def put_ahead(engine: Engine, packed: Packed) -> bool:
    """Make a save the current one where it is ahead of that and of the session's epoch; its due times stay."""
    work = Work(packed.session_id, packed.epoch, (0, 0), None, "")
    return bool(write_saves(engine, Claim((work,)), [packed], {packed.session_id}))


def owned_by(engine: Engine, host_id: str) -> list[UUID]:
    """Return the sessions a host steps that are saved by the clock."""
    with transaction(engine) as connection:
        return list(connection.execute(_OWNED, {"host": host_id}).scalars())


def _ids(packed: Sequence[Packed], written: Sequence[str]) -> set[UUID]:
    # Nearly always all of them: to make ids of their names again would cost more than the question.
    return {p.session_id for p in packed} if len(written) == len(packed) else set(map(UUID, written))


def _rows(claim: Claim, packed: Sequence[Packed]) -> Iterator[tuple[bytes, ...]]:
    dues = {work.session_id: work.due_at for work in claim.work}
    for p in packed:
        due_at = (dues[p.session_id] or "").encode()
        yield p.session_id.bytes, _bigint(p.epoch), _bigint(p.revision), due_at, p.manifest, p.checksum
