"""The checks of a session beside those of its agents, and the table of all of them. Pure: facts in, checks out."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fntx_sessions.automation.health.agents import (
    agent_cpu,
    agent_dead,
    agent_hung,
    agent_memory,
    agent_quarantined,
    agent_quiet,
    remaining,
)
from fntx_sessions.automation.health.doors import agent_refused, agent_slow
from fntx_sessions.automation.health.facts import HealthFacts
from fntx_sessions.automation.health.model import MARKET_DATA, Check, Grade
from fntx_sessions.schemas import SessionStatus, SessionType
from fntx_sessions.settings import Settings

_SAVES_MISSED = 3
_STEP_LATE_S = 10.0


def save_age(facts: HealthFacts, settings: Settings) -> Check:
    """Degraded: three saves were missed. Failed: the last one is `save_overdue_s` older than its interval."""
    late = facts.save_interval_s * _SAVES_MISSED + settings.lease_s
    limit = max(facts.save_interval_s + settings.save_overdue_s, late)
    why = "not saved by the clock in this status"
    if facts.saved_s is None or facts.saved_s <= late:
        why = why if facts.saved_s is None else f"saved {facts.saved_s:.0f} s ago"
        return Check("save_age", Grade.OK, why, "", facts.saved_s, limit)
    why = f"last saved {facts.saved_s:.0f} s ago, it should be every {facts.save_interval_s:g} s"
    grade = Grade.FAILED if facts.saved_s > limit else Grade.DEGRADED
    fix = "`fntx validate ID`; `fntx doctor` says whether saves are made at all"
    return Check("save_age", grade, why, fix, round(facts.saved_s, 1), limit)


def state_valid(facts: HealthFacts, _settings: Settings) -> Check:
    """Failed: what an agent reported since the last good save cannot be saved."""
    if facts.invalid is None:
        return Check("state_valid", Grade.OK, "what was reported last can be saved")
    why = f"since the last good save its state is invalid: {facts.invalid}"
    return Check("state_valid", Grade.FAILED, why, "`fntx validate ID`; correct the agent that reports it")


def error_rate(facts: HealthFacts, settings: Settings) -> Check:
    """Degraded: more than half of `error_rate_max_fraction`. Failed: more than that."""
    found, limit = _number(facts.measures, "error_rate"), settings.error_rate_max_fraction
    if found is None:
        return Check("error_rate", Grade.OK, "too few steps to tell", limit=limit)
    why = f"{found:.0%} of steps and broker calls failed"
    grade = Grade.FAILED if found > limit else Grade.DEGRADED if found > limit / 2 else Grade.OK
    fix = "`fntx events ID` names them" if grade is not Grade.OK else ""
    return Check("error_rate", grade, why, fix, found, limit)


def decision_latency(facts: HealthFacts, settings: Settings) -> Check:
    """Degraded: the median from quote to order intent is above `decision_latency_max_ms`."""
    found, limit = _number(facts.measures, "decision_latency_ms"), settings.decision_latency_max_ms
    if found is None or found <= limit:
        why = "no decision yet" if found is None else f"{found:.0f} ms from quote to intent"
        return Check("decision_latency", Grade.OK, why, "", found, limit)
    why = f"{found:.0f} ms from quote to intent, above {limit:.0f} ms"
    return Check("decision_latency", Grade.DEGRADED, why, "`fntx health`: is a worker at its limit?", found, limit)


def worker(facts: HealthFacts, settings: Settings) -> Check:
    """Degraded: the worker that steps it takes more memory or processor time than it may."""
    host = facts.host
    if host is None:
        return Check("worker", Grade.OK, "no worker has it")
    limit, busy = settings.worker_memory_max_bytes, settings.worker_cpu_max_fraction
    memory, cpu = host.memory_bytes or 0, host.cpu_fraction or 0.0
    why = f"{host.host_id}: {memory / 1e6:.0f} MB, {cpu:.0%} of its machine"
    if memory > limit or cpu > busy:
        fix = "start more agents workers; if its memory grows, restart it"
        return Check("worker", Grade.DEGRADED, why, fix, memory, limit, host.host_id)
    return Check("worker", Grade.OK, why, "", memory, limit, host.host_id)


def rules_data(facts: HealthFacts, settings: Settings) -> Check:
    """Degraded: a stop rule is without data. Failed: it has been so for `rule_data_missing_s`."""
    found, limit = facts.rules_blind_s, settings.rule_data_missing_s
    if found is None:
        return Check("rules_data", Grade.OK, "its stop rules have data, or there are none", limit=limit)
    grade = Grade.FAILED if found > limit else Grade.DEGRADED
    why = f"a stop rule has been without data for {found:.0f} s"
    return Check("rules_data", grade, why, "`fntx rules explain ID` names the data", round(found, 1), limit)


def calendar(facts: HealthFacts, _settings: Settings) -> Check:
    """Failed: its exchange calendar cannot be read, so that no clock rule and no flat-by can be relied on."""
    if facts.calendar_problem is None:
        return Check("calendar", Grade.OK, f"{facts.calendar} can be read")
    why = f"calendar {facts.calendar} cannot be read: {facts.calendar_problem}"
    return Check("calendar", Grade.FAILED, why, "`fntx doctor`; stop it by hand before the close: `fntx stop ID`")


def market_data(facts: HealthFacts, settings: Settings) -> Check:
    """Degraded: the published market is older than `quote_max_age_s`.

    Failed: than `quote_stale_suspend_s`, missing, or dated in the future beyond `market_clock_skew_s`. Asked of ACTIVE
    sessions on that feed, while options trade.
    """
    fresh, limit = settings.quote_max_age_s, settings.quote_stale_suspend_s
    fix = "look at the service that publishes the market"
    if facts.market_missing:
        return Check(
            "market_data", Grade.FAILED, f"no market was published to its feed {facts.feed!r}", fix, None, limit
        )
    if facts.market_s is not None and facts.market_ahead_s > settings.market_clock_skew_s:
        why = f"the published market is dated {facts.market_ahead_s:.0f} s in the future: it opens nothing"
        fix = "set the clock of the service that publishes it (NTP)"
        return Check("market_data", Grade.FAILED, why, fix, -round(facts.market_ahead_s, 1), limit)
    if facts.market_s is None or facts.market_s <= fresh:
        why = "it needs none now" if facts.market_s is None else f"{facts.market_s:.0f} s old"
        return Check("market_data", Grade.OK, why, "", facts.market_s, limit)
    grade = Grade.FAILED if facts.market_s > limit else Grade.DEGRADED
    why = f"the published market is {facts.market_s:.0f} s old, it opens nothing after {fresh:g} s"
    return Check("market_data", grade, why, fix, round(facts.market_s, 1), limit)


def step_overdue(facts: HealthFacts, settings: Settings) -> Check:
    """Degraded: its next step is 10 s late. Failed: `step_overdue_s`. A backtest waits for its turn."""
    found, limit = facts.overdue_s, settings.step_overdue_s
    if found is None or found <= _STEP_LATE_S or facts.session_type is SessionType.BACKTEST:
        return Check("step_overdue", Grade.OK, "steps come in time", limit=limit)
    grade = Grade.FAILED if found > limit else Grade.DEGRADED
    why = f"its next step is {found:.0f} s late: no exit runs meanwhile"
    return Check("step_overdue", grade, why, "`fntx doctor`; start more agents workers", round(found, 1), limit)


def standing(facts: HealthFacts, settings: Settings) -> Check:
    """Degraded: SUSPENDED, with the cause, and whether it is recovered by itself. Failed: it waits for a person."""
    if facts.requires_action:
        return Check("standing", Grade.FAILED, f"it waits for a person: {facts.requires_action}", "`fntx show ID`")
    if facts.status is SessionStatus.ERROR:
        return Check("standing", Grade.FAILED, "it is in ERROR", "`fntx show ID`, then `fntx plan ID`")
    if facts.status is not SessionStatus.SUSPENDED:
        return Check("standing", Grade.OK, f"{facts.status.value}, nobody is needed")
    since = f"SUSPENDED for {facts.in_status_s:.0f} s because of: {facts.suspended_for or 'no reason was given'}"
    if facts.healing:
        return _healing(facts, settings, since)
    why = f"{since}. Nothing recovers it by itself"
    return Check("standing", Grade.DEGRADED, why, "see to that, then `fntx recover ID`")


def _healing(facts: HealthFacts, settings: Settings, since: str) -> Check:
    """Tell what a recovery waits for, and who has to see to it: looking again is no recovery."""
    due = f"{facts.next_recovery_at:%H:%M:%S} UTC" if facts.next_recovery_at else "at once"
    left = remaining(facts, facts.causes, settings)
    tried = f"recovered {facts.attempts} times lately"
    if not left:
        return Check("standing", Grade.DEGRADED, f"{since}; {tried}, next at {due}", "nothing: it recovers by itself")
    why = f"{since}. Not recovered while this remains: {left}; {tried}, looked at again at {due}"
    return Check("standing", Grade.DEGRADED, why, _mending(facts, left))


def _mending(facts: HealthFacts, left: str) -> str:
    if facts.unseen:
        return "`fntx doctor`: what to do about Redis"
    late = [one.name for one in facts.agents if not one.hosted and one.name in left]
    if late:
        return f"restart the service of {', '.join(late)}; the rest goes by itself"
    if MARKET_DATA in facts.causes:
        return "look at the service that publishes the market, and its clock; the rest goes by itself"
    return "nothing: a step that hangs is killed by itself; `fntx health` names its worker"


# In the order they are shown; docs/operations.md has them, tested against this.
CHECKS: tuple[Callable[[HealthFacts, Settings], Check], ...] = (
    agent_dead, agent_hung, agent_quiet, agent_quarantined, save_age, state_valid, rules_data, step_overdue, error_rate,
    decision_latency, market_data, calendar, agent_slow, agent_refused, agent_memory, agent_cpu, worker, standing,
)  # fmt: skip
NAMES = tuple(check.__name__ for check in CHECKS)


def judge(facts: HealthFacts, settings: Settings) -> list[Check]:
    """Return every check of a session, in the order of `CHECKS`."""
    found = [check(facts, settings) for check in CHECKS]
    return [_unseen(check) for check in found] if facts.unseen else found


# What is known of these in Postgres counts; without Redis it is not enough to call them well.
_OF_REDIS = frozenset(
    {"agent_dead", "agent_hung", "agent_quiet", "agent_quarantined", "agent_memory", "agent_slow", "agent_refused"}
    | {"market_data"}
)


def _unseen(check: Check) -> Check:
    if check.name not in _OF_REDIS or check.grade is not Grade.OK:
        return check
    return replace(
        check,
        grade=Grade.DEGRADED,
        reason="not seen: Redis is out of reach, or what it holds cannot be read",
        fix="`fntx doctor`",
    )


def _number(measures: Mapping[str, Any], name: str) -> float | None:
    """Return a measure as a number, None where it is not known or no number."""
    found = measures.get(name)
    return float(found) if isinstance(found, int | float) else None
