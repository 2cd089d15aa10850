"""Checks of agents of other services at their doors: one that does not read, and one whose reports are refused."""

from fntx_sessions.automation.health.facts import AgentFacts, HealthFacts
from fntx_sessions.automation.health.model import Check, Grade
from fntx_sessions.settings import Settings
from fntx_sessions.state.agent_doors import Seen

_STRANGERS = "somebody who has not joined"


def agent_slow(facts: HealthFacts, settings: Settings) -> Check:
    """Degraded: an agent that joined has left an event of the session unacknowledged for `agent_slow_s`."""
    limit = settings.agent_slow_s
    slow = [(one, seen) for one, seen in _joined(facts) if (seen.waiting_s or 0.0) >= limit]
    if not slow:
        return Check("agent_slow", Grade.OK, "every agent that joined reads its events", limit=limit)
    told = ", ".join(f"{one.name}: {seen.behind} unread, the first for {seen.waiting_s:.0f} s" for one, seen in slow)
    most = max(seen.waiting_s or 0.0 for _, seen in slow)
    fix = "look at that agent's service: it acknowledges what it has read with its reports; `fntx agents ls ID`"
    return Check("agent_slow", Grade.DEGRADED, told, fix, most, limit, _names(slow))


def agent_refused(facts: HealthFacts, settings: Settings) -> Check:
    """Degraded: a report was refused since about the last look, of an agent that joined or of a stranger, and why."""
    agents = [(one.name, seen) for one, seen in _joined(facts)]
    strangers = [] if facts.strangers is None else [(_STRANGERS, facts.strangers)]
    recent = settings.health_interval_s
    late = [(name, one) for name, one in agents + strangers if one.refused_s is not None and one.refused_s <= recent]
    if not late:
        return Check("agent_refused", Grade.OK, "no report was refused of late", "", 0)
    told = ", ".join(f"{name}: {seen.refused_why} {seen.refused_s:.0f} s ago" for name, seen in late)
    count = sum(sum(seen.refused.values()) for _, seen in late)
    fix = "`fntx agents ls ID` counts them by reason; docs/integration.md says what each asks of the agent"
    names = ", ".join(name for name, _ in late)
    return Check("agent_refused", Grade.DEGRADED, f"reports refused: {told}", fix, count, None, names)


def _joined(facts: HealthFacts) -> list[tuple[AgentFacts, Seen]]:
    return [(one, one.seen) for one in facts.agents if one.seen is not None and one.seen.joined]


def _names(found: list[tuple[AgentFacts, Seen]]) -> str:
    return ", ".join(one.name for one, _ in found)
