"""Looks at the whole desk, shared by all who watch it; what a store said last is kept for when it is away."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from fntx_sessions.automation.health.model import Check
from fntx_sessions.settings import Settings
from fntx_sessions.stack.desk_checks import DeskFacts
from fntx_sessions.stack.desk_health import grade_desk, read_desk
from fntx_sessions.stack.redis_status import RedisStatus

T = TypeVar("T")


@dataclass(frozen=True)
class Seen(Generic[T]):
    """What a store said, and when; of an earlier look where `away`, which says what is wrong now."""

    found: T
    at: datetime
    away: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """One look. checks: of now, worst first. postgres, redis: what each said last; None: neither now nor before."""

    checks: list[Check]
    postgres: Seen[DeskFacts] | None
    redis: Seen[RedisStatus] | None


class Looks:
    """The last look, made anew where it is older than `pages_health_s`. Safe to use from several threads."""

    def __init__(self, read: Callable[[Settings], DeskFacts] = read_desk) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._last: Look | None = None
        self._taken = float("-inf")

    def look(self, settings: Settings) -> Look:
        """Return it; whatever is down is a finding, so that nothing is raised."""
        with self._lock:
            if self._last is None or time.monotonic() - self._taken >= settings.pages_health_s:
                facts = self._read(settings)
                self._last = _look(facts, grade_desk(facts, settings), self._last)
                self._taken = time.monotonic()
            return self._last


def _look(facts: DeskFacts, checks: list[Check], before: Look | None) -> Look:
    now = datetime.now(UTC)
    whys = {check.name: check.reason for check in checks}
    answered = facts.redis is not None and not facts.redis.error
    postgres = _kept(before.postgres if before else None, whys["postgres"])
    redis = _kept(before.redis if before else None, whys["redis"])
    return Look(
        checks,
        Seen(facts, now) if facts.postgres_seen else postgres,
        Seen(facts.redis, now) if facts.redis and answered else redis,
    )


def _kept(seen: Seen[T] | None, why: str) -> Seen[T] | None:
    return None if seen is None else Seen(seen.found, seen.at, why)
