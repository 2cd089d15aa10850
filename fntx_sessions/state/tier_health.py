"""Which tier is in or out of reach from here: one that failed is left alone for a while, then tried again.

Thirty lines of our own: what a library's circuit breaker has beside them (thresholds, listeners, storage of its own)
would have to be switched off (ADR 0033). Each process knows for itself; what changes goes to the log once, and into
`tier_states` for `fntx status`, as soon as Postgres takes it; what stays up is told again every ten minutes.
"""

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from weakref import WeakKeyDictionary

import structlog
from sqlalchemy import Engine, text

from fntx_sessions import figures
from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import Retryable, Unavailable
from fntx_sessions.settings import Settings

MEMORY, REDIS, POSTGRES, COLD = "memory", "redis", "postgres", "cold"
# Apart from reading: a full Redis, or a replica, takes no copies and goes on answering.
REDIS_WRITES = "redis writes"
_FIX = "It is tried again by itself; `fntx status` says since when."
# What stays up is told again so often: else nobody could tell it from what nobody asks any more.
_TOLD_AGAIN_S = 600.0
_log = structlog.get_logger(__name__)

# `since` is when it came to be so, as the first who found out saw it.
_TELL = text("""
INSERT INTO tier_states AS t (host, tier, up, problem, since, seen_at)
SELECT :host, n.tier, n.up, n.problem, n.since, now()
FROM unnest(CAST(:tiers AS text[]), CAST(:ups AS boolean[]), CAST(:problems AS text[]), CAST(:sinces AS timestamptz[]))
  AS n(tier, up, problem, since)
ORDER BY n.tier
ON CONFLICT (host, tier) DO UPDATE SET up = excluded.up, problem = excluded.problem, seen_at = now(),
  since = CASE WHEN t.up = excluded.up THEN t.since ELSE excluded.since END
""")


@dataclass(slots=True)
class TierState:
    """How a tier was found last. problem: empty when up. retry_at, tell_at: monotonic seconds."""

    tier: str
    up: bool
    problem: str = ""
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    retry_at: float = 0.0
    tell_at: float = field(default_factory=lambda: monotonic() + _TOLD_AGAIN_S)

    @property
    def outage(self) -> str:
        """What tells this outage from others."""
        return f"{self.tier} since {self.since.isoformat()}"


class TierHealth:
    """What this process knows of its tiers. A tier nobody asked yet counts as up."""

    def __init__(self, retry_s: float) -> None:
        self._retry_s = retry_s
        self._states: dict[str, TierState] = {}
        self._untold: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def calling(self, tier: str) -> Iterator[None]:
        """Run a block that asks a tier; raises Unavailable at once, without running it, while the tier is left alone.

        Postgres is always asked: it is the record, and to pass it over just after it came back would bring up an older
        copy.
        """
        self._refuse_early(tier)
        try:
            with figures.TIER_SECONDS.timed(_label(tier)):
                yield
        except Unavailable as error:
            self.note(tier, str(error))
            raise
        self.note(tier)

    def note(self, tier: str, problem: str = "") -> None:
        """Note that a tier answered, or why it did not."""
        if problem:
            figures.TIER_ERRORS.note(1, _label(tier))
        with self._lock:
            known = self._states.get(tier)
            if known is None or known.up == bool(problem):
                if known is not None or problem:  # that a tier answers the first time is no news
                    self._say(tier, problem)
                known = self._states[tier] = TierState(tier, not problem)
                self._untold.add(tier)
            elif problem or monotonic() >= known.tell_at:
                self._untold.add(tier)  # again: that it was tried just now, and is as it was
                known.tell_at = monotonic() + _TOLD_AGAIN_S
            known.problem, known.retry_at = problem, monotonic() + self._retry_s

    def states(self) -> list[TierState]:
        """Return how each tier that was asked was found last."""
        with self._lock:
            return sorted(self._states.values(), key=lambda state: state.tier)

    def outage(self, tier: str) -> str:
        """Return what tells a tier's present outage from others; empty while it is up."""
        with self._lock:
            known = self._states.get(tier)
            return known.outage if known and not known.up else ""

    def tell(self, engine: Engine) -> None:
        """Write what changed and was not told yet; while Postgres is away it waits for the next call."""
        with self._lock:
            changed = [self._states[tier] for tier in sorted(self._untold)]
            self._untold.clear()
        if not changed:
            return
        try:
            write_states(engine, changed)
        except Retryable:
            with self._lock:
                self._untold |= {state.tier for state in changed}

    def _refuse_early(self, tier: str) -> None:
        with self._lock:
            known = self._states.get(tier)
            if known is None or known.up or tier == POSTGRES:
                return
            if monotonic() < known.retry_at:
                detail = f"left alone, down since {known.since:%H:%M:%S} UTC ({known.problem})"
                raise Unavailable(f"the tier {tier}", detail, _FIX)
            known.retry_at = monotonic() + self._retry_s  # one tries; the others wait for what it finds

    @staticmethod
    def _say(tier: str, problem: str) -> None:
        if problem:
            _log.warning("tier.down", tier=tier, problem=problem)
        else:
            _log.info("tier.up", tier=tier)


def _label(tier: str) -> str:
    return tier.replace(" ", "_")


def write_states(engine: Engine, states: list[TierState]) -> None:
    """Write how this host finds its tiers; raises Unavailable."""
    values = {
        "host": platform.node(),
        "tiers": [state.tier for state in states],
        "ups": [state.up for state in states],
        "problems": [state.problem for state in states],
        "sinces": [state.since for state in states],
    }
    with transaction(engine) as connection:
        connection.execute(_TELL, values)


_known: WeakKeyDictionary[Engine, TierHealth] = WeakKeyDictionary()


def health_of(engine: Engine, settings: Settings) -> TierHealth:
    """Return what this process knows of the tiers around a database."""
    return _known.setdefault(engine, TierHealth(settings.tier_retry_s))


# What the parent knew may be held by a thread the child has not got.
os.register_at_fork(after_in_child=_known.clear)
