"""What a rehearsal came to, as JSON: a day, a firing and a rule at a time."""

from collections.abc import Iterable
from typing import Any

from fntx_sessions.automation.rules.model import Action
from fntx_sessions.automation.rules.moments import times
from fntx_sessions.automation.rules.rehearse import Course, DayReport, Firing

Json = dict[str, Any]
# Of one day; rules that flap are seen to by then, and counts hold all of them.
MOST_FIRINGS = 200
_ORDER = {action.value: number for number, action in enumerate(Action)}


def report(course: Course, over: str, days: list[DayReport], notes: Iterable[str] = (), **more: Any) -> Json:
    """Return a rehearsal as JSON: each day with its firings, each rule with when it was met."""
    return {
        "over": over,
        "calendar": course.calendar.name,
        "extended": course.extended,
        "days": [_day_json(course, day) for day in days],
        "rules": _rules_json(course, days),
        "notes": list(notes),
        **more,
    }


def _day_json(course: Course, day: DayReport) -> Json:
    return {
        "day": day.day.isoformat(),
        "half_day": day.half_day,
        "status": day.status.value,
        "moments": day.moments,
        "idle_why": day.idle_why,
        "never_known": sorted(path for path, sight in day.sights.items() if sight.never_known),
        "firings": [_firing_json(course, firing) for firing in day.firings[:MOST_FIRINGS]],
        "more_firings": max(len(day.firings) - MOST_FIRINGS, 0),
        "counts": {action.value: day.count(action) for action in Action},
    }


def _firing_json(course: Course, firing: Firing) -> Json:
    return {
        **times(course.calendar, firing.at),
        "action": firing.action.value,
        "by": firing.by,
        "why": firing.why,
        "rules": list(firing.paths),
    }


def _rules_json(course: Course, days: list[DayReport]) -> list[Json]:
    paths = sorted({path for day in days for path in day.sights}, key=_in_order)
    return [_rule_json(course, path, [day for day in days if path in day.sights]) for path in paths]


def _in_order(path: str) -> tuple[int, int]:
    name, _, number = path.partition(".")
    return _ORDER[name], int(number)


def _rule_json(course: Course, path: str, days: list[DayReport]) -> Json:
    sights = [(day, day.sights[path]) for day in days]
    met = [(day, sight) for day, sight in sights if sight.first_met is not None]
    truth = sights[0][1].truth
    return {
        "path": path,
        "condition": truth.condition,
        "limit": truth.limit,
        "days_looked": len(sights),
        "days_met": len(met),
        "days_never_known": sum(sight.never_known for _, sight in sights),
        "unknown_why": next((sight.truth.why for _, sight in sights if sight.never_known), None),
        "met": [
            {"day": day.day.isoformat(), "why": sight.why_met, **times(course.calendar, sight.first_met)}
            for day, sight in met
            if sight.first_met is not None
        ],
    }
