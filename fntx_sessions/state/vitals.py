"""How a session's agents do, as Redis knows it: last heartbeat, last movement, what they say of themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import redis

from fntx_sessions.state.redis_client import key
from fntx_sessions.state.scripts import Call, Script

_VITALS = Script("live_vitals.lua")
_FIELDS = 4  # a beat, a move, a size and a part for each agent
# Milliseconds that a moment may have: more, and whoever wrote it wrote past the desk's scripts.
_LONGEST_MOMENT = 18
_LAST_MS = 253_402_300_799_000  # the end of the year 9999
# A part that is larger is not read for the few words an agent says of itself.
_READ_BYTES = 65_536


class _Said(msgspec.Struct):
    status: str = "ready"
    memory_usage_mb: float | None = None
    errors_encountered: int | None = None
    processing_time_ms: float | None = None
    actions_taken: int | None = None
    decisions_made: int | None = None

    def fields(self) -> dict[str, Any]:
        """Return what a `Vitals` is told of it."""
        return {
            "status": self.status,
            "memory_mb": self.memory_usage_mb,
            "errors": self.errors_encountered,
            "latency_ms": self.processing_time_ms,
            "actions": self.actions_taken,
            "decisions": self.decisions_made,
        }


_decode = msgspec.json.Decoder(_Said).decode


@dataclass(frozen=True, slots=True)
class Vitals:
    """One agent, by the clock of Redis. silent_s, unmoved_s: since its last heartbeat, since its own part changed.

    beat_at: the moment of that heartbeat. None: no such yet. size_bytes: of its part. status and what follows: as it
    says itself; None: not said, or in too large a part. latency_ms: of its last step.
    """

    silent_s: float | None
    unmoved_s: float | None
    size_bytes: int = 0
    status: str | None = None
    memory_mb: float | None = None
    beat_at: datetime | None = None
    errors: int | None = None
    latency_ms: float | None = None
    actions: int | None = None
    decisions: int | None = None


def read_vitals(client: redis.Redis, asked: Sequence[tuple[UUID, Sequence[str]]]) -> list[dict[str, Vitals] | None]:
    """Return, for each session and its agents, how they do, in one round trip; raises Unavailable.

    None: what lies in Redis for that session cannot be read.
    """
    calls: list[Call] = [(key(session_id, "live"), [_READ_BYTES, *agents]) for session_id, agents in asked]
    answers = _VITALS.run_many(client, calls, apart=True) if calls else []
    return [
        None if isinstance(answer, Exception) else _vitals(agents, answer)
        for (_, agents), answer in zip(asked, answers, strict=True)
    ]


def moment_ms(said: bytes) -> int | None:
    """Return a moment of the live hash in ms; None where there is none, or something that is none."""
    return int(said) if said.isdigit() and len(said) <= _LONGEST_MOMENT else None


def _vitals(agents: Sequence[str], answer: list[Any]) -> dict[str, Vitals]:
    now_ms, said = int(answer[0]), answer[2:]
    return {agent: _one(now_ms, *said[i * _FIELDS : (i + 1) * _FIELDS]) for i, agent in enumerate(agents)}


def _one(now_ms: int, beat: bytes, moved: bytes, size: int, part: bytes) -> Vitals:
    said = _said(part)
    return Vitals(
        _since(now_ms, beat),
        _since(now_ms, moved),
        size,
        beat_at=_moment(beat),
        **(said.fields() if said else {}),
    )


def _moment(at_ms: bytes) -> datetime | None:
    at = moment_ms(at_ms)
    # Whoever wrote past the desk's scripts may have written a time that no calendar has.
    return None if at is None or at > _LAST_MS else datetime.fromtimestamp(at / 1000, UTC)


def _since(now_ms: int, at_ms: bytes) -> float | None:
    at = moment_ms(at_ms)
    return None if at is None else max(0.0, (now_ms - at) / 1000)


def _said(part: bytes) -> _Said | None:
    try:
        return _decode(part) if part else None
    except msgspec.MsgspecError:
        return None  # saving it says what is wrong with it
