"""Which of a session's rules would act next: the one that waits, or the nearest of them, in words.

What held is of the last decision that was stored, which is a new one wherever it came out otherwise; how near money and
positions are is of now, and when a clock's rule acts is worked out. Nothing is judged here: `rules.explain` does that.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from fntx_sessions.automation.rules.compile import compile_stored
from fntx_sessions.automation.rules.conditions import LEAVES
from fntx_sessions.automation.rules.conditions.base import OneOf, Threshold, YesNo
from fntx_sessions.automation.rules.conditions.hours import hours_of
from fntx_sessions.automation.rules.model import Rule, RuleSets, SessionFacts
from fntx_sessions.exceptions import verb
from fntx_sessions.schemas import Finite, Hold, Model, SessionStatus, SessionType, Time
from fntx_sessions.trading.calendars import Calendar

S = SessionStatus
Json = dict[str, Any]
# A rule of the clock nears over a trading day, as others near over their limit.
_DAY_S = 6.5 * 3600


class NextRule(Model):
    """What would happen by itself. action: start, stop, pause, resume; None: nothing would, and `what` says why.

    what: the rule in words, without figures. stands: "met", "waits" (it holds, but not for long enough), "unmet" or
    "unknown". share: how near it is, 0-1; None: nobody knows. at: when its clock says so; None: it goes by none.
    """

    action: str | None
    what: str
    stands: str = ""
    share: Finite | None = None
    at: Time | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A session as its rules are shown. now: its own clock."""

    row: Mapping[str, Any]
    calendar: Calendar
    now: datetime
    facts: SessionFacts | None

    @property
    def status(self) -> SessionStatus:
        """Its status."""
        return S(self.row["status"])

    @property
    def truths(self) -> dict[str, Json]:
        """What the last decision found, by path; empty where that was of another status."""
        decision = self.row["decision"]
        if decision is None or decision["status"] != self.row["status"]:
            return {}
        return {one["path"]: one for listed in decision["truths"].values() for one in listed}


def next_rule(standing: Standing) -> NextRule:
    """Return what would happen next, or why nothing would."""
    row, status = standing.row, standing.status
    if row["pending"] is not None:
        return _nothing(f"waits for its {verb(row['pending']['trigger'])} to be finished")
    rules = compile_stored(row["rules"])
    if status is S.INITIALIZING:
        return _all_of("start", rules.start, standing) if rules.start else _nothing("a person starts it")
    if status is S.PAUSED:
        return _paused(rules, standing)
    if status in (S.SUSPENDED, S.ERROR):
        held = standing.facts is not None and standing.facts.position_count
        return _any_of(rules, ("stop",), standing) if held else _nothing("a person recovers it")
    if status is S.ACTIVE:
        return _any_of(rules, ("stop", "pause"), standing)
    return _nothing(status.value)


def _nothing(why: str) -> NextRule:
    return NextRule(action=None, what=why)


def _paused(rules: RuleSets, standing: Standing) -> NextRule:
    stopping = _any_of(rules, ("stop",), standing)
    if stopping.stands in ("met", "waits"):
        return stopping
    holds = set(standing.row["holds"])
    if rules.resume and holds == {Hold.RULE}:
        return _all_of("resume", rules.resume, standing)
    if stopping.action is None:
        return _nothing(f"held by {', '.join(sorted(holds)) or 'nobody'}")
    return stopping


def _all_of(action: str, rules: tuple[Rule, ...], standing: Standing) -> NextRule:
    """Return what has still to come true, where all of it must."""
    if standing.row["halts"]:
        return _nothing("a halt stands")
    looks = [_look(rule, standing) for rule in rules]
    unmet = [(look, rule) for look, rule in zip(looks, rules, strict=True) if look.stands != "met"]
    if not unmet:
        return NextRule(action=action, what=phrase(rules[0]), stands="met", share=1.0)
    look, rule = unmet[0]
    more = f" and {len(unmet) - 1} more" if len(unmet) > 1 else ""
    return NextRule(action=action, what=phrase(rule) + more, stands=look.stands, at=look.at)


def _any_of(rules: RuleSets, names: tuple[str, ...], standing: Standing) -> NextRule:
    """Return the rule that is nearest to acting, where one is enough."""
    found = [(_look(rule, standing), name, rule) for name in names for rule in getattr(rules, name)]
    if not found:
        return _nothing(f"no {' or '.join(names)} rules")
    look, name, rule = max(found, key=lambda one: one[0].nearness)
    return NextRule(action=name, what=phrase(rule), stands=look.stands, share=look.share, at=look.at)


@dataclass(frozen=True, slots=True)
class _Look:
    """One rule as it stands."""

    stands: str
    share: float | None
    at: datetime | None

    @property
    def nearness(self) -> tuple[int, float]:
        """What puts rules in order: those that hold, then the nearest, then those of which nothing is known."""
        return {"met": 2, "waits": 1}.get(self.stands, 0), -1.0 if self.share is None else self.share


def _look(rule: Rule, standing: Standing) -> _Look:
    truth = standing.truths.get(rule.path)
    holds = truth["holds"] if truth else None
    stands = "unknown" if holds is None else "unmet"
    if holds:
        stands = "met" if truth and truth["met"] else "waits"
    at = _moment(rule, standing)
    share = _share(rule, standing, truth) if at is None else _time_share(at, standing.now)
    return _Look(stands, 1.0 if holds else share, at)


def _time_share(at: datetime, now: datetime) -> float:
    return min(max(1 - (at - now).total_seconds() / _DAY_S, 0.0), 1.0)


def _share(rule: Rule, standing: Standing, truth: Json | None) -> float | None:
    """Return how near a threshold is: by what is known of the session now, else by what the decision found."""
    if rule.children:
        known = [share for child in rule.children if (share := _share(child, standing, None)) is not None]
        return (min(known) if rule.condition == "all_of" else max(known)) if known else None
    value, limit = _figure(rule, standing, truth), _limit(rule, standing)
    if value is None or not limit:
        return None
    near = value / limit if _rises(rule) else limit / value if value else 1.0
    return min(max(near, 0.0), 1.0)


def _figure(rule: Rule, standing: Standing, truth: Json | None) -> float | None:
    if rule.condition in _FIGURES:
        found = None if standing.facts is None else _FIGURES[rule.condition](standing.facts)
    else:
        found = (truth or {}).get("value")
    return _number(found)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _rises(rule: Rule) -> bool:
    condition = LEAVES.get(rule.condition)
    return not isinstance(condition, Threshold) or condition.above


def _limit(rule: Rule, standing: Standing) -> float | None:
    if rule.condition == "daily_loss_exceeded" and rule.value is True:
        facts = standing.facts
        return None if facts is None or facts.loss_limit is None else float(facts.loss_limit)
    return _number(rule.value)


def _negated(value: Any) -> float | None:
    return None if value is None else 0.0 - float(value)


_FIGURES: Mapping[str, Any] = {
    "daily_loss_exceeded": lambda facts: _negated(facts.daily_pnl),
    "daily_profit_reached": lambda facts: None if facts.daily_pnl is None else float(facts.daily_pnl),
    "drawdown_above": lambda facts: _negated(facts.drawdown),
    "position_count_above": lambda facts: facts.position_count,
    "error_rate_above": lambda facts: facts.error_rate,
    "decision_latency_above": lambda facts: facts.decision_latency_ms,
}


def _moment(rule: Rule, standing: Standing) -> datetime | None:
    """Return when a rule of the clock comes true today; None: it goes by no clock, or not today any more."""
    if rule.condition not in ("time_after", "market_close", "minutes_to_close_below") or rule.value is False:
        return None
    calendar, now = standing.calendar, standing.now
    if rule.condition == "time_after":
        told = time.fromisoformat(rule.value)
        at = datetime.combine(calendar.local_date(now), told, calendar.zone)
    else:
        extended = standing.row["session_type"] == SessionType.EXTENDED_HOURS
        hours = hours_of(calendar, calendar.day_at(now), extended=extended)
        if hours is None:
            return None
        at = hours[1] - timedelta(minutes=float(rule.value) if rule.condition == "minutes_to_close_below" else 0)
    return at if at > now else None


def phrase(rule: Rule) -> str:
    """Return a rule in words, as when it holds: `daily loss >= $500.00`."""
    if rule.children:
        return f"{rule.condition} ({', '.join(_phrases(rule))})"
    condition = LEAVES.get(rule.condition)
    if rule.condition == "daily_loss_exceeded" and rule.value is True:
        told = "daily loss limit reached"
    elif isinstance(condition, Threshold) and condition.name.startswith("time_"):
        told = f"time {'from' if condition.above else 'before'} {rule.value}"
    elif isinstance(condition, Threshold):
        told = f"{condition.label} {condition.bound(rule.value, holds=True)}"
    elif isinstance(condition, YesNo):
        told = condition.yes if rule.value else condition.no
    elif isinstance(condition, OneOf):
        told = f"{condition.label} {' or '.join(map(str, rule.value))}"
    else:
        told = f"{rule.condition} {rule.value}"
    return f"{told} for {rule.for_s:g} s" if rule.for_s else told


def _phrases(rule: Rule) -> Iterator[str]:
    for child in rule.children:
        yield phrase(child)
