"""Reading a snapshot: memory, Redis, Postgres, cold, in this order; verified, and saying which tier answered."""

from collections.abc import Container
from dataclasses import dataclass
from uuid import UUID

import redis
from sqlalchemy import Engine

from fntx_sessions.settings import Settings
from fntx_sessions.state.lazy import LazySnapshot
from fntx_sessions.state.reading import Reading
from fntx_sessions.state.repairing import repair
from fntx_sessions.state.snapshot import Manifest, Snapshot
from fntx_sessions.state.tier_health import health_of
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import MemoryTier, get_memory


@dataclass(frozen=True, slots=True)
class Found:
    """A verified snapshot, the tier that answered, what kept nearer tiers from answering, and what was mended.

    snapshot holds the parts that were asked for; `lazy` opens further ones.
    """

    snapshot: Snapshot
    tier: str
    lazy: LazySnapshot
    problems: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()

    @property
    def manifest(self) -> Manifest:
        """What the snapshot says of itself: its parts by name and size, when it was made, under which identity."""
        return self.lazy.manifest

    def agents(self) -> list[str]:
        """Return the names of the agents that have a part here."""
        return self.lazy.agents()

    def part(self, name: str) -> bytes:
        """Return one part, from the tier that answered; raises NotFound, IntegrityError and Unavailable.

        A save may be replaced between two questions: then a large part is gone, and `load` finds the newer one.
        """
        return self.snapshot.parts[name] if name in self.snapshot.parts else self.lazy.part(name)


def load(
    engine: Engine,
    client: redis.Redis,
    settings: Settings,
    ref: Ref,
    memory: MemoryTier | None = None,
    only: Container[str] | None = None,
    *,
    suspect: bool = False,
) -> Found:
    """Return a snapshot from the nearest tier that holds it whole; `only` these parts of it (None: all, (): none).

    A nearer tier answers with a save only when it is not behind Postgres, with a checkpoint only when Postgres still
    lists it. While Postgres is out of reach the newest sound copy of all other tiers answers, and `problems` says so.
    Damaged copies in the tiers passed over are written again, one in Postgres under the epoch fence and with an event,
    and, where all was asked for, missing ones too; that never fails the read. suspect: a checkpoint's record is known
    to be damaged: it is looked at first, and mended from whichever copy opens as that checkpoint. Raises NotFound (no
    tier has it), IntegrityError (every copy is damaged or behind; names each), Unavailable (no tier that could be
    asked has it) and Shredded.
    """
    reading = Reading(engine, client, settings, ref, memory or get_memory(), only, suspect=suspect)
    try:
        copy = reading.answer()
        repaired = repair(reading, copy)
    finally:
        health_of(engine, settings).tell(engine)
    return Found(copy.snapshot, copy.tier.name, copy.lazy, tuple(reading.problems), tuple(repaired))


def load_save(
    engine: Engine, client: redis.Redis, settings: Settings, session_id: UUID, memory: MemoryTier | None = None
) -> Found:
    """Return the latest save of a session whole; promises and errors are those of `load`."""
    return load(engine, client, settings, Ref(session_id), memory)
