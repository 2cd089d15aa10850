"""From the JSON of a session's config to rules that can be evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zlib import crc32

import orjson

from fntx_sessions.automation.rules.conditions import GROUPS
from fntx_sessions.automation.rules.impossible import check_possible
from fntx_sessions.automation.rules.model import KEYS, Condition, Rule, RuleSets
from fntx_sessions.automation.rules.options import checked_options
from fntx_sessions.automation.rules.plugins import Plugin
from fntx_sessions.automation.rules.registry import get_condition
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.settings import Settings

CONDITIONS_MAX = 50  # of one list, as session_config says of the outermost
_CACHED = 4096


def compile_rules(text: str, settings: Settings, field: str = "config") -> RuleSets:
    """Return the four rule sets of a config given as JSON text; raises InvalidArgument with the path to the field.

    For the edge and for people who try rules out. What is stored goes through `compile_stored`.
    """
    return _compiled(text, settings.rule_depth_max, field)


def compile_stored(text: str) -> RuleSets:
    """Return the rule sets of a stored config, never raising: a rule that cannot be used reads as unknown and says why.

    One broken rule, such as that of a plug-in that was removed, so does not silence the stop rules beside it. How deep
    new rules may nest is no reason to ignore old ones.
    """
    return _compiled(text, None, "config")


def as_text(config: Mapping[str, Any]) -> str:
    """Return the rule sets of a config as the JSON text that rules are compiled from."""
    return orjson.dumps({key: config.get(key, []) for key in KEYS.values()}).decode()


@lru_cache(maxsize=_CACHED)
def _compiled(text: str, depth_max: int | None, field: str) -> RuleSets:
    config = orjson.loads(text)
    made = {name: _rules(config.get(key) or [], name, f"{field}.{key}", depth_max) for name, key in KEYS.items()}
    sets = RuleSets(**made)
    if depth_max is not None:
        check_possible(sets, field)
    return sets


def _rules(items: Any, name: str, field: str, depth_max: int | None) -> tuple[Rule, ...]:
    if not isinstance(items, list):
        error = InvalidArgument(field, "should be a list of conditions", "Write a list, empty for none.")
        if depth_max is not None:
            raise error
        return (_unusable(items, _Place(f"{name}.0", field, 0, depth_max), error),)
    return tuple(
        _rule(item, _Place(f"{name}.{index}", f"{field}.{index}", 0, depth_max)) for index, item in enumerate(items)
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a condition stands. path: among the rules; field: in what was written; depth_max None: it is stored."""

    path: str
    field: str
    depth: int
    depth_max: int | None

    def part(self, group: str, index: int) -> "_Place":
        """Return the place of a group's part."""
        return _Place(f"{self.path}.{group}.{index}", f"{self.field}.value.{index}", self.depth + 1, self.depth_max)


def _rule(raw: Any, place: _Place) -> Rule:
    try:
        return _checked(raw, place)
    except InvalidArgument as error:
        if place.depth_max is not None:
            raise
        return _unusable(raw, place, error)


def _unusable(raw: Any, place: _Place, error: InvalidArgument) -> Rule:
    body = raw if isinstance(raw, dict) else {}
    name = str(body.get("condition", "condition"))
    return Rule(place.path, name, body.get("value"), mark=_mark(raw), problem=str(error.named()["problem"]))


def _checked(raw: Any, place: _Place) -> Rule:
    body = _body(raw, place.field)
    name = body["condition"]
    condition = get_condition(name, f"{place.field}.condition")
    options = checked_options(body, name, place.field)
    value = _value(condition, body, place)
    children: tuple[Rule, ...] = ()
    if name in GROUPS:
        children = _parts(name, value, place)
    else:
        options["clear_value"] = _clear_value(condition, body, value, place)
    kept = None if children else value
    return Rule(place.path, name, kept, children=children, mark=_mark(raw), **options)


def _body(raw: Any, field: str) -> Mapping[str, Any]:
    fix = 'Write it as {"condition": "vix_below", "value": 30}.'
    if not isinstance(raw, dict):
        raise InvalidArgument(field, "should be a condition", fix)
    if not isinstance(raw.get("condition"), str) or not raw["condition"]:
        raise InvalidArgument(f"{field}.condition", "is missing, or is no name", fix)
    return raw


def _value(condition: Condition, body: Mapping[str, Any], place: _Place) -> Any:
    if place.depth_max is None and isinstance(condition, Plugin):
        return body.get("value", True)  # another package's code is not asked for what the edge has let in
    try:
        return _asked(condition, body.get("value", True), f"{place.field}.value")
    except InvalidArgument as error:
        if "value" in body:
            raise
        raise InvalidArgument(error.args[0], f"is missing: {condition.name} needs one", error.args[2]) from None


def _asked(condition: Condition, value: Any, field: str) -> Any:
    try:
        return condition.check(value)
    except ValueError as error:
        problem, fix = error.args if len(error.args) == 2 else (str(error), "Correct it.")  # noqa: PLR2004 - as values.py
        raise InvalidArgument(field, f"{condition.name} {problem}", fix) from None


def _parts(name: str, items: list[Any], place: _Place) -> tuple[Rule, ...]:
    if place.depth_max is not None:
        if place.depth >= place.depth_max:
            fix = f"Nest at most {place.depth_max} deep (FNTX_RULE_DEPTH_MAX)."
            raise InvalidArgument(f"{place.field}.value", "is nested too deep", fix)
        if len(items) > CONDITIONS_MAX:
            raise InvalidArgument(f"{place.field}.value", f"has more than {CONDITIONS_MAX} conditions", "Split it.")
    return tuple(_rule(item, place.part(name, index)) for index, item in enumerate(items))


def _clear_value(condition: Condition, body: Mapping[str, Any], value: Any, place: _Place) -> Any:
    clear = body.get("clear_value")
    if clear is None:
        return None
    field = f"{place.field}.clear_value"
    if place.depth_max is None and isinstance(condition, Plugin):
        return clear
    if not condition.ordered or isinstance(value, bool):
        fix = "Leave it out; use for_s or cooldown_s against flapping."
        raise InvalidArgument(field, f"{condition.name} has no clear_value here", fix)
    kept = _asked(condition, clear, field)
    if isinstance(kept, bool) or (kept - value) * condition.ordered > 0:
        side = "at or below" if condition.ordered > 0 else "at or above"
        raise InvalidArgument(field, f"is on the wrong side of the value {value:g}", f"Write one {side} it.")
    return kept


def _mark(raw: Any) -> str:
    return f"{crc32(orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)):08x}"
