"""Large parts in Postgres: stored once, named by the snapshots that need them, collected when none does."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar
from uuid import UUID

from psycopg2 import Binary
from psycopg2 import errors as pg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError as ConstraintError

from fntx_sessions.database.copying import copy_in
from fntx_sessions.database.engine import transaction
from fntx_sessions.state.snapshot import Packed

T = TypeVar("T")
Ref = tuple[UUID, bytes]

_STATEMENT_BYTES = 16_000_000

_PAIRS = "unnest(CAST(:ids AS uuid[]), CAST(:hashes AS bytea[])) AS n(session_id, part_hash)"

_STORED = text(f"SELECT p.session_id, p.part_hash FROM parts p JOIN {_PAIRS} USING (session_id, part_hash)")

_COLUMNS = ("session_id", "part_hash", "data")
_INSERT = text("""
INSERT INTO parts (session_id, part_hash, data)
SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:hashes AS bytea[]), CAST(:data AS bytea[]))
ON CONFLICT DO NOTHING
""")

_NAME = text("""
INSERT INTO snapshot_parts (session_id, snapshot_id, part_hash)
SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:snapshots AS uuid[]), CAST(:hashes AS bytea[]))
ON CONFLICT DO NOTHING
""")

# Only the current save changes what it names; a checkpoint names the same parts for life.
_UNNAME = text(f"""
DELETE FROM snapshot_parts sp
WHERE sp.session_id = ANY(CAST(:saves AS uuid[])) AND sp.snapshot_id = sp.session_id
  AND NOT EXISTS (SELECT FROM {_PAIRS} WHERE n.session_id = sp.session_id AND n.part_hash = sp.part_hash)
RETURNING sp.session_id, sp.part_hash
""")

_COLLECT = text(f"""
DELETE FROM parts p USING {_PAIRS}
WHERE p.session_id = n.session_id AND p.part_hash = n.part_hash AND NOT EXISTS (
  SELECT FROM snapshot_parts sp WHERE sp.session_id = p.session_id AND sp.part_hash = p.part_hash
)
""")

# A kill between a commit and its collecting leaves parts that nobody names. They are found by walking the primary key,
# a bounded stretch a time; a part younger than an hour may be one whose naming is not committed yet.
_STRETCH = text("""
WITH stretch AS (
  SELECT p.session_id, p.part_hash, p.created_at FROM parts p
  WHERE (p.session_id, p.part_hash) > (CAST(:session_id AS uuid), CAST(:part_hash AS bytea))
  ORDER BY p.session_id, p.part_hash LIMIT :limit
)
SELECT session_id, part_hash, created_at < now() - interval '1 hour' AND NOT EXISTS (
    SELECT FROM snapshot_parts sp WHERE sp.session_id = s.session_id AND sp.part_hash = s.part_hash) AS orphan
FROM stretch s ORDER BY session_id, part_hash
""")
START: Ref = (UUID(int=0), b"")


def storing(engine: Engine, packed: Sequence[Packed], work: Callable[[Connection, set[Ref]], T]) -> T:
    """Run `work` in one transaction, telling it which large parts to send; again, sending all, if one was collected.

    `work` must insert the parts it is told before it names them.
    """
    refs = _refs(packed)
    try:
        with transaction(engine) as connection:
            return work(connection, refs - _stored(connection, refs))
    except ConstraintError as error:
        # Garbage collection took a part between our look and our naming it.
        if not (refs and isinstance(error.orig, pg.ForeignKeyViolation)):
            raise
        with transaction(engine) as connection:
            return work(connection, refs)


def insert(connection: Connection, packed: Sequence[Packed], sent: set[Ref]) -> None:
    """Store the large parts of `packed` that are in `sent`, and name all of them for their snapshots."""
    send = [(p.session_id, digest, data) for p in packed for digest, data in p.parts.items()]
    send = [row for row in send if row[:2] in sent]
    for some in _portions(send):
        _send(connection, some)
    named = [(p.session_id, digest, p.checkpoint_id or p.session_id) for p in packed for digest in p.parts]
    if named:
        snapshots = [str(row[2]) for row in named]
        connection.execute(_NAME, {**_pairs(row[:2] for row in named), "snapshots": snapshots})


def _send(connection: Connection, rows: list[tuple[UUID, bytes, bytes]]) -> None:
    try:
        with connection.begin_nested():
            copy_in(connection, "parts", _COLUMNS, [(one.bytes, digest, data) for one, digest, data in rows])
    except ConstraintError as error:
        # Somebody stored one of them since we looked, which a COPY cannot pass over.
        if not isinstance(error.orig, pg.UniqueViolation):
            raise
        data = [Binary(row[2]) for row in rows]
        connection.execute(_INSERT, {**_pairs(row[:2] for row in rows), "data": data})


def _portions(rows: list[tuple[UUID, bytes, bytes]]) -> Iterator[list[tuple[UUID, bytes, bytes]]]:
    """Yield rows in portions that one statement carries well within its time."""
    portion: list[tuple[UUID, bytes, bytes]] = []
    size = 0
    for row in rows:
        if portion and size + len(row[2]) > _STATEMENT_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(row)
        size += len(row[2])
    if portion:
        yield portion


def unname(connection: Connection, packed: Sequence[Packed]) -> set[Ref]:
    """Take back what former saves named and these do not; return it, to be collected after the commit."""
    if not packed:
        return set()
    saves = [str(p.session_id) for p in packed]
    rows = connection.execute(_UNNAME, {**_pairs(_refs(packed)), "saves": saves})
    return {(row.session_id, bytes(row.part_hash)) for row in rows}


def collect(engine: Engine, refs: set[Ref]) -> None:
    """Delete parts no snapshot names any more. One that is being named right now stays, with all others."""
    if not refs:
        return
    try:
        with transaction(engine) as connection:
            connection.execute(_COLLECT, _pairs(refs))
    except ConstraintError as error:
        if not isinstance(error.orig, pg.ForeignKeyViolation):
            raise


def collect_orphans(engine: Engine, limit: int, after: Ref = START) -> tuple[int, Ref | None]:
    """Collect the parts nobody names among the next `limit` behind `after`; return how many, and where it went to.

    None: this was the last stretch. Raises Unavailable and Busy.
    """
    with transaction(engine) as connection:
        values = {"session_id": str(after[0]), "part_hash": Binary(after[1]), "limit": limit}
        rows = connection.execute(_STRETCH, values).all()
    orphans = {(row.session_id, bytes(row.part_hash)) for row in rows if row.orphan}
    collect(engine, orphans)
    last = (rows[-1].session_id, bytes(rows[-1].part_hash)) if len(rows) == limit else None
    return len(orphans), last


def _refs(packed: Sequence[Packed]) -> set[Ref]:
    return {(p.session_id, digest) for p in packed for digest in p.parts}


def _stored(connection: Connection, refs: set[Ref]) -> set[Ref]:
    if not refs:
        return set()
    return {(row.session_id, bytes(row.part_hash)) for row in connection.execute(_STORED, _pairs(refs))}


def _pairs(refs: Iterable[Ref]) -> dict[str, list[object]]:
    found = list(refs)
    return {"ids": [str(session_id) for session_id, _ in found], "hashes": [Binary(digest) for _, digest in found]}
