"""From one rule and the facts to its truth: true, false or not known; held how long; and a sentence that says so."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any

from fntx_sessions.automation.rules.conditions import GROUPS, LEAVES, Builtin
from fntx_sessions.automation.rules.conditions.base import MARKET, SESSION, Threshold
from fntx_sessions.automation.rules.conditions.hours import data_expected
from fntx_sessions.automation.rules.model import Facts, Reading, Rule, Truth
from fntx_sessions.automation.rules.plugins import Plugin
from fntx_sessions.automation.rules.registry import known_conditions
from fntx_sessions.schemas import SessionStatus
from fntx_sessions.settings import Settings

Entry = Mapping[str, Any]
Three = bool | None
_PROTECTING = ("stop.", "pause.")  # nearing what starts or resumes a session is no danger


@dataclass(slots=True)
class Look:
    """One evaluation under way. was, kept: what is remembered by path, before and after. missing: no usable data."""

    facts: Facts
    settings: Settings
    was: Mapping[str, Entry]
    now_text: str
    kept: dict[str, Entry] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    warnings: list[tuple[str, str]] = field(default_factory=list)


def judge(rule: Rule, look: Look) -> Truth:
    """Return how a rule stands now, and remember it."""
    was = look.was.get(rule.path)
    if was is not None and was.get("mark") != rule.mark:
        was = None
    if rule.problem:
        look.missing.add(rule.path)
        return _remembered(rule, look, was, Reading(None, note=rule.problem), None, f"{rule.condition}: {rule.problem}")
    if rule.children:
        return _group(rule, look, was)
    return _leaf(rule, look, was)


def leaves(rule: Rule) -> Iterator[Rule]:
    """Yield the conditions of a rule that are no groups."""
    if not rule.children:
        yield rule
    for child in rule.children:
        yield from leaves(child)


def _group(rule: Rule, look: Look, was: Entry | None) -> Truth:
    parts = tuple(judge(child, look) for child in rule.children)
    holds = GROUPS[rule.condition].combine(None if part.holds is None else part.met for part in parts)
    telling = [part.why for part in parts if _tells(rule.condition, part, holds)] or [part.why for part in parts]
    why = f"{rule.condition} ({'; '.join(telling)})"
    return _remembered(rule, look, was, Reading(None), holds, why, parts)


def _tells(group: str, part: Truth, holds: Three) -> bool:
    """Tell whether a part made its group what it is, so that it belongs into the group's sentence."""
    if holds is None:
        return part.holds is None
    if group == "all_of":
        return holds or not part.met
    return part.met or holds is (group == "none_of")


def _leaf(rule: Rule, look: Look, was: Entry | None) -> Truth:
    condition = LEAVES.get(rule.condition)
    if condition is None:
        return _foreign(rule, look, was)
    reading = condition.read_facts(look.facts, rule.value)
    limit = rule.value if reading.limit is None else reading.limit
    unknown = "" if reading.decided is not None else _unknown(rule, reading, look.settings)
    if unknown:
        return _not_known(rule, look, was, reading, f"{condition.label} not known: {unknown}")
    holds = reading.decided
    if holds is None:
        holds = condition.holds(reading.value, limit) or (
            was is not None and _still(rule, was) and condition.holds(reading.value, rule.clear_value)
        )
        if condition.warned and not holds:
            _warn(rule, look, condition, reading, limit)
    return _remembered(rule, look, was, reading, holds, _sentence(rule, condition, reading, limit, holds), limit=limit)


def _foreign(rule: Rule, look: Look, was: Entry | None) -> Truth:
    plugin = known_conditions().get(rule.condition)
    if not isinstance(plugin, Plugin):
        return _not_known(rule, look, was, Reading(None), f"{rule.condition} is not installed here")
    found = plugin.look(look.facts, rule.value, rule.clear_value if was and _still(rule, was) else None)
    unknown = found.problem
    if not unknown and found.reading.decided is None:
        unknown = _unknown(rule, found.reading, look.settings)
    if unknown:
        return _not_known(rule, look, was, found.reading, f"{rule.condition} not known: {unknown}")
    told = found.reading.note or f"{rule.condition} {found.reading.value} (rule: {rule.value})"
    return _remembered(rule, look, was, found.reading, found.holds, told + _aged(found.reading, "data"))


def _still(rule: Rule, was: Entry) -> bool:
    return rule.clear_value is not None and bool(was.get("held"))


def _unknown(rule: Rule, reading: Reading, settings: Settings) -> str:
    """Return why a reading is of no use, empty where it is of use."""
    value, age = reading.value, reading.age_s
    if value is None:
        return reading.note or "no value came"
    if isinstance(value, float) and not isfinite(value):
        return "the value is no finite number"
    if age is None:
        return ""
    limit = rule.max_age_s or settings.rule_data_max_age_s
    if not -limit <= age <= limit:
        return f"data {age:.0f} s old, more than {limit:g} s" if age > 0 else f"data {-age:.0f} s from the future"
    return f"data {age:.0f} s old, too old to trade on" if reading.stale and rule.max_age_s is None else ""


def _not_known(rule: Rule, look: Look, was: Entry | None, reading: Reading, why: str) -> Truth:
    if not reading.expected and _should_be_there(rule, reading, look.facts):
        look.missing.add(rule.path)
    return _remembered(rule, look, was, reading, None, why)


def _should_be_there(rule: Rule, reading: Reading, facts: Facts) -> bool:
    """Tell whether a rule lacks what somebody owes it: nobody quotes at night, nothing reports before a start."""
    source = _source(rule)
    if source == MARKET:
        return data_expected(facts)
    silent = facts.unrecorded or facts.status is SessionStatus.INITIALIZING
    return not (source == SESSION and silent and reading.value is None)


def _source(rule: Rule) -> str:
    condition = LEAVES.get(rule.condition)
    return condition.source if condition else ""


def _sentence(rule: Rule, condition: Builtin, reading: Reading, limit: Any, holds: Three) -> str:
    beyond = reading.decided is not None or condition.holds(reading.value, limit)
    told = reading.note or condition.say(reading.value, limit, holds=beyond)
    told += _aged(reading, "quote" if condition.source == MARKET else "report")
    if holds and not beyond and isinstance(condition, Threshold):
        told += f", held until {condition.bound(rule.clear_value, holds=False)}"
    return told


def _aged(reading: Reading, what: str) -> str:
    return "" if reading.age_s is None else f", {what} {max(reading.age_s, 0.0):.0f} s old"


def _warn(rule: Rule, look: Look, condition: Builtin, reading: Reading, limit: float) -> None:
    nearly = limit > 0 and reading.value >= look.settings.loss_warning_fraction * limit
    if nearly and rule.path.startswith(_PROTECTING):
        told = condition.say(reading.value, limit, holds=False)
        look.warnings.append((f"{rule.condition}:{rule.value}", f"{told}: {reading.value / limit:.0%} of the limit"))


def _remembered(
    rule: Rule,
    look: Look,
    was: Entry | None,
    reading: Reading,
    holds: Three,
    why: str,
    children: tuple[Truth, ...] = (),
    limit: Any = None,
) -> Truth:
    """Return the truth, and keep since when it is so; a clock that went back starts waiting times anew, at most."""
    entry, since = _entry(rule, look, was, holds)
    look.kept[rule.path] = entry
    met, waits = holds is True, ""
    if met and (rule.for_s or rule.cooldown_s):
        waits = _waits(rule, look.facts.now, since, entry.get("fired"))
        met = not waits
    limit = rule.value if limit is None else limit
    return Truth(
        rule.path, rule.condition, reading.value, limit, reading.age_s, holds, met, since, why + waits, children
    )


def _entry(rule: Rule, look: Look, was: Entry | None, holds: Three) -> tuple[Entry, datetime]:
    now = look.facts.now
    if was is not None and was.get("holds", was) is holds:
        since = datetime.fromisoformat(was["since"])
        if since <= now and was.get("fired", "") <= look.now_text:
            return was, since
    entry = {"mark": rule.mark, "holds": holds, "since": look.now_text}
    if was is not None and "fired" in was:
        entry["fired"] = min(was["fired"], look.now_text)
    if holds if holds is not None or was is None else was.get("held"):
        entry["held"] = True
    if was is not None and was.get("holds", was) is holds:
        entry["since"] = min(was["since"], look.now_text)
    return entry, datetime.fromisoformat(str(entry["since"]))


def _waits(rule: Rule, now: datetime, since: datetime, fired: str | None) -> str:
    """Return what a rule that holds still waits for, in words; empty: nothing."""
    held_s = (now - since).total_seconds()
    if held_s < rule.for_s:
        return f", for {held_s:.0f} of {rule.for_s:g} s"
    if fired is None or not rule.cooldown_s:
        return ""
    passed_s = (now - datetime.fromisoformat(fired)).total_seconds()
    return f", fired {passed_s:.0f} s ago, not again before {rule.cooldown_s:g} s" if passed_s < rule.cooldown_s else ""
