"""The cold tier: each snapshot one self-contained object, in a bucket or a folder, for good."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

import structlog

from fntx_sessions.state.container import from_bytes, to_bytes
from fntx_sessions.state.objects.base import ObjectInfo, ObjectStore
from fntx_sessions.state.snapshot import CHECKPOINT, SAVE, Packed
from fntx_sessions.state.tiers.base import Held, Ref

_log = structlog.get_logger(__name__)
_Mark = tuple[int, int]


class ColdTier:
    """Snapshots as cold objects. Whoever puts the first of a session sees to its key object before."""

    name = "cold"

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def get(self, ref: Ref) -> Packed | None:
        """Return a snapshot, its seals not opened; None: there is none. Raises Unavailable, and IntegrityError."""
        data = self._store.read(object_name(ref))
        return None if data is None else from_bytes(data, ref)

    def put(self, packed: Packed) -> bool:
        """Hold a snapshot; False: what is here already is as new, and stays. Raises Unavailable."""
        name = object_name(Ref(packed.session_id, packed.checkpoint_id))
        data, metadata = to_bytes(packed), told(packed)
        if packed.checkpoint_id is not None:
            return self._store.create(name, data, metadata)
        mine = (packed.epoch, packed.revision)
        return self._store.replace_if(name, data, metadata, lambda there: (_mark(there) or (-1, -1)) < mine)

    def delete(self, ref: Ref) -> None:
        """Destroy a snapshot with all its generations; one that is not here is no error. Raises Unavailable."""
        self._store.destroy(object_name(ref))

    def held(self, session_id: UUID) -> list[Held]:
        """Return what is here of a session without reading it: its save first, then checkpoints, newest first."""
        found = [(info.created_at, _held(session_id, info)) for info in self._store.list(f"sessions/{session_id}/")]
        known = [(created_at, held) for created_at, held in found if held is not None]
        known.sort(key=lambda item: (item[1].epoch, item[1].revision, item[0]), reverse=True)
        return sorted((held for _, held in known), key=lambda held: held.ref.checkpoint_id is not None)


def object_name(ref: Ref) -> str:
    """Return the name of a snapshot's cold object."""
    what = SAVE if ref.checkpoint_id is None else f"checkpoints/{ref.checkpoint_id}"
    return f"sessions/{ref.session_id}/{what}"


def told(packed: Packed) -> dict[str, str]:
    """Return the metadata of a snapshot's cold object: what is known of it without reading it."""
    facts = {
        "session_id": str(packed.session_id),
        "kind": SAVE if packed.checkpoint_id is None else CHECKPOINT,
        "epoch": str(packed.epoch),
        "revision": str(packed.revision),
        "created_at": datetime.now(UTC).isoformat(),
        "checksum": packed.checksum.hex(),
    }
    return facts if packed.checkpoint_id is None else facts | {"checkpoint_id": str(packed.checkpoint_id)}


def _held(session_id: UUID, info: ObjectInfo) -> Held | None:
    mark = _mark(info.metadata)
    kind = info.metadata.get("kind")
    if mark is None or kind not in {SAVE, CHECKPOINT}:
        _log.warning("cold.object_not_known", object=info.name, metadata=dict(info.metadata))
        return None
    checkpoint_id = UUID(info.metadata["checkpoint_id"]) if kind == CHECKPOINT else None
    return Held(Ref(session_id, checkpoint_id), *mark, info.size_bytes)


def _mark(metadata: Mapping[str, str]) -> _Mark | None:
    try:
        return int(metadata["epoch"]), int(metadata["revision"])
    except (KeyError, ValueError):
        return None
