"""The warm tier: the save of record in Postgres, with the large parts it names."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.state.snapshot import Packed

# One statement, so that a save replaced meanwhile cannot be read with parts of another. A manifest with large parts
# is small, so repeating it beside each of them costs little.
_READ = text("""
SELECT s.session_id, s.epoch, s.revision, s.manifest, s.checksum, p.part_hash, p.data
FROM saves s
LEFT JOIN snapshot_parts sp ON sp.session_id = s.session_id AND sp.snapshot_id = s.session_id
LEFT JOIN parts p ON p.session_id = sp.session_id AND p.part_hash = sp.part_hash
WHERE s.session_id = ANY(CAST(:ids AS uuid[]))
""")

_MARK = text("SELECT epoch, revision FROM saves WHERE session_id = :id")


class PostgresTier:
    """Saves as Postgres holds them."""

    name = "postgres"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, session_id: UUID) -> Packed | None:
        """Return the save as stored; None: there is none. Raises Unavailable."""
        return self.get_many([session_id]).get(session_id)

    def get_many(self, session_ids: Sequence[UUID]) -> dict[UUID, Packed]:
        """Return the saves of many sessions in one round trip; those without a save are not in the answer."""
        with transaction(self._engine) as connection:
            found = connection.execute(_READ, {"ids": list(map(str, session_ids))}).all()
        return _packed(found)

    def mark(self, session_id: UUID) -> tuple[int, int] | None:
        """Return (epoch, revision) of the save of record; None: there is none. Raises Unavailable."""
        with transaction(self._engine) as connection:
            row = connection.execute(_MARK, {"id": session_id}).one_or_none()
        return None if row is None else (row.epoch, row.revision)


def _packed(rows: Sequence[Any]) -> dict[UUID, Packed]:
    parts: dict[UUID, dict[bytes, bytes]] = {}
    saves: dict[UUID, Packed] = {}
    for row in rows:
        mine = parts.setdefault(row.session_id, {})
        if row.part_hash is not None:
            mine[bytes(row.part_hash)] = bytes(row.data)
        if row.session_id not in saves:
            manifest, checksum = bytes(row.manifest), bytes(row.checksum)
            saves[row.session_id] = Packed(row.session_id, row.epoch, row.revision, manifest, checksum, mine)
    return saves
