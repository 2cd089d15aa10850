"""Hosted agents of another package, each at fault in a way of its own."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from fntx_sessions.schemas import Severity


class Sound:
    """Counts its steps, and nothing else; the others begin as it does and go wrong at their second step."""

    name = "SoundAgent"

    def step(self, state: dict[str, Any], context: Any) -> Any:
        self.context = context
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


class Interrupts(Sound):
    def fault(self, _state: dict[str, Any]) -> Any:
        raise KeyboardInterrupt


class Closes(Sound):
    def fault(self, _state: dict[str, Any]) -> Any:
        raise GeneratorExit


class Cancels(Sound):
    def fault(self, _state: dict[str, Any]) -> Any:
        raise asyncio.CancelledError


class Panic(BaseException):
    """As extension modules raise: no Exception."""


class Panics(Sound):
    def fault(self, _state: dict[str, Any]) -> Any:
        msg = "index out of bounds"
        raise Panic(msg)


class RaisesBadText(Sound):
    def fault(self, _state: dict[str, Any]) -> Any:
        msg = "no file \udcff\x00" + 5000 * "."
        raise FileNotFoundError(msg)


class Mute(Exception):
    def __str__(self) -> str:
        return self.args[1]  # there is none


class CannotSayWhy(Sound):
    def fault(self, _state: dict[str, Any]) -> Any:
        raise Mute


class TellsNoJson(Sound):
    def fault(self, state: dict[str, Any]) -> Any:
        self.context.desk.emit("found", "market", Severity.INFO, "a file", {"file": "\udcff"})
        return state


class TellsTooOften(Sound):
    def fault(self, state: dict[str, Any]) -> Any:
        for number in range(1000):
            self.context.desk.emit("found", "market", Severity.INFO, f"number {number}")
        return state


class TellsTooMuch(Sound):
    def fault(self, state: dict[str, Any]) -> Any:
        for _ in range(3):
            self.context.desk.emit("found", "market", Severity.INFO, "all of it", {"all": "x" * 10_000})
        return state


class TellsBadText(Sound):
    """No fault: what it says is kept, but for the characters that no database takes."""

    def fault(self, state: dict[str, Any]) -> Any:
        data = {"text": "a\x00b", "price": float("nan")}
        self.context.desk.emit("found\x00", "mar\udcffket", Severity.INFO, "a\x00b\udcff" + 5000 * ".", data)
        self.context.desk.request_pause("for \udcff\x00")
        return state


class WritesEvents(Sound):
    """Passes by what checks its words."""

    def fault(self, state: dict[str, Any]) -> Any:
        told = {"timestamp": datetime.now(UTC), "event_type": "t", "event_category": "c", "severity": "info"}
        self.context.desk.events.append(told | {"description": "\x00"})
        return state


class IsInterrupted(Sound):
    """Is in its turn when its own process gets a signal: no fault."""

    signal = signal.SIGUSR1

    def fault(self, state: dict[str, Any]) -> Any:
        os.kill(os.getpid(), self.signal)
        return {"steps": state["steps"] + 1}


class RaisesAnew(IsInterrupted):
    def fault(self, state: dict[str, Any]) -> Any:
        try:
            return super().fault(state)
        except Exception as error:
            msg = "no answer"
            raise LookupError(msg) from error


class SwallowsAll(IsInterrupted):
    def fault(self, state: dict[str, Any]) -> Any:
        with suppress(BaseException):
            return super().fault(state)
        return {"steps": state["steps"] + 1}
