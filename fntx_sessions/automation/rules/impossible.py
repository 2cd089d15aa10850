"""Rules that could never come true: refused where they are written, since they would silently do nothing."""

from collections.abc import Iterable, Iterator
from typing import Any

from fntx_sessions.automation.rules.model import Rule, RuleSets
from fntx_sessions.exceptions import InvalidArgument

# (holds above its value, holds below its value): between them there must be something.
_PAIRS = (
    ("time_after", "time_before"),
    ("vix_above", "vix_below"),
    ("spy_change_above", "spy_change_below"),
)
_ONE_OF = ("day_of_week", "market_regime", "liquidity_status")


def check_possible(sets: RuleSets, field: str) -> None:
    """Raise InvalidArgument where conditions that must hold together cannot, or a start rule waits for a start."""
    for name in ("start", "resume"):
        rules = getattr(sets, name)
        _check_together(rules, field)
    for name in ("start", "stop", "pause", "resume"):
        for group in _groups(getattr(sets, name)):
            if group.condition == "all_of":
                _check_together(group.children, field)
    for rule in required(sets.start):
        if rule.condition == "duration_above":
            problem = "never holds here: a session that has not started lasts no time"
            raise InvalidArgument(field_of(rule, field), problem, "Take it out of the start rules.")


def required(rules: Iterable[Rule]) -> Iterator[Rule]:
    """Yield the conditions that must all hold, those inside of all_of included."""
    for rule in rules:
        if rule.condition == "all_of":
            yield from required(rule.children)
        else:
            yield rule


def _groups(rules: Iterable[Rule]) -> Iterator[Rule]:
    for rule in rules:
        if rule.children:
            yield rule
            yield from _groups(rule.children)


def field_of(rule: Rule, field: str) -> str:
    """Return the path of a rule's value in what was written: stop.0.any_of.1 is auto_stop_conditions.0.value.1."""
    name, *rest = rule.path.split(".")
    steps = ["value" if not step.isdigit() else step for step in rest]
    return ".".join([field, f"auto_{name}_conditions", *steps, "value"])


def _check_together(rules: Iterable[Rule], field: str) -> None:
    flat = list(required(rules))
    for above, below in _PAIRS:
        _check_pair(_of(flat, above), _of(flat, below), field)
    for condition in _ONE_OF:
        _check_common(_of(flat, condition), field)


def _of(rules: Iterable[Rule], condition: str) -> list[Rule]:
    return [rule for rule in rules if rule.condition == condition]


def _check_pair(above: list[Rule], below: list[Rule], field: str) -> None:
    for low in above:
        for high in below:
            if low.value >= high.value:
                pair = f"{low.condition} {_shown(low.value)} and {high.condition} {_shown(high.value)}"
                fix = f"Give {high.condition} the larger value, or put them in an any_of."
                raise InvalidArgument(field_of(high, field), f"{pair} never hold together", fix)


def _check_common(rules: list[Rule], field: str) -> None:
    if len(rules) > 1 and not set.intersection(*(set(rule.value) for rule in rules)):
        problem = f"has no name in common with the other {rules[-1].condition} that must hold with it"
        raise InvalidArgument(field_of(rules[-1], field), problem, "Write one list, or put them in an any_of.")


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
