"""Rules that could never come true: refused where they are written, since they would silently do nothing.

A table of what excludes each other, no prover: what it does not know is taken.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from fntx_sessions.automation.rules.conditions import LEAVES
from fntx_sessions.automation.rules.model import KEYS, Rule, RuleSets
from fntx_sessions.exceptions import InvalidArgument

# (holds above its value, holds below its value): between them there must be something.
_PAIRS = (
    ("time_after", "time_before"),
    ("vix_above", "vix_below"),
    ("spy_change_above", "spy_change_below"),
)
_ONE_OF = ("day_of_week", "market_regime", "liquidity_status")
_YES_NO = ("market_open", "market_close")
# Of a session that has not started these are not known, so that no rule that needs one is ever met.
_AFTER_A_START = (
    "duration_above",
    "position_count_above",
    "drawdown_above",
    "error_rate_above",
    "decision_latency_above",
)
# With such liquidity the exchange is halted, or its quotes are not fresh: market_open is false.
_NOT_OPEN = frozenset({"stale", "halted"})
_APART = "Take one of them out, or put them in an any_of."


def check_possible(sets: RuleSets, field: str) -> None:
    """Raise InvalidArgument where conditions that must hold together cannot, or a start rule waits for a start."""
    for rules in together(sets):
        _check_together(rules, field)
    _check_start(sets.start, field)


def together(sets: RuleSets) -> Iterator[list[Rule]]:
    """Yield the conditions that must all hold at once: those of start, of resume, and of each all_of anywhere."""
    yield list(required(sets.start))
    yield list(required(sets.resume))
    for name in KEYS:
        for group in _groups(getattr(sets, name)):
            if group.condition == "all_of":
                yield list(required(group.children))


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
    return ".".join([field, KEYS[name], *steps, "value"])


def _check_together(flat: list[Rule], field: str) -> None:
    for above, below in _PAIRS:
        _check_pair(_of(flat, above), _of(flat, below), field)
    for condition in _ONE_OF:
        _check_common(_of(flat, condition), field)
    for condition in _YES_NO:
        _check_one_value(_of(flat, condition), field)
    for group in _of(flat, "none_of"):
        _check_none(group, flat, field)
    if any(rule.value is True and rule.max_age_s is None for rule in _of(flat, "market_open")):
        _check_liquidity(_of(flat, "liquidity_status"), field)


def _of(rules: Iterable[Rule], condition: str) -> list[Rule]:
    return [rule for rule in rules if rule.condition == condition]


def _check_pair(above: list[Rule], below: list[Rule], field: str) -> None:
    for low in above:
        for high in below:
            if low.value >= high.value:
                fix = f"Give {high.condition} the larger value, or put them in an any_of."
                raise InvalidArgument(field_of(high, field), _never(low, high), fix)


def _check_common(rules: list[Rule], field: str) -> None:
    if len(rules) > 1 and not set.intersection(*(set(rule.value) for rule in rules)):
        problem = f"has no name in common with the other {rules[-1].condition} that must hold with it"
        raise InvalidArgument(field_of(rules[-1], field), problem, "Write one list, or put them in an any_of.")


def _check_one_value(rules: list[Rule], field: str) -> None:
    for rule in rules:
        if rule.value != rules[0].value:
            raise InvalidArgument(field_of(rule, field), _never(rules[0], rule), _APART)


def _check_liquidity(rules: list[Rule], field: str) -> None:
    for rule in rules:
        if _NOT_OPEN.issuperset(rule.value):
            problem = f"never holds together with market_open: it needs fresh quotes, not {_shown(rule.value)} ones"
            raise InvalidArgument(field_of(rule, field), problem, _APART)


def _check_none(group: Rule, flat: list[Rule], field: str) -> None:
    for part in group.children:
        for rule in flat:
            if _implies(rule, part):
                problem = f"{_told(rule)} must hold, and none_of has {_told(part)}: they exclude each other"
                raise InvalidArgument(field_of(part, field), problem, "Take one of the two out.")


def _implies(rule: Rule, part: Rule) -> bool:
    """Tell whether a part of none_of is met whenever a rule is that must hold beside it."""
    if rule.condition != part.condition or rule.condition not in LEAVES:
        return False
    if rule.clear_value is not None or part.for_s or part.cooldown_s:
        return False
    order = LEAVES[rule.condition].ordered
    if isinstance(rule.value, list):
        return set(rule.value) <= set(part.value)
    if not order or isinstance(rule.value, bool) or isinstance(part.value, bool):
        return bool(rule.value == part.value)
    return bool((rule.value - part.value) * order >= 0)


def _check_start(rules: tuple[Rule, ...], field: str) -> None:
    for rule in rules:
        found = _before_its_time(rule)
        if found is not None:
            problem = "never holds here: a session that has not started lasts no time, and has nothing to look at"
            raise InvalidArgument(field_of(found, field), problem, "Take it out of the start rules.")
    flat = list(required(rules))
    opens = [rule for rule in _of(flat, "market_open") if rule.value is True]
    for closed in _of(flat, "market_close"):
        if opens and closed.value is True:
            problem = "never holds together with market_open before a start: it means that today's close has passed"
            raise InvalidArgument(field_of(closed, field), problem, "Take it out of the start rules.")
    for loss in flat:
        if loss.condition == "daily_loss_exceeded" and loss.value is True:
            problem = "starts nothing: a loss limit that has fired refuses every start of that day"
            raise InvalidArgument(field_of(loss, field), problem, "Take it out of the start rules.")


def _before_its_time(rule: Rule) -> Rule | None:
    """Return the condition for want of which a rule is never met before a start, None where it can be."""
    if rule.condition in _AFTER_A_START:
        return rule
    found = [_before_its_time(part) for part in rule.children]
    if rule.condition == "any_of" and None in found:
        return None
    return next((one for one in found if one is not None), None)


def _never(first: Rule, second: Rule) -> str:
    return f"{_told(first)} and {_told(second)} never hold together"


def _told(rule: Rule) -> str:
    return f"{rule.condition} {_shown(rule.value)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return " or ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
