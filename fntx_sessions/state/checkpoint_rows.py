"""Checkpoints in Postgres: written with their parts in one transaction, read back, compared, listed."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, bindparam, insert, select, text, update

from fntx_sessions.database.engine import transaction
from fntx_sessions.database.models import checkpoints, parts, snapshot_parts
from fntx_sessions.exceptions import IntegrityError, NotFound
from fntx_sessions.state import part_rows
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.testing import failpoint

_FIX = "List them with `fntx checkpoints SESSION`."

_INSERT = insert(checkpoints)

_LISTED = [column for column in checkpoints.c if column.name != "manifest"]
_LIST = (
    select(*_LISTED)
    .where(checkpoints.c.session_id == bindparam("session_id"))
    .order_by(checkpoints.c.timestamp.desc(), checkpoints.c.checkpoint_id.desc())
    .limit(bindparam("limit"))
)
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
SELECT p.part_hash, sha256(p.data) FROM snapshot_parts sp JOIN parts p USING (session_id, part_hash)
WHERE sp.session_id = :session_id AND sp.snapshot_id = :checkpoint_id
""")

_VERIFIED = (
    update(checkpoints).where(checkpoints.c.checkpoint_id == bindparam("b_id")).values(verified=bindparam("b_verified"))
)
_VERIFIED_ROW = _VERIFIED.returning(*_LISTED)


def write_checkpoint(engine: Engine, packed: Packed, facts: dict[str, Any]) -> None:
    """Store a checkpoint and its large parts in one transaction; `facts` are its other columns."""
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

    def work(connection: Connection, sent: set[part_rows.Ref]) -> None:
        connection.execute(_INSERT, row)
        part_rows.insert(connection, [packed], sent)
        failpoint("checkpoint.before_commit")

    part_rows.storing(engine, [packed], work)
    failpoint("checkpoint.after_commit")


def verify_stored(engine: Engine, packed: Packed) -> dict[str, Any]:
    """Compare what Postgres holds with what was sent, mark it verified and return its row without the manifest.

    Raises IntegrityError when they differ; the checkpoint then stays, unverified.
    """
    expected = {b"": sha256(packed.manifest).digest()}
    expected |= {digest: sha256(data).digest() for digest, data in packed.parts.items()}
    values = {"checkpoint_id": packed.checkpoint_id, "session_id": packed.session_id}
    with transaction(engine) as connection:
        stored = {bytes(row.part_hash): bytes(row.digest) for row in connection.execute(_DIGESTS, values)}
        if stored != expected:
            raise IntegrityError(str(packed.label), "what Postgres holds is not what was sent")
        verified = {"b_id": packed.checkpoint_id, "b_verified": True}
        return dict(connection.execute(_VERIFIED_ROW, verified).mappings().one())


def mark_verified(engine: Engine, checkpoint_id: UUID, *, verified: bool) -> None:
    """Note whether a checkpoint was found whole."""
    with transaction(engine) as connection:
        connection.execute(_VERIFIED, {"b_id": checkpoint_id, "b_verified": verified})


def read_stored(engine: Engine, checkpoint_id: UUID) -> tuple[dict[str, Any], Packed]:
    """Return a checkpoint's row and its bytes as stored, not yet verified; raises NotFound."""
    with transaction(engine) as connection:
        row = connection.execute(_ONE, {"checkpoint_id": checkpoint_id}).mappings().one_or_none()
        if row is None:
            raise NotFound("checkpoint", str(checkpoint_id), _FIX)
        named = connection.execute(_PARTS, {"session_id": row["session_id"], "checkpoint_id": checkpoint_id})
        large = {bytes(part.part_hash): bytes(part.data) for part in named}
    manifest, checksum = bytes(row["manifest"]), bytes(row["checksum"])
    packed = Packed(row["session_id"], row["epoch"], row["revision"], manifest, checksum, large, checkpoint_id)
    return dict(row), packed


def list_rows(engine: Engine, session_id: UUID, limit: int) -> Sequence[dict[str, Any]]:
    """Return the newest checkpoints of a session, newest first, without their manifests."""
    with transaction(engine) as connection:
        return [dict(row) for row in connection.execute(_LIST, {"session_id": session_id, "limit": limit}).mappings()]
