"""What executors note of what waits for a person: the package's price, risk and delta as they last reported them."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from redis import Redis

from fntx_sessions.exceptions import Unavailable
from fntx_sessions.state.parts import agent_part
from fntx_sessions.state.redis_client import key, redis_errors


def read_notes(redis: Redis, found: Sequence[Mapping[str, Any]]) -> dict[UUID, dict[str, Any]]:
    """Return what the executors noted of what waits, by approval; nothing of those who said nothing."""
    asked = list(dict.fromkeys((row["session_id"], row["agent"]) for row in found))
    try:
        with redis_errors(), redis.pipeline(transaction=False) as pipeline:
            for session_id, agent in asked:
                pipeline.hget(key(session_id, "live"), f"part:{agent_part(agent)}")
            said = dict(zip(asked, map(_waiting, pipeline.execute()), strict=True))
    except Unavailable:
        return {}
    return {
        row["approval_id"]: said[(row["session_id"], row["agent"])].get(str(row["approval_id"]), {}) for row in found
    }


def _waiting(part: bytes | None) -> dict[str, dict[str, Any]]:
    """Return `waiting` of an agent's part, which may be of anybody's making."""
    try:
        state = orjson.loads(part or b"{}").get("internal_state")
        waiting = state.get("waiting") if isinstance(state, dict) else None
    except (orjson.JSONDecodeError, AttributeError):
        return {}
    if not isinstance(waiting, dict):
        return {}
    return {name: note for name, note in waiting.items() if isinstance(note, dict)}


def number(value: Any) -> Decimal | None:
    """Return what an agent said where it is a finite number, None else."""
    try:
        found = Decimal(str(value))
    except ArithmeticError:
        return None
    return found if found.is_finite() else None
