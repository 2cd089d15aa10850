"""Hosted agents of another package, each at fault in a way of its own."""

import sys
from typing import Any


class Sound:
    """Counts its steps, and nothing else; the others begin as it does and go wrong at their second step."""

    name = "SoundAgent"

    def step(self, state: dict[str, Any], _context: Any) -> Any:
        steps = state.get("steps", 0) + 1
        return self.fault(state) if steps > 1 else {"steps": steps}

    def fault(self, state: dict[str, Any]) -> Any:
        return {"steps": state["steps"] + 1}


class Raises(Sound):
    def fault(self, state: dict[str, Any]) -> Any:
        state.clear()  # half-way through its work
        msg = "its model is not there"
        raise LookupError(msg)


class Exits(Sound):
    def fault(self, _state: dict[str, Any]) -> Any:
        sys.exit("that is all")


class EatsMemory(Sound):
    def fault(self, _state: dict[str, Any]) -> Any:
        return {"steps": 2, "all": len([bytearray(1_000_000) for _ in range(1000)])}


class ReturnsNothing(Sound):
    def fault(self, _state: dict[str, Any]) -> Any:
        return None


class ReturnsNoJson(Sound):
    def fault(self, _state: dict[str, Any]) -> Any:
        return {"steps": 2, "model": object()}


class ReturnsTooMuch(Sound):
    def fault(self, _state: dict[str, Any]) -> Any:
        return {"steps": 2, "all": "x" * 30_000}


class CannotBeMade(Sound):
    def __init__(self) -> None:
        msg = "no licence"
        raise PermissionError(msg)
