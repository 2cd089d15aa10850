"""What a step reports: the agents' parts, the market, and the money view, as the JSON other services know."""

import resource
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import orjson

from fntx_sessions.agents.base import State, StepContext
from fntx_sessions.agents.runtime import Runtime, Slot
from fntx_sessions.schemas import SessionStatus
from fntx_sessions.state.parts import MARKET, TRADING, agent_part
from fntx_sessions.trading.clock import WALL
from fntx_sessions.trading.view import trading_state


def agent_bytes(slot: Slot, now: datetime) -> bytes:
    """Return a slot as its AgentState part."""
    return orjson.dumps(
        {
            "agent_id": slot.name,
            "status": "quarantined" if slot.quarantined else "ready",
            "last_update": now,
            "internal_state": orjson.Fragment(slot.kept),
            "actions_taken": slot.actions,
            "decisions_made": slot.decisions,
            "errors_encountered": slot.errors,
            "memory_usage_mb": resident_mb(),
            "processing_time_ms": round(slot.milliseconds, 3),
        },
        default=_plain,
    )


def state_bytes(state: State) -> bytes:
    """Return an agent's state as JSON; raises TypeError for what no JSON can hold."""
    return orjson.dumps(state, default=_plain)


def market_bytes(context: StepContext) -> bytes:
    """Return what the step's agents say of the market, as JSON."""
    return orjson.dumps(context.outputs.market, default=_plain)


def session_parts(runtime: Runtime, context: StepContext) -> dict[str, bytes]:
    """Return the parts a step leaves beside its agents' own: the market, and the money view if known and ours."""
    parts: dict[str, bytes] = {}
    if context.outputs.market is not None:
        parts[MARKET] = market_bytes(context)
    if context.board is not None and not runtime.traded_elsewhere:
        enabled = runtime.status is SessionStatus.ACTIVE
        money = trading_state(runtime.book, context.money(), runtime.risk, runtime.account, trading_enabled=enabled)
        parts[TRADING] = money.model_dump_json().encode()
    return parts


def slot_report(slot: Slot) -> tuple[str, bytes]:
    """Return the name and bytes of an agent's own part."""
    return agent_part(slot.name), agent_bytes(slot, WALL.now())


def resident_mb() -> float:
    """Return the most memory this process has held, megabytes."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date | time):  # a class of somebody's own: orjson knows the plain ones
        return value.isoformat()
    raise TypeError
