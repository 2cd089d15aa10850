"""The process that plug-ins run in: a question a line in, an answer a line out, until its input ends.

A plug-in's print goes to standard error. For each question the kernel is told to end the process when it takes much
too long, so that a hung plug-in does not outlive a parent that died.
"""

import os
import signal
import sys
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import entry_points
from math import isfinite
from typing import Any, cast

import orjson

from fntx_sessions.automation.rules.model import Condition, Reading
from fntx_sessions.automation.rules.plugin_facts import facts_from_json
from fntx_sessions.automation.rules.plugins import GROUP
from fntx_sessions.trading.calendars import Calendar, get_calendar

GRACE_S = 5.0
_loaded: dict[str, Condition] = {}
_checked: dict[tuple[str, str], Any] = {}
_CHECKED_MAX = 1000
_answers: list[Any] = []  # where answers go, once it is open


class Rubbish(Exception):
    """A plug-in returned what no condition may return."""


class _LazyCalendar:
    """A calendar that is loaded when a plug-in first looks at it: that takes seconds, most need none of it.

    Meanwhile the asker is told to wait, once a process and calendar: those seconds are not the plug-in's.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, what: str) -> Any:
        return getattr(_loaded_calendar(self.name), what)


@lru_cache(maxsize=16)
def _loaded_calendar(name: str) -> Calendar:
    signal.setitimer(signal.ITIMER_REAL, 0)
    _say({"wait": name})
    calendar = get_calendar(name)
    calendar.is_trading_day(datetime.now(UTC).date())
    return calendar


def main() -> None:
    """Answer questions until there are no more."""
    _answers.append(os.fdopen(os.dup(1), "wb", buffering=0))
    os.dup2(2, 1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for line in sys.stdin.buffer:
        _say(_answer(orjson.loads(line)))


def _say(answer: dict[str, Any]) -> None:
    for answers in _answers:
        answers.write(orjson.dumps(answer) + b"\n")


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    signal.setitimer(signal.ITIMER_REAL, question["limit_s"] + GRACE_S)
    try:
        return {"answer": True} if question["what"] == "load" and _load(question["name"]) else _run(question)
    except Rubbish as error:
        return {"failed": f"returned rubbish: {_short(error)}"}
    except BaseException as error:  # noqa: BLE001 - sys.exit() of a plug-in is a failure like another
        return {"failed": f"raised {type(error).__name__}: {_short(error)}"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _short(error: BaseException) -> str:
    return str(error).encode("utf-8", "replace").decode()[:200].replace("\x00", "")


def _load(name: str) -> Condition:
    if name not in _loaded:
        (point, *_) = entry_points(group=GROUP, name=name)
        found = point.load()
        _loaded[name] = found() if isinstance(found, type) else found
    return _loaded[name]


def _run(question: dict[str, Any]) -> dict[str, Any]:
    condition, what = _load(question["name"]), question["what"]
    if what == "ordered":
        return {"answer": _one_of(condition.ordered, (-1, 0, 1), "ordered")}
    if what == "check":
        return _check(condition, question["value"])
    if what == "holds":
        return {"answer": _one_of(condition.holds(question["found"], question["value"]), (True, False), "holds")}
    return _look(condition, question)


def _check(condition: Condition, value: Any) -> dict[str, Any]:
    try:
        return {"answer": _plain(condition.check(value), "check")}
    except ValueError as error:
        return {"refused": _short(error) or "is not a value it takes"}


def _look(condition: Condition, question: dict[str, Any]) -> dict[str, Any]:
    value, clear = _kept(condition, question["value"]), question["clear"]
    reading = condition.read(
        facts_from_json(question["facts"], lambda name: cast("Calendar", _LazyCalendar(name))), value
    )
    if not isinstance(reading, Reading):
        raise Rubbish(f"read gave {type(reading).__name__}, no Reading")
    found = _plain(reading._asdict(), "read")
    _one_of(found["decided"], (True, False, None), "decided")
    if not isinstance(found["note"], str) or not isinstance(found["age_s"], float | int | None):
        raise Rubbish("read gave a Reading with a note or an age of another type")
    if found["decided"] is not None or not _is_known(found["value"]):
        return {"reading": found, "holds": found["decided"]}
    holds = _one_of(condition.holds(reading.value, value), (True, False), "holds")
    if not holds and clear is not None:
        holds = _one_of(condition.holds(reading.value, _kept(condition, clear)), (True, False), "holds")
    return {"reading": found, "holds": holds}


def _kept(condition: Condition, value: Any) -> Any:
    """Return a stored value as the condition keeps it, checked once."""
    key = (condition.name, repr(value))
    if key not in _checked:
        if len(_checked) >= _CHECKED_MAX:
            _checked.clear()
        _checked[key] = condition.check(value)
    return _checked[key]


def _is_known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not isfinite(value))


def _one_of(found: Any, allowed: tuple[Any, ...], what: str) -> Any:
    for one in allowed:
        if found is one or (found == one and type(found) is type(one)):
            return one
    raise Rubbish(f"{what} gave {type(found).__name__}, not {' or '.join(map(str, allowed))}")


def _plain(found: Any, what: str) -> Any:
    try:
        return orjson.loads(orjson.dumps(found))
    except TypeError:
        raise Rubbish(f"{what} gave what is no plain JSON") from None


if __name__ == "__main__":
    main()
