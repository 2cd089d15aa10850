"""A checkpoint where it is of record: in Postgres, or in the cold object that its row names. No copy answers for it."""

from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.settings import Settings
from fntx_sessions.state import checkpoint_rows as rows
from fntx_sessions.state import container
from fntx_sessions.state.snapshot import Packed, Packer, Snapshot
from fntx_sessions.state.tiers.base import Ref


def read_record(engine: Engine, settings: Settings, checkpoint_id: UUID) -> tuple[dict[str, Any], Snapshot]:
    """Return a checkpoint's row and its content, every byte verified.

    Raises NotFound, IntegrityError naming what is wrong, Shredded, and Unavailable (Postgres, or the cold store that
    holds it).
    """
    row, packed = rows.read_stored(engine, checkpoint_id)
    if packed is None:
        packed = _cold(settings, row)
    return row, Packer.of(settings, engine).unpack(packed)


def _cold(settings: Settings, row: dict[str, Any]) -> Packed:
    from fntx_sessions.state.objects.cold import open_cold  # noqa: PLC0415 - a bucket's library, for what moved alone

    what = f"checkpoint {row['checkpoint_id']} of session {row['session_id']}"
    data = open_cold(settings).read(row["cold_object"])
    if data is None:
        raise IntegrityError(what, f"its cold object {row['cold_object']} is missing")
    packed = container.from_bytes(data, Ref(row["session_id"], row["checkpoint_id"]))
    if (packed.epoch, packed.revision, packed.checksum) != (row["epoch"], row["revision"], bytes(row["checksum"])):
        raise IntegrityError(what, "its cold object is not the one its row describes")
    return packed
