"""The options every condition takes: for_s, clear_value, cooldown_s, max_age_s."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from fntx_sessions.automation.rules.conditions import GROUPS
from fntx_sessions.automation.rules.conditions.values import Check, number
from fntx_sessions.exceptions import InvalidArgument

_WEEK_S = 7 * 86_400
_SECONDS: Mapping[str, Check] = {
    "for_s": number(0, _WEEK_S, "seconds"),
    "cooldown_s": number(0, _WEEK_S, "seconds"),
    "max_age_s": number(0, _WEEK_S, "seconds", above_low=True),
}
KEYS = ("condition", "value", *_SECONDS, "clear_value")
_LEAF_ONLY = ("clear_value", "max_age_s")


def checked_options(body: Mapping[str, Any], name: str, field: str) -> dict[str, Any]:
    """Return a condition's options in seconds, those given; raises InvalidArgument for unknown or wrong ones."""
    for key in body:
        if key not in KEYS:
            raise _unknown(str(key), field)
        if key in _LEAF_ONLY and name in GROUPS and body[key] is not None:
            raise InvalidArgument(f"{field}.{key}", f"{name} reads nothing itself", "Set it on its conditions.")
    return {
        key: _checked(check, body[key], f"{field}.{key}")
        for key, check in _SECONDS.items()
        if body.get(key) is not None
    }


def _checked(check: Check, value: Any, field: str) -> Any:
    try:
        return check(value)
    except ValueError as error:
        raise InvalidArgument(field, *error.args) from None


def _unknown(key: str, field: str) -> InvalidArgument:
    close = get_close_matches(key, KEYS, 1)
    guess = f"Did you mean {close[0]!r}? " if close else ""
    return InvalidArgument(
        f"{field}.{key[:50]}", "is not an option of a condition", f"{guess}Known: {', '.join(KEYS)}."
    )
