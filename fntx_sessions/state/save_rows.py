"""The save of record, written for a whole batch in one statement, behind the fence."""

from collections.abc import Sequence
from itertools import accumulate
from uuid import UUID

from psycopg2 import Binary
from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.state import part_rows
from fntx_sessions.state.claims import Claim, Work, after, array, moment
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.testing import failpoint

_CHECKSUM_BYTES = 32

# Manifests and checksums come one behind the other, in one piece each: many pieces take Postgres longer to parse than
# to store. The fence and the marks are on the work row, locked here until the commit: an epoch cannot move past a save.
_WRITE = text(f"""
WITH n AS (
  SELECT t.session_id, t.epoch, t.revision, substring(b.manifests FROM t.start FOR t.size) AS manifest,
    substring(b.checksums FROM (t.number - 1)::int * {_CHECKSUM_BYTES} + 1 FOR {_CHECKSUM_BYTES}) AS checksum, t.due_at
  FROM unnest(CAST(:ids AS uuid[]), CAST(:epochs AS bigint[]), CAST(:revisions AS bigint[]), CAST(:starts AS int[]),
    CAST(:sizes AS int[]), CAST(:dues AS timestamptz[]))
    WITH ORDINALITY AS t(session_id, epoch, revision, start, size, due_at, number),
    (SELECT CAST(:manifests AS bytea) AS manifests, CAST(:checksums AS bytea) AS checksums) AS b
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
SELECT n.session_id, n.epoch, n.revision, n.manifest, n.checksum FROM n JOIN fenced USING (session_id)
ON CONFLICT (session_id) DO UPDATE SET epoch = excluded.epoch, revision = excluded.revision, saved_at = now(),
  manifest = excluded.manifest, checksum = excluded.checksum
WHERE (s.epoch, s.revision) < (excluded.epoch, excluded.revision)
RETURNING CAST(s.session_id AS text)
""")

_OWNED = text("SELECT session_id FROM session_work WHERE host_id = :host AND next_save_at IS NOT NULL")


def write_saves(engine: Engine, claim: Claim, packed: Sequence[Packed], renamed: set[UUID]) -> set[UUID]:
    """Store saves with their large parts and marks in one transaction; return the sessions written.

    Left out: those whose epoch moved on or that are saved further already. renamed: sessions whose former save may
    name large parts that this one does not.
    """
    if not packed:
        return set()
    dues = {work.session_id: work.due_at for work in claim.work}
    dropped: set[part_rows.Ref] = set()

    def work(connection: Connection, sent: set[part_rows.Ref]) -> set[UUID]:
        written = _ids(packed, connection.execute(_WRITE, _values(claim, packed, dues)).scalars().all())
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


def _values(claim: Claim, packed: Sequence[Packed], dues: dict[UUID, str | None]) -> dict[str, object]:
    ends = accumulate(len(p.manifest) for p in packed)
    return {
        "ids": array(str(p.session_id) for p in packed),
        "epochs": array(str(p.epoch) for p in packed),
        "revisions": array(str(p.revision) for p in packed),
        "starts": array(str(1 + end - len(p.manifest)) for end, p in zip(ends, packed, strict=True)),
        "sizes": array(str(len(p.manifest)) for p in packed),
        "manifests": Binary(b"".join(p.manifest for p in packed)),
        "checksums": Binary(b"".join(p.checksum for p in packed)),
        "dues": array(moment(dues[p.session_id]) for p in packed),
        "claimed_at": claim.claimed_at,
    }
