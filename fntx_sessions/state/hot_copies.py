"""Writing hot copies behind what Postgres holds: a Redis that takes none costs nearness, is told once, made up for."""

import os
import threading
from collections.abc import Collection, Sequence
from uuid import UUID
from weakref import WeakKeyDictionary

import redis
import structlog
from sqlalchemy import Engine

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import Retryable
from fntx_sessions.schemas import Severity
from fntx_sessions.settings import Settings
from fntx_sessions.state.event_rows import StateEvent, add_events
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tier_health import REDIS_WRITES, health_of
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import MemoryTier
from fntx_sessions.state.tiers.redis import HotTier

_DOWN = "saved in Postgres, without a hot copy: Redis takes none ({problem})"
_UP = "Redis takes hot copies again"
_log = structlog.get_logger(__name__)


class _Lacking:
    """Sessions whose save has no hot copy, with the outage that took it. Shared by the threads of a process."""

    def __init__(self) -> None:
        self._outages: dict[UUID, str] = {}
        self._lock = threading.Lock()

    def add(self, session_ids: Collection[UUID], outage: str) -> list[UUID]:
        """Take sessions in; return those that were not told of this outage yet."""
        with self._lock:
            fresh = [one for one in session_ids if self._outages.get(one) != outage]
            self._outages |= dict.fromkeys(fresh, outage)
            return fresh

    def take(self, session_ids: Collection[UUID]) -> dict[UUID, str]:
        """Take sessions out; return each one's outage."""
        with self._lock:
            return {one: self._outages.pop(one) for one in session_ids if one in self._outages}

    def ids(self) -> list[UUID]:
        """Return which they are."""
        with self._lock:
            return list(self._outages)


class HotCopies:
    """The hot copies a process writes after its commits. Nothing here fails a save: what goes wrong is returned."""

    def __init__(self, engine: Engine, client: redis.Redis, settings: Settings, memory: MemoryTier) -> None:
        self._engine = engine
        self._memory = memory
        self._hot = HotTier.of(client, settings)
        self._health = health_of(engine, settings)
        self._lacking = _lacking.setdefault(engine, _Lacking())

    def write(self, saves: Sequence[tuple[Packed, Collection[bytes]]]) -> str:
        """Write hot copies of saves that are committed; return why that failed, or nothing.

        The sessions are told once an outage that fewer tiers hold them than usual, all in one statement.
        """
        if not saves:
            return ""
        try:
            with self._health.calling(REDIS_WRITES):
                self._hot.put_many(saves)
        except Retryable as error:
            self._tell_down([packed.session_id for packed, _ in saves], str(error))
            return str(error)
        return ""

    def write_checkpoint(self, packed: Packed, fresh: Collection[bytes] = ()) -> str:
        """Keep a checkpoint that is committed hot, in place of the oldest one; return why that failed, or nothing.

        fresh: large parts that Redis can hardly hold yet: they are sent at once.
        """
        try:
            with self._health.calling(REDIS_WRITES):
                self._hot.put(packed, fresh)
        except Retryable as error:
            return str(error)
        return ""

    def settle(self) -> None:
        """Make up for copies that could not be written, once Redis takes them again, and tell what changed.

        What this process does not remember any more gets its copy with its next save, or when it is read.
        """
        lacking = self._lacking.ids()
        if lacking and self._caught_up(lacking):
            self._tell_up(self._lacking.take(lacking))
        self._health.tell(self._engine)

    def _caught_up(self, lacking: list[UUID]) -> bool:
        held = [packed for one in lacking if (packed := self._memory.get(Ref(one)))]
        try:
            with self._health.calling(REDIS_WRITES):
                self._hot.probe()
                self._hot.put_many([(packed, ()) for packed in held])
        except Retryable:
            return False
        return True

    def _tell_down(self, session_ids: list[UUID], problem: str) -> None:
        outage = self._health.outage(REDIS_WRITES)
        fresh = self._lacking.add(session_ids, outage)
        self._add([_event(one, "tier_down", outage, _DOWN.format(problem=problem)) for one in fresh])

    def _tell_up(self, outages: dict[UUID, str]) -> None:
        _log.info("hot_copies.caught_up", sessions=len(outages))
        events = [_event(one, "tier_up", outage, _UP, Severity.INFO) for one, outage in outages.items()]
        self._add(events)

    def _add(self, events: list[StateEvent]) -> None:
        try:
            with transaction(self._engine) as connection:
                add_events(connection, events)
        except Retryable as error:
            _log.warning("hot_copies.not_told", problem=str(error), sessions=len(events))


def _event(
    session_id: UUID, what: str, outage: str, description: str, severity: Severity = Severity.WARNING
) -> StateEvent:
    return StateEvent(session_id, what, outage, description, severity, {"tier": "redis"})


_lacking: WeakKeyDictionary[Engine, _Lacking] = WeakKeyDictionary()
os.register_at_fork(after_in_child=_lacking.clear)
