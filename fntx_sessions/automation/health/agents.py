"""Checks of a session's agents: dead, hung, quiet and quarantined are told apart, each agent by its name.

Dead: the worker that steps it is lost, or it is remote and silent for long. Hung: it lives, and its step does not end,
or its own part does not move. Quiet: no heartbeat, though its worker's lease stands.
"""

from collections.abc import Iterable

from fntx_sessions.automation.health.facts import AGENTS_STEP, AgentFacts, HealthFacts
from fntx_sessions.automation.health.model import MARKET_DATA, Check, Grade
from fntx_sessions.schemas import SessionType
from fntx_sessions.settings import Settings

Found = list[tuple[AgentFacts, float]]
_STEPS_MISSED = 3


def agent_dead(facts: HealthFacts, settings: Settings) -> Check:
    """Failed: its worker is lost, a required remote agent silent for `agent_dead_s`. Degraded: an optional one is."""
    limit = settings.agent_dead_s
    if _stepped(facts) and (facts.host.lost_s > 0 if facts.host else not facts.attended):
        return _worker_lost(facts)
    dead = [(one, silent) for one, silent in _silent(facts) if silent >= limit]
    if not dead:
        return Check("agent_dead", Grade.OK, "no agent is dead", limit=limit)
    grade = Grade.FAILED if any(one.required for one, _ in dead) else Grade.DEGRADED
    why = f"no heartbeat from {_listed(dead)}, dead after {limit:g} s"
    return Check("agent_dead", grade, why, "start that agent's service again", _most(dead), limit, _names(dead))


def _worker_lost(facts: HealthFacts) -> Check:
    if facts.host is None:
        why, fix = (
            "no agents worker lives: its agents do not step, only a guard runs exits",
            "start one: `fntx up`, `fntx doctor`",
        )
        return Check("agent_dead", Grade.FAILED, why, fix)
    why = f"worker {facts.host.host_id} is lost, its lease ran out {facts.host.lost_s:.0f} s ago"
    fix = "nothing: within two leases another takes it over; if not: `fntx doctor`"
    return Check("agent_dead", Grade.FAILED, why, fix, round(facts.host.lost_s, 1), 0.0, facts.host.host_id)


def agent_hung(facts: HealthFacts, settings: Settings) -> Check:
    """Failed: a step under way for `hosted_hung_s`; heartbeats go on, and the own part stands still `agent_hung_s`.

    Degraded: it waits behind such a step, an optional agent is hung, or a step of it has hung before.
    """
    limit = settings.hosted_hung_s if facts.hosted else settings.agent_hung_s
    hung = [(one, seconds) for one, seconds in _unmoved(facts, settings) if seconds >= _limit_s(one, settings)]
    if hung:
        grade = Grade.FAILED if any(one.required for one, _ in hung) else Grade.DEGRADED
        why = f"{_listed(hung)} without moving, while it lives; hung after {limit:g} s"
        return Check("agent_hung", grade, why, _HUNG_FIX, _most(hung), limit, _names(hung))
    itself = any(one.stepping_s is not None for one in facts.agents)  # told a little later than its claim grows
    if facts.claimed_s is not None and facts.claimed_s >= limit and not itself:
        why = f"it has waited for {facts.claimed_s:.0f} s behind a step of its worker that does not end"
        return Check("agent_hung", Grade.DEGRADED, why, "`fntx health` names the worker", facts.claimed_s, limit)
    if facts.hangs:
        return _hung_before(facts, settings)
    return Check("agent_hung", Grade.OK, "every agent that lives moves", limit=limit)


def _limit_s(agent: AgentFacts, settings: Settings) -> float:
    return settings.hosted_hung_s if agent.hosted else settings.agent_hung_s


def _hung_before(facts: HealthFacts, settings: Settings) -> Check:
    names = ", ".join(one.name for one in facts.agents if one.hosted and one.failures) or "one of its agents"
    why = f"{names} hung or took its process down, {facts.hangs} times so far; the session is stepped apart from others"
    fix = "read its worker's log, mend the agent; `fntx recover ID` begins a new count"
    return Check("agent_hung", Grade.DEGRADED, why, fix, facts.hangs, settings.agent_failures_max, names)


_HUNG_FIX = (
    "a hosted agent's process is killed by itself after FNTX_STEP_TIME_LIMIT_S; restart a remote agent's service"
)


def agent_quiet(facts: HealthFacts, settings: Settings) -> Check:
    """Degraded: no heartbeat for `agent_quiet_s`, for hosted agents at least three steps, though its worker lives.

    Not those that wait behind the step of their own session that hangs: that one is named.
    """
    limit = max(settings.agent_quiet_s, _STEPS_MISSED * facts.step_interval_s)
    lost = facts.host is not None and facts.host.lost_s > 0
    hosted = [] if lost or facts.session_type is SessionType.BACKTEST else _silent(facts, hosted=True)
    hangs = any(one.stepping_s is not None and one.stepping_s >= settings.agent_hung_s for one in facts.agents)
    quiet = [(one, silent) for one, silent in hosted if silent >= limit and not hangs]
    quiet += [(one, s) for one, s in _silent(facts) if settings.agent_quiet_s <= s < settings.agent_dead_s]
    if not quiet:
        return Check("agent_quiet", Grade.OK, "every agent is heard of", limit=limit)
    why = f"no heartbeat from {_listed(quiet)}"
    return Check(
        "agent_quiet", Grade.DEGRADED, why, "look at its log; `fntx doctor`", _most(quiet), limit, _names(quiet)
    )


def agent_quarantined(facts: HealthFacts, settings: Settings) -> Check:
    """Failed: an agent failed `agent_failures_max` times, or says that it is. Degraded: it failed, and goes on."""
    limit = settings.agent_failures_max
    failing: Found = [(one, one.failures) for one in facts.agents if one.failures or _gave_up(one)]
    out = [(one, count) for one, count in failing if count >= limit or _gave_up(one)]
    if not failing:
        return Check("agent_quarantined", Grade.OK, "no agent failed", "", 0, limit)
    told = ", ".join(f"{one.name} ({count:g} failures)" for one, count in out or failing)
    if out:
        fix = "read `agent_failed` in `fntx events ID`, mend it, then `fntx recover ID`"
        return Check("agent_quarantined", Grade.FAILED, f"quarantined: {told}", fix, _most(out), limit, _names(out))
    why = f"failed, and goes on: {told}; quarantined at {limit}"
    fix = "read `agent_failed` in `fntx events ID`"
    return Check("agent_quarantined", Grade.DEGRADED, why, fix, _most(failing), limit, _names(failing))


def agent_cpu(facts: HealthFacts, settings: Settings) -> Check:
    """Degraded: the last step of a hosted agent took more processor time than `agent_cpu_max_ms`."""
    limit = settings.agent_cpu_max_ms
    measured = [(one, one.cpu_ms) for one in facts.agents if one.cpu_ms is not None]
    over = [(one, spent) for one, spent in measured if spent > limit]
    if over:
        why = f"processor time of a step: {', '.join(f'{one.name} {spent:.0f} ms' for one, spent in over)}"
        fix = "let it do less in a step, or step it less often"
        return Check("agent_cpu", Grade.DEGRADED, why, fix, _most(over), limit, _names(over))
    most = _most(measured) if measured else None
    why = "not measured" if most is None else f"at most {most:.0f} ms of processor time a step"
    return Check("agent_cpu", Grade.OK, why, "", most, limit)


def agent_memory(facts: HealthFacts, settings: Settings) -> Check:
    """Degraded: an agent reports more memory than `agent_memory_max_bytes`, or its state is near `max_part_bytes`."""
    limit, most = settings.agent_memory_max_bytes, settings.max_part_bytes * _NEAR
    large = [
        (one, one.vitals.memory_mb * 1e6) for one in facts.agents if one.vitals and one.vitals.memory_mb is not None
    ]
    over = [(one, size) for one, size in large if size > limit]
    states = [
        (one, float(one.vitals.size_bytes)) for one in facts.agents if one.vitals and one.vitals.size_bytes > most
    ]
    if over:
        why = f"memory of {', '.join(f'{one.name}: {size / 1e6:.0f} MB' for one, size in over)}"
        return Check(
            "agent_memory", Grade.DEGRADED, why, "look for a leak; restart that agent", _most(over), limit, _names(over)
        )
    if states:
        why = f"state of {', '.join(f'{one.name}: {size / 1e6:.1f} MB' for one, size in states)}; more is refused soon"
        fix = "let it keep less, or raise FNTX_MAX_PART_BYTES"
        return Check("agent_memory", Grade.DEGRADED, why, fix, _most(states), most, _names(states))
    return Check("agent_memory", Grade.OK, "memory and state of every agent are within bounds", limit=limit)


_NEAR = 0.8


def _stepped(facts: HealthFacts) -> bool:
    """Tell whether workers have to step the session's agents now."""
    return facts.status in AGENTS_STEP and any(one.hosted for one in facts.agents)


def _silent(facts: HealthFacts, *, hosted: bool = False) -> Found:
    """Return for how long agents were not heard of: at most since the status began, for then all began anew."""
    if facts.status not in AGENTS_STEP:
        return []
    return [
        (one, facts.in_status_s if one.vitals.silent_s is None else min(one.vitals.silent_s, facts.in_status_s))
        for one in facts.agents
        if one.hosted is hosted and one.vitals is not None and (hosted or one.ready or one.required)
    ]


def _unmoved(facts: HealthFacts, settings: Settings) -> Found:
    under_way = [(one, one.stepping_s) for one in facts.agents if one.stepping_s is not None]
    return under_way + [
        (one, min(one.vitals.unmoved_s, facts.in_status_s))
        for one in facts.agents
        if not one.hosted and one.vitals is not None and one.vitals.unmoved_s is not None
        and facts.status in AGENTS_STEP and (one.vitals.silent_s or 0.0) < settings.agent_quiet_s
    ]  # fmt: skip


def remaining(facts: HealthFacts, causes: Iterable[str], settings: Settings) -> str:
    """Return what is still as it was when its session was suspended: agents, or the market; empty: it may be recovered.

    Without Redis nobody can tell, and it remains.
    """
    if facts.unseen:
        return "its agents and the market, for Redis is out of reach"
    agents = _agents_left(facts, causes, settings)
    market = _market_left(facts, settings) if MARKET_DATA in causes else ""
    return "; ".join(filter(None, (agents, market)))


def _market_left(facts: HealthFacts, settings: Settings) -> str:
    if facts.feed_s is None:
        return "no market is published, or options are shut"
    if facts.market_ahead_s > settings.market_clock_skew_s:
        return f"the market is dated {facts.market_ahead_s:.0f} s in the future"
    return f"the market is {facts.feed_s:.0f} s old" if facts.feed_s > settings.quote_max_age_s else ""


def _agents_left(facts: HealthFacts, causes: Iterable[str], settings: Settings) -> str:
    left: Found = []
    if "agent_dead" in causes:
        left += [(one, s) for one, s in _raw_silence(facts) if s >= settings.agent_quiet_s]
    if "agent_hung" in causes:
        left += [(one, one.stepping_s) for one in facts.agents if one.stepping_s is not None]
        left += [
            (one, one.vitals.unmoved_s or 0.0)
            for one, silent in _raw_silence(facts)
            if one.vitals and silent < settings.agent_quiet_s and (one.vitals.unmoved_s or 0.0) >= settings.agent_hung_s
        ]
    return _listed(left)


def _raw_silence(facts: HealthFacts) -> Found:
    return [
        (one, facts.in_status_s if one.vitals.silent_s is None else one.vitals.silent_s)
        for one in facts.agents
        if not one.hosted and one.required and one.vitals is not None
    ]


def _gave_up(agent: AgentFacts) -> bool:
    return agent.vitals is not None and agent.vitals.status in ("quarantined", "failed")


def _listed(found: Found) -> str:
    return ", ".join(f"{one.name} for {seconds:.0f} s" for one, seconds in found)


def _names(found: Found) -> str:
    return ", ".join(one.name for one, _ in found)


def _most(found: Iterable[tuple[AgentFacts, float]]) -> float:
    return round(max(value for _, value in found), 1)
