"""Looks at the whole desk, shared by all who watch it; what a store said last is kept for when it is away."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar, cast

from fntx_sessions.automation.health.model import Check
from fntx_sessions.settings import Settings
from fntx_sessions.stack.desk_checks import DeskFacts
from fntx_sessions.stack.desk_health import grade_desk, read_desk
from fntx_sessions.stack.redis_status import RedisStatus

T = TypeVar("T")
# Below what pages wait for: they show what they have.
_PATIENCE_S = 1.5


@dataclass(frozen=True)
class Seen(Generic[T]):
    """What a store said, and when; of an earlier look where `away`, which says what is wrong now."""

    found: T
    at: datetime
    away: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """One look, begun at `at`. checks: worst first. postgres, redis: what each said last; None: it never did."""

    at: datetime
    checks: list[Check]
    postgres: Seen[DeskFacts] | None
    redis: Seen[RedisStatus] | None


class Looks:
    """The last look, made anew where it is older than `pages_health_s`. Safe to use from several threads."""

    def __init__(self, read: Callable[[Settings], DeskFacts] = read_desk) -> None:
        self._read = read
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="fntx-health")
        self._lock = threading.Lock()
        self._last: Look | None = None
        self._taken = float("-inf")
        self._looking: Future[Look] | None = None

    def look(self, settings: Settings) -> Look:
        """Return it; whatever is down is a finding, so that nothing is raised.

        Where a store neither answers nor refuses, the one before, which is not waited for long.
        """
        looking = self._begun(settings)
        if looking is None or self._last is None:
            return looking.result() if looking else cast("Look", self._last)
        wait([looking], timeout=_PATIENCE_S)
        return looking.result() if looking.done() else self._last

    def _begun(self, settings: Settings) -> "Future[Look] | None":
        """Return the look that is under way, begun now where the last is old; None where that is new enough."""
        with self._lock:
            old = self._last is None or time.monotonic() - self._taken >= settings.pages_health_s
            if self._looking is None and old:
                self._looking = self._threads.submit(self._make, settings)
            return self._looking

    def _make(self, settings: Settings) -> Look:
        at = datetime.now(UTC)
        try:
            facts = self._read(settings)
            made = _look(at, facts, grade_desk(facts, settings), self._last)
            self._last = made
        finally:
            with self._lock:
                self._looking, self._taken = None, time.monotonic()
        return made


def _look(at: datetime, facts: DeskFacts, checks: list[Check], before: Look | None) -> Look:
    whys = {check.name: check.reason for check in checks}
    answered = facts.redis is not None and not facts.redis.error
    postgres = _kept(before.postgres if before else None, whys["postgres"])
    redis = _kept(before.redis if before else None, whys["redis"])
    return Look(
        at,
        checks,
        Seen(facts, at) if facts.postgres_seen else postgres,
        Seen(facts.redis, at) if facts.redis and answered else redis,
    )


def _kept(seen: Seen[T] | None, why: str) -> Seen[T] | None:
    return None if seen is None else Seen(seen.found, seen.at, why)
