"""What rules may compare with: each check returns the value as it is kept, or raises ValueError(problem, fix)."""

import re
from collections.abc import Callable
from difflib import get_close_matches
from math import isfinite
from typing import Any

Check = Callable[[Any], Any]

_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NAME_MAX = 100
_NAMES_MAX = 50
_LIKE_A_TYPO = 0.9


def number(low: float, high: float, unit: str, *, whole: bool = False, above_low: bool = False) -> Check:
    """Return a check for numbers from `low` to `high`; above_low: `low` itself is refused."""
    bounds = f"more than {low:g}, up to {high:,.10g}" if above_low else f"from {low:g} to {high:,.10g}"
    fix = f"Write a {'whole ' if whole else ''}number ({unit}), {bounds}."

    def check(value: Any) -> float:
        _refuse_no_number(value, fix, whole=whole)
        if value < low or value > high or (above_low and value == low):
            raise ValueError("is out of range", fix)
        return float(value) if not whole else int(value)

    return check


def _refuse_no_number(value: Any, fix: str, *, whole: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"should be a number, not {kind_of(value)}", fix)  # noqa: TRY004 - one kind for the edge
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("is not a finite number", fix)
    if whole and value != int(value):
        raise ValueError("should be a whole number", fix)


def kind_of(value: Any) -> str:
    """Return what JSON calls the value's type, for messages."""
    kinds = {bool: "true or false", str: "a text", list: "a list", dict: "an object", type(None): "nothing"}
    return kinds.get(type(value), "a number")


def flag(value: Any) -> bool:
    """Take true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"should be true or false, not {kind_of(value)}", "Write true, or leave the value out.")  # noqa: TRY004 - one kind of error
    return value


def clock(value: Any) -> str:
    """Take an exchange time and return it as HH:MM:SS, which sorts as times do."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("should be a time of day", 'Write exchange time as "09:35:00".')
    return value if len(value) == len("00:00:00") else f"{value}:00"


def before_clock(value: Any) -> str:
    """Take an exchange time that something can be before."""
    kept = clock(value)
    if kept == "00:00:00":
        raise ValueError("never holds: no time is before midnight", "Write a later time, up to 23:59:59.")
    return kept


def days(value: Any) -> list[str]:
    """Take one day's name or a list of them, whole or its first three letters, and return whole names."""
    return [_day(name) for name in _listed(value, "day", 'Write "monday", or a list such as ["mon", "wed"].')]


def _day(name: str) -> str:
    wanted = name.lower()
    for day in DAYS:
        if wanted in (day, day[:3]):
            return day
    raise ValueError(f"{name[:_NAME_MAX]!r} is not a day of the week", f"Days are {', '.join(DAYS)}.")


def names(what: str, usual: tuple[str, ...]) -> Check:
    """Return a check for one name or a list of them; a name almost like a usual one is taken for a slip."""
    fix = f"Write one name or a list of them; usual are {', '.join(usual)}."

    def check(value: Any) -> list[str]:
        given = _listed(value, what, fix)
        for name in given:
            _refuse_slip(name, usual)
        return given

    return check


def _listed(value: Any, what: str, fix: str) -> list[str]:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not given or not all(isinstance(one, str) and one for one in given):
        raise ValueError(f"should be a {what}'s name or a list of them", fix)
    if len(given) > _NAMES_MAX or max(map(len, given)) > _NAME_MAX:
        raise ValueError(f"names too much: at most {_NAMES_MAX} names of {_NAME_MAX} letters", fix)
    return list(given)


def _refuse_slip(name: str, usual: tuple[str, ...]) -> None:
    if name == "unknown":
        raise ValueError("never holds: what is not known fulfils no condition", "Name what you want to react to.")
    close = [] if name in usual else get_close_matches(name.lower(), usual, 1, _LIKE_A_TYPO)
    if close:
        raise ValueError(f"{name!r} looks like a slip", f"Did you mean {close[0]!r}?")
