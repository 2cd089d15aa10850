"""`--config k=v` and its like: dotted keys and JSON values become the nested dict that a command takes."""

import json
from typing import Any, Never

from fntx_sessions.exceptions import InvalidArgument


def pairs(given: list[str] | None, option: str) -> dict[str, Any]:
    """Return the pairs ``feed.seed=7`` and ``agents=["A"]`` as ``{"feed": {"seed": 7}, "agents": ["A"]}``.

    A value that is no JSON is text. Raises InvalidArgument naming the option for a pair without `=`, a key twice, and
    for NaN and infinity.
    """
    found: dict[str, Any] = {}
    for pair in given or []:
        key, separator, value = pair.partition("=")
        path = [part.strip() for part in key.split(".")]
        if not separator or not all(path):
            raise InvalidArgument(option, f"{pair!r} is not key=value", f"Write {option} KEY=VALUE.")
        _put(found, path, _value(value, f"{option} {key}"), option)
    return found


def _put(into: dict[str, Any], path: list[str], value: Any, option: str) -> None:
    for part in path[:-1]:
        into = into.setdefault(part, {})
        if not isinstance(into, dict):
            raise InvalidArgument(f"{option} {'.'.join(path)}", "contradicts another value given", "Give one of them.")
    if path[-1] in into:
        raise InvalidArgument(f"{option} {'.'.join(path)}", "is given twice", "Give it once.")
    into[path[-1]] = value


def _value(text: str, where: str) -> Any:
    if text.strip().lower().lstrip("+-") in {"nan", "inf", "infinity"}:
        raise _not_finite(text, where)
    try:
        return read_json(text, where, "Write it flatter.")
    except json.JSONDecodeError:
        return text


def read_json(text: str, where: str, flatter: str) -> Any:
    """Return what JSON says; flatter: what to do about what nests too deep.

    Raises JSONDecodeError for what is no JSON, and InvalidArgument led by `where` for NaN, infinity and such nesting.
    """

    def refuse(constant: str) -> Never:
        raise _not_finite(constant, where)

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise InvalidArgument(where, "is nested too deep to be read", flatter) from None


def _not_finite(number: str, where: str) -> InvalidArgument:
    return InvalidArgument(where, f"{number} is not a number that can be used", "Give a finite number.")
