"""A session's agents: when each was heard of last and how it does; and every check of the session's health."""

from collections.abc import Sequence
from typing import Any

import orjson

from fntx_sessions.agents.roster import RosterArguments, RosterEntry, list_agents
from fntx_sessions.automation.health.agents import agent_dead
from fntx_sessions.automation.health.facts import AGENTS_STEP, AgentFacts, HealthFacts
from fntx_sessions.automation.health.looking import look
from fntx_sessions.automation.health.model import Check, Grade, worst, worst_first
from fntx_sessions.automation.health.rows import Looked
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.rows import Row, unknown
from fntx_sessions.lifecycle.reads.state import read_state
from fntx_sessions.monitoring.flower.lately import Lately
from fntx_sessions.monitoring.flower.page import Asked, Draw
from fntx_sessions.monitoring.flower.session_page import SessionPage
from fntx_sessions.monitoring.flower.tables import table
from fntx_sessions.monitoring.flower.views import Part, Parts
from fntx_sessions.monitoring.flower.words import NONE
from fntx_sessions.state.parts import agent_part
from fntx_sessions.state.vitals import Vitals

# What an agent says of itself: under the names of its own part, and under those of its vitals.
_SAID = {
    "status": "status", "memory_usage_mb": "memory_mb", "errors_encountered": "errors",
    "processing_time_ms": "latency_ms", "actions_taken": "actions", "decisions_made": "decisions",
}  # fmt: skip
_NOT_SEEN = "not seen"


class Agents(SessionPage):
    """Who they are and how they do."""

    template = "agents.html"
    here = "agents"

    def __init__(self) -> None:
        self._saved: Lately[dict[str, dict[str, Any]]] = Lately()

    def body(self, desk: Desk, asked: Asked, draw: Draw, head: Row) -> Parts:
        """Draw the agents, the worker that steps them, and every check."""
        _ = asked
        found = look(desk, [head["session_id"]])
        if not found.looked:
            raise unknown(head["session_id"])
        looked, facts = found.looked[0], found.looked[0].facts
        roster = list_agents(desk, RosterArguments(session_id=head["session_id"]))
        saved = {} if _speaks(facts) else self._as_saved(desk, head)
        rows = [_row(one, looked, saved) for one in roster]
        return {
            "agents": table(
                draw, "agents_table.html", _ids("agent", rows), rows=rows, facts=facts, unseen=found.unseen,
                saved_at=head["last_saved_at"] if saved else None,
            ),
            "agents-worker": draw.part("agents_worker.html", facts=facts, settings=desk.settings),
            "health": _health(draw, looked.checks),
        }  # fmt: skip

    def _as_saved(self, desk: Desk, head: Row) -> dict[str, dict[str, Any]]:
        """Return what agents said of themselves when they were saved last, of a session that is not live any more."""
        session_id, saved_at = head["session_id"], head["last_saved_at"]
        if saved_at is None or head["shredded_at"] is not None:
            return {}

        def read() -> dict[str, dict[str, Any]]:
            parts, _ = read_state(desk.engine, desk.redis, desk.settings, session_id, saved_at, saved_at)
            return {agent: _told(parts[name]) for agent in head["roster"] if (name := agent_part(agent)) in parts}

        return self._saved.get((session_id, saved_at), read, desk.settings.pages_look_kept_s)


def _speaks(facts: HealthFacts) -> bool:
    """Tell whether Redis has something of an agent, or may have: then what was saved is not what is."""
    return facts.unseen or any(one.vitals is not None and one.vitals.size_bytes for one in facts.agents)


def _told(part: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(part)
    except orjson.JSONDecodeError:
        return {}
    return {ours: said.get(theirs) for theirs, ours in _SAID.items()} if isinstance(said, dict) else {}


def _row(entry: RosterEntry, looked: Looked, saved: dict[str, dict[str, Any]]) -> dict[str, Any]:
    facts = next((one for one in looked.facts.agents if one.name == entry.agent), None)
    vitals = facts.vitals if facts else None
    said = saved.get(entry.agent) or _of_vitals(vitals)
    grade, why = _condition(entry, facts, looked)
    return _reported(said) | {
        "entry": entry,
        "grade": grade,
        "why": why,
        "beat_at": vitals.beat_at if vitals else None,
        "cpu": _amount(facts.cpu_ms if facts else None, "ms"),
        "failures": _count(facts.failures if facts else None),
        "state": _amount(vitals.size_bytes / 1e3 if vitals and vitals.size_bytes else None, "kB"),
        "inbox": _inbox(entry),
        "refused": _refused(entry, facts),
    }


def _reported(said: dict[str, Any]) -> dict[str, Any]:
    """Return what an agent says of itself."""
    return {
        "status": said["status"],
        "latency": _amount(said["latency_ms"], "ms"),
        "errors": _count(said["errors"]),
        "memory": _amount(said["memory_mb"], "MB"),
        "actions": _count(said["actions"]),
        "decisions": _count(said["decisions"]),
    }


def _of_vitals(vitals: Vitals | None) -> dict[str, Any]:
    return {name: None if vitals is None else getattr(vitals, name) for name in _SAID.values()}


def _condition(entry: RosterEntry, facts: AgentFacts | None, looked: Looked) -> tuple[str, str]:
    """Return an agent's grade and why: by the checks that name it; where nobody looks at agents, a dash."""
    agents = {one.name for one in looked.facts.agents}
    named = [check for check in looked.checks if _concerns(check, entry, agents)]
    if named:
        return worst(named).value, "; ".join(check.reason for check in worst_first(named))
    if entry.unseen or facts is None or facts.vitals is None:
        return _NOT_SEEN, "Redis could not be asked"
    if looked.facts.status not in AGENTS_STEP:
        return NONE, f"agents do not step while it is {looked.facts.status.value}"
    return Grade.OK.value, ""


def _concerns(check: Check, entry: RosterEntry, agents: set[str]) -> bool:
    """Tell whether a check is about an agent: it names it, or the worker that steps all that are hosted."""
    named = set(check.subject.split(", "))
    workers = check.name == agent_dead.__name__ and check.grade is not Grade.OK and not named & agents
    return entry.agent in named or (entry.hosted and workers)


def _inbox(entry: RosterEntry) -> str:
    if entry.behind is None:
        return NONE
    waits = "" if entry.unread_s is None else f", the first for {entry.unread_s:,.0f} s"
    return f"{entry.behind:,} unread{waits}" if entry.behind else "read up to its end"


def _refused(entry: RosterEntry, facts: AgentFacts | None) -> str:
    listed = ", ".join(f"{count:,} {reason}" for reason, count in sorted(entry.refused.items()))
    why = facts.seen.refused_why if facts and facts.seen else ""
    return f"{listed} (last: {why})" if listed and why else listed


def _health(draw: Draw, checks: Sequence[Check]) -> Part:
    listed = worst_first(checks)
    return table(draw, "agents_health.html", _ids("check", listed), checks=listed, grade=worst(checks).value)


def _ids(prefix: str, rows: Sequence[Any]) -> list[str]:
    return [f"{prefix}-{number}" for number in range(len(rows))]


def _amount(value: Any, unit: str) -> str:
    return f"{value:,.1f} {unit}" if isinstance(value, int | float) else NONE


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else NONE
