"""One backup into Postgres: a checkpoint of type `backup`, and the current save where it is ahead of it."""

from dataclasses import dataclass, replace
from uuid import UUID, uuid5

from psycopg2.errors import UniqueViolation
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError as ConstraintError

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.state import checkpoint_rows as rows
from fntx_sessions.state.backups import Backup
from fntx_sessions.state.save_rows import put_ahead
from fntx_sessions.state.snapshot import Packed, Packer, Snapshot
from fntx_sessions.testing import failpoint

TYPE = "backup"
_NOTE = "Postgres was out of reach: saved into the backup folder of {host}"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A backup with its bytes, and what they hold, verified."""

    backup: Backup
    packed: Packed
    snapshot: Snapshot

    @property
    def checkpoint_id(self) -> UUID:
        """The id it comes in under: the same each time it is tried."""
        return uuid5(self.packed.session_id, f"backup/{self.packed.epoch}/{self.packed.revision}")


def store(engine: Engine, packer: Packer, incoming: Incoming) -> bool:
    """Store a backup as history and, where it is ahead of the save of record, as that; False: nothing was new.

    The epoch of the save that moves must be the session's; a backup of an older one is history only. Raises NotFound
    (no such session), StaleEpoch (its epoch moved meanwhile: try again), IntegrityError (the name says another mark;
    Postgres holds other bytes) and Unavailable.
    """
    packed = incoming.packed
    if (packed.epoch, packed.revision) != incoming.backup.mark:
        raise IntegrityError(incoming.backup.path.name, f"holds epoch {packed.epoch}, revision {packed.revision}")
    stand = rows.stand(engine, packed.session_id)
    if stand.saved == incoming.backup.mark and rows.find_row(engine, packed.session_id, incoming.checkpoint_id) is None:
        return False  # it was saved to Postgres after all, by another worker
    _keep(engine, packer, incoming, stand)
    failpoint("backup.kept")
    put_ahead(engine, packed)
    failpoint("backup.moved")
    return True


def _keep(engine: Engine, packer: Packer, incoming: Incoming, stand: rows.Stand) -> None:
    session_id, checkpoint_id = incoming.packed.session_id, incoming.checkpoint_id
    found = rows.find_row(engine, session_id, checkpoint_id)
    if found is not None and found["verified"]:
        return
    if found is not None:
        rows.drop_unverified(engine, session_id, checkpoint_id)
    snapshot = replace(incoming.snapshot, checkpoint_id=checkpoint_id, identity=stand.under.hash)
    packed = packer.pack(snapshot, incoming.packed.parts)
    facts = {
        "checkpoint_type": TYPE, "identity": stand.under.hash, "made_under": stand.under.facts,
        "timestamp": incoming.snapshot.created_at, "note": _NOTE.format(host=incoming.backup.path.parent.name),
    }  # fmt: skip
    try:
        rows.write_checkpoint(engine, packed, facts, stand.epoch)
    except ConstraintError as error:
        if not isinstance(error.orig, UniqueViolation):
            raise
        return  # another process is at the same file, over a folder they share
    rows.verify_stored(engine, packed, packer.unpack)
