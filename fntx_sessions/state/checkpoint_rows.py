"""Checkpoints in Postgres: written with their parts in one transaction, read back, compared, listed."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from uuid import UUID

from psycopg2 import Binary
from sqlalchemy import Connection, Engine, bindparam, func, insert, select, text, update

from fntx_sessions.database.engine import statements, transaction
from fntx_sessions.database.models import checkpoints, parts, snapshot_parts
from fntx_sessions.exceptions import IntegrityError, NotFound, StaleEpoch
from fntx_sessions.schemas import Severity
from fntx_sessions.state import part_rows
from fntx_sessions.state.claims import LAZY
from fntx_sessions.state.event_rows import StateEvent, add_events
from fntx_sessions.state.identity import Identity, identity_under
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.testing import failpoint

_ERROR = Severity.ERROR
_FIX = "List them with `fntx checkpoints ID`."

_INSERT = insert(checkpoints)
_STAND = text("""
SELECT w.epoch, s.epoch AS saved_epoch, s.revision AS saved_revision,
  n.template_name, n.template_version, n.config, n.roster
FROM session_work w JOIN sessions n USING (session_id) LEFT JOIN saves s USING (session_id)
WHERE w.session_id = :session_id
""")
_FENCE = text("""
SELECT epoch FROM session_work w WHERE session_id = :session_id
  AND NOT EXISTS (SELECT FROM session_keys k WHERE k.session_id = w.session_id AND k.shredded_at IS NOT NULL)
FOR SHARE
""")
_THESE = text("""
SELECT part_hash, data FROM parts
WHERE session_id = :session_id AND part_hash = ANY(CAST(:hashes AS bytea[]))
""")

_LISTED = [column for column in checkpoints.c if column.name != "manifest"]
_LIST = (
    select(*_LISTED)
    .where(checkpoints.c.session_id == bindparam("session_id"))
    .order_by(checkpoints.c.timestamp.desc(), checkpoints.c.checkpoint_id.desc())
    .limit(bindparam("limit"))
)
_DIGEST = func.sha256(checkpoints.c.manifest.op("||")(checkpoints.c.checksum)).label("digest")
_FIND = select(*_LISTED, _DIGEST).where(checkpoints.c.checkpoint_id == bindparam("checkpoint_id"))
_ONE = select(checkpoints).where(checkpoints.c.checkpoint_id == bindparam("checkpoint_id"))
_PARTS = (
    select(parts.c.part_hash, parts.c.data)
    .join(snapshot_parts, (snapshot_parts.c.session_id == parts.c.session_id)
          & (snapshot_parts.c.part_hash == parts.c.part_hash))
    .where(snapshot_parts.c.session_id == bindparam("session_id"))
    .where(snapshot_parts.c.snapshot_id == bindparam("checkpoint_id"))
)  # fmt: skip

# Postgres digests what it stored, so that reading a large checkpoint back does not cost its transfer.
_DIGESTS = text("""
SELECT CAST('' AS bytea) AS part_hash, sha256(manifest) AS digest FROM checkpoints WHERE checkpoint_id = :checkpoint_id
UNION ALL
SELECT p.part_hash, CASE WHEN p.part_hash <> ALL(CAST(:proven AS bytea[])) THEN sha256(p.data) END
FROM snapshot_parts sp JOIN parts p USING (session_id, part_hash)
WHERE sp.session_id = :session_id AND sp.snapshot_id = :checkpoint_id
""")

_VERIFIED = (
    update(checkpoints)
    .where(checkpoints.c.checkpoint_id == bindparam("b_id"))
    .values(verified=bindparam("b_verified"), damage=None)
)
# A crash may forget that it was verified, never the checkpoint: whoever needs it reads it again.
_VERIFIED_ROW = text(f"""{LAZY}
UPDATE checkpoints SET verified = true, damage = NULL WHERE checkpoint_id = :checkpoint_id
RETURNING {", ".join(column.name for column in _LISTED)}
""")

_DAMAGED = text("""
UPDATE checkpoints SET verified = false, damage = :problem WHERE checkpoint_id = :checkpoint_id RETURNING session_id
""")
_DROP_UNVERIFIED = text("""
WITH gone AS (
  DELETE FROM checkpoints WHERE checkpoint_id = :checkpoint_id AND NOT verified RETURNING checkpoint_id
)
DELETE FROM snapshot_parts sp USING gone WHERE sp.session_id = :session_id AND sp.snapshot_id = gone.checkpoint_id
RETURNING sp.part_hash
""")


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a session stands before a checkpoint.

    saved: (epoch, revision) of the save of record. under: what its state is made under now.
    """

    epoch: int
    saved: tuple[int, int]
    under: Identity


def stand(engine: Engine, session_id: UUID) -> Stand:
    """Return where a session stands, read without a lock; raises NotFound."""
    with statements(engine) as connection:
        row = connection.execute(_STAND, {"session_id": session_id}).one_or_none()
    if row is None:
        raise NotFound("session", str(session_id), "List sessions with `fntx ls`.")
    under = identity_under(row.template_name, row.template_version, row.config, row.roster)
    return Stand(row.epoch, (row.saved_epoch or 0, row.saved_revision or 0), under)


def write_checkpoint(engine: Engine, packed: Packed, facts: dict[str, Any], epoch: int) -> None:
    """Store a checkpoint and its large parts in one transaction; `facts` are its other columns.

    Raises StaleEpoch unless the session is at `epoch`: nothing of a session is kept that was shredded or taken over
    meanwhile.
    """

    def work(connection: Connection, sent: set[part_rows.Ref]) -> None:
        # Held until the commit, and before any part: savers lock in this order.
        current = connection.execute(_FENCE, {"session_id": packed.session_id}).scalar_one_or_none()
        if current != epoch:
            raise StaleEpoch(packed.session_id, epoch, "missing" if current is None else current)
        insert_checkpoint(connection, packed, facts, sent)
        failpoint("checkpoint.before_commit")

    part_rows.storing(engine, [packed], work)
    failpoint("checkpoint.after_commit")


def insert_checkpoint(connection: Connection, packed: Packed, facts: dict[str, Any], sent: set[part_rows.Ref]) -> None:
    """Store a checkpoint in the caller's transaction, and of its large parts those in `sent`."""
    row = {
        **facts,
        "checkpoint_id": packed.checkpoint_id,
        "session_id": packed.session_id,
        "epoch": packed.epoch,
        "revision": packed.revision,
        "manifest": packed.manifest,
        "checksum": packed.checksum,
        "size_bytes": packed.size,
    }
    connection.execute(_INSERT, row)
    part_rows.insert(connection, [packed], sent)


def stored_whole(
    connection: Connection, packed: Packed, opens: Callable[[Packed], object], proven: Collection[bytes] = ()
) -> bool:
    """Tell whether Postgres holds what was packed: the same bytes, or for parts it had before, the same content.

    A part that was stored before was sealed anew just now, so its bytes differ: `opens` reads and verifies them, and
    raises IntegrityError. proven: parts that were read back before; that they are there is enough.
    """
    expected = {b"": sha256(packed.manifest).digest()}
    expected |= {name: b"" if name in proven else sha256(data).digest() for name, data in packed.parts.items()}
    values = {"checkpoint_id": packed.checkpoint_id, "session_id": packed.session_id}
    found = connection.execute(_DIGESTS, values | {"proven": [Binary(digest) for digest in proven]})
    stored = {bytes(row.part_hash): None if row.digest is None else bytes(row.digest) for row in found}
    if stored.keys() != expected.keys() or stored[b""] != expected[b""]:
        return False
    others = [name for name, digest in stored.items() if digest is not None and digest != expected[name]]
    if others:
        named = connection.execute(_THESE, {"session_id": packed.session_id, "hashes": [Binary(one) for one in others]})
        opens(replace(packed, parts={**packed.parts, **{bytes(row.part_hash): bytes(row.data) for row in named}}))
    return True


def verify_stored(
    engine: Engine, packed: Packed, opens: Callable[[Packed], object], proven: Collection[bytes] = ()
) -> dict[str, Any]:
    """Compare what Postgres holds with what was sent, mark it verified and return its row without the manifest.

    proven: large parts that this process read back for an earlier checkpoint of the session.
    Raises IntegrityError when they differ; the checkpoint then stays, unverified.
    """
    with statements(engine) as connection:
        if not stored_whole(connection, packed, opens, proven):
            raise IntegrityError(str(packed.label), "what Postgres holds is not what was sent")
        return dict(connection.execute(_VERIFIED_ROW, {"checkpoint_id": packed.checkpoint_id}).mappings().one())


def mark_sound(engine: Engine, checkpoint_id: UUID) -> None:
    """Note that a checkpoint was read whole."""
    with transaction(engine) as connection:
        connection.execute(_VERIFIED, {"b_id": checkpoint_id, "b_verified": True})


def mark_damaged(engine: Engine, checkpoint_id: UUID, problem: str) -> None:
    """Note that a checkpoint was not found whole, with an event that says what is wrong."""
    found = {"checkpoint_id": checkpoint_id, "problem": problem[:2000]}
    with transaction(engine) as connection:
        session_id = connection.execute(_DAMAGED, found).scalar_one_or_none()
        if session_id is not None:
            data = {"checkpoint_id": str(checkpoint_id)}
            told = StateEvent(session_id, "checkpoint_damaged", f"{checkpoint_id}/{problem}", problem, _ERROR, data)
            add_events(connection, [told])


def read_stored(engine: Engine, checkpoint_id: UUID) -> tuple[dict[str, Any], Packed | None]:
    """Return a checkpoint's row and its bytes as stored, not yet verified; raises NotFound.

    None for the bytes: Postgres does not hold them any more, the row says where they are.
    """
    with transaction(engine) as connection:
        row = connection.execute(_ONE, {"checkpoint_id": checkpoint_id}).mappings().one_or_none()
        if row is None:
            raise NotFound("checkpoint", str(checkpoint_id), _FIX)
        if row["manifest"] is None:
            return dict(row), None
        named = connection.execute(_PARTS, {"session_id": row["session_id"], "checkpoint_id": checkpoint_id})
        large = {bytes(part.part_hash): bytes(part.data) for part in named}
    manifest, checksum = bytes(row["manifest"]), bytes(row["checksum"])
    packed = Packed(row["session_id"], row["epoch"], row["revision"], manifest, checksum, large, checkpoint_id)
    return dict(row), packed


def find_row(engine: Engine, session_id: UUID, checkpoint_id: UUID) -> dict[str, Any] | None:
    """Return a checkpoint's row, of its manifest and checksum the SHA-256 alone (None: they are not in Postgres).

    None: the session has no such checkpoint.
    """
    with transaction(engine) as connection:
        row = connection.execute(_FIND, {"checkpoint_id": checkpoint_id}).mappings().one_or_none()
    return dict(row) if row is not None and row["session_id"] == session_id else None


def drop_unverified(engine: Engine, session_id: UUID, checkpoint_id: UUID) -> None:
    """Delete a checkpoint that was never verified, with the parts only it named."""
    values = {"session_id": session_id, "checkpoint_id": checkpoint_id}
    with transaction(engine) as connection:
        gone = {(session_id, bytes(digest)) for digest in connection.execute(_DROP_UNVERIFIED, values).scalars()}
    part_rows.collect(engine, gone)


def list_rows(engine: Engine, session_id: UUID, limit: int) -> Sequence[dict[str, Any]]:
    """Return the newest checkpoints of a session, newest first, without their manifests."""
    with transaction(engine) as connection:
        return [dict(row) for row in connection.execute(_LIST, {"session_id": session_id, "limit": limit}).mappings()]
