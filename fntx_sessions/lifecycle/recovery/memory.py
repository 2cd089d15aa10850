"""What agents remember of trading: the view they reported, and the notes of the built-in ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from fntx_sessions.state.parts import AGENT_PREFIX, GUARD, TRADING

Leg = tuple[str, str]
_POSITION: dict[str, type] = {"trade_id": str, "symbol": str, "quantity": int}
_ORDER: dict[str, type] = {"client_order_id": str}


@dataclass(frozen=True, slots=True)
class Memory:
    """What agents remember of trading. at: no later than it was written; None: nobody can tell.

    symbols and trades: what built-in agents keep notes about; each must have been traded.
    """

    positions: dict[Leg, int] = field(default_factory=dict)
    orders: frozenset[str] = frozenset()
    symbols: Mapping[str, str] = field(default_factory=dict)
    trades: Mapping[str, str] = field(default_factory=dict)
    at: datetime | None = None
    known: bool = False


def memory_of(parts: Mapping[str, bytes], hosted: frozenset[str], *, forked: bool = False) -> Memory:
    """Return what a snapshot's parts say about trading; what cannot be read as such says nothing.

    forked: it may be another session's memory, whose notes are about that one's trades: they say nothing here.
    """
    agents = {
        name.removeprefix(AGENT_PREFIX): _json(data) for name, data in parts.items() if name.startswith(AGENT_PREFIX)
    }
    view = _json(parts.get(TRADING, b"{}"))
    held = _listed(view, "open_positions", _POSITION)
    return Memory(
        positions={(one["trade_id"], one["symbol"]): one["quantity"] for one in held},
        orders=frozenset(one["client_order_id"] for one in _listed(view, "pending_orders", _ORDER)),
        symbols={} if forked else _notes_of(agents, hosted, "RiskManagerAgent", "quotes"),
        trades={} if forked else _notes_of(agents, hosted, "TacticalExecutorAgent", "rungs"),
        at=_moment(state for name, state in agents.items() if name in hosted or not hosted),
        known=TRADING in parts,
    )


def _notes_of(agents: Mapping[str, dict[str, Any]], hosted: frozenset[str], agent: str, key: str) -> dict[str, str]:
    """Return what a built-in agent, or its guard, keeps notes about; agents of other services keep what they like."""
    found: dict[str, str] = {}
    for name in (agent, GUARD + agent):
        internal = agents.get(name, {}).get("internal_state") if name in hosted or name.startswith(GUARD) else None
        noted = internal.get(key) if isinstance(internal, dict) else None
        found |= dict.fromkeys(noted if isinstance(noted, dict) else (), name)
    return found


def _listed(view: dict[str, Any], name: str, shape: dict[str, type]) -> list[dict[str, Any]]:
    """Return the entries of a list that have this shape; other services report the view too, and as they like."""
    listed = view.get(name)
    entries = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return [one for one in entries if all(isinstance(one.get(key), kind) for key, kind in shape.items())]


def _moment(states: Iterable[dict[str, Any]]) -> datetime | None:
    """Return the earliest of the agents' last updates: what was recorded well before it, all of them have seen."""
    moments = [datetime.fromisoformat(str(state["last_update"])) for state in states if "last_update" in state]
    return min(moments, default=None)


def _json(data: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
