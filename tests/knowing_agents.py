"""Hosted agents of another package that use credentials: one as it should be, the others telling them by mistake."""

import hashlib
import logging
import sys
from importlib.metadata import EntryPoint
from typing import Any

from fntx_sessions.agents import registry
from fntx_sessions.schemas import Severity

NAME = "broker_key"


def fingerprint(value: str) -> str:
    """Return what may be kept of a value."""
    return hashlib.sha256(value.encode()).hexdigest()[:12]


class Knows:
    """Keeps which values it had, as fingerprints, and how the mapping and the value show themselves."""

    name = "KnowsAgent"

    def step(self, state: dict[str, Any], context: Any) -> Any:
        known = {name: fingerprint(value.get_secret_value()) for name, value in context.credentials.items()}
        value = context.credentials.get(NAME)
        return {
            "known": [*state.get("known", []), known],
            "shown": [repr(context.credentials), f"{value}", repr(value)],
        }


class NeverLooks:
    name = "NeverLooksAgent"

    def step(self, state: dict[str, Any], _context: Any) -> Any:
        return {"steps": state.get("steps", 0) + 1}


class _Tells:
    def step(self, state: dict[str, Any], context: Any) -> Any:
        return self.tell(context, context.credentials[NAME].get_secret_value()) or {"steps": state.get("steps", 0) + 1}

    def tell(self, context: Any, value: str) -> Any:
        raise NotImplementedError


class Keeps(_Tells):
    name = "KeepsAgent"

    def tell(self, _context: Any, value: str) -> Any:
        return {"connection": {"key": f"Bearer {value}"}}


class Raises(_Tells):
    name = "RaisesAgent"

    def tell(self, _context: Any, value: str) -> Any:
        msg = f"401 from the broker for key {value}"
        raise LookupError(msg)


class Emits(_Tells):
    name = "EmitsAgent"

    def tell(self, context: Any, value: str) -> Any:
        data = {"headers": [value], value: 1}
        context.desk.emit("connected", "agents", Severity.INFO, f"connected with {value}", data)
        logging.getLogger("their.broker").warning("connected with %s", value)
        print("connected with", value)  # noqa: T201 -- as somebody will
        print(f"Authorization: Bearer {value}", file=sys.stderr)  # noqa: T201
        context.desk.request_pause(f"the broker refuses {value}")


class Remembers(_Tells):
    name = "RemembersAgent"

    def tell(self, context: Any, value: str) -> Any:
        from fntx_sessions.memory.slices import MemorySlice  # noqa: PLC0415 -- only this one needs it

        context.desk.remember(MemorySlice("market", {"key": value}))


class Hoards:
    """Looks once, as whoever makes a client of a broker does, and tells it in its third step, by then long rotated."""

    name = "HoardsAgent"
    key = ""

    def step(self, state: dict[str, Any], context: Any) -> Any:
        self.key = self.key or context.credentials[NAME].get_secret_value()
        steps = state.get("steps", 0) + 1
        if steps < 3:
            return {"steps": steps}
        context.desk.emit("connected", "agents", Severity.INFO, f"still connected with {self.key}")
        print("still connected with", self.key)  # noqa: T201
        return {"steps": steps, "key": self.key}


class Asks:
    """Asks for what nobody set."""

    name = "AsksAgent"

    def step(self, _state: dict[str, Any], context: Any) -> Any:
        return {"value": str(context.credentials["no_such_key"])}


AGENTS = {agent.__name__: agent for agent in (Knows, NeverLooks, Keeps, Raises, Emits, Remembers, Hoards, Asks)}


def known_with_ours() -> dict[str, EntryPoint]:
    """Return our hosted agents' entry points, and these."""
    ours = registry._found()
    return ours | {name: EntryPoint(name, f"knowing_agents:{name}", registry.GROUP) for name in AGENTS}
