"""What a tier is: a place that holds snapshots as they are stored, sealed. Whoever reads verifies."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable
from uuid import UUID

from msgspec import Struct

from fntx_sessions.state.snapshot import Packed


class Ref(Struct, frozen=True, gc=False):
    """Which snapshot of a session: its latest save (checkpoint_id None), or one checkpoint."""

    session_id: UUID
    checkpoint_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What a tier knows of a snapshot without reading it."""

    ref: Ref
    epoch: int
    revision: int
    size_bytes: int


class Tier(Protocol):
    """One place for snapshots. Every call raises Unavailable when the tier is out of reach."""

    name: str

    def get(self, ref: Ref) -> Packed | None:
        """Return a snapshot as this tier holds it, not verified; None: it has none. Raises Unavailable."""
        ...

    def put(self, packed: Packed) -> bool:
        """Hold a snapshot, all of it or nothing; False: what is here already is as new, and stays.

        A save gives way only to one of higher (epoch, revision); a checkpoint is written once.
        """
        ...

    def delete(self, ref: Ref) -> None:
        """Let go of a snapshot; one that is not here is no error."""
        ...

    def held(self, session_id: UUID) -> list[Held]:
        """Return what this tier has of a session: its save first, then checkpoints, newest first."""
        ...


@runtime_checkable
class PartwiseTier(Tier, Protocol):
    """A tier that can give a manifest without the large parts, and those one by one."""

    def head(self, ref: Ref) -> Packed | None:
        """Return a snapshot without its large parts; None: it has none. Raises Unavailable."""
        ...

    def parts(self, packed: Packed, hashes: Collection[bytes]) -> dict[bytes, bytes]:
        """Return large parts of what `head` gave; what is not here any more is not in the answer."""
        ...
