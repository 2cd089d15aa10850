"""Agents of another service as the desk sees them: they join, report by the script, and leave."""

from typing import Any
from uuid import UUID

from hosting import Hosting, T
from state_world import agent_bytes

from fntx_sessions.agents import joining
from fntx_sessions.agents.joining import AgentArguments, JoinArguments
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.agent_doors import AGENT_REPORT, Refusal

PLANNER, EXECUTOR = "TheirPlanner", "TheirExecutor"
AGENT = Actor("their-service", frozenset({"agent"}))


def invited(hosting: Hosting, *agents: str, **config: Any) -> UUID:
    return hosting.create(config={"agents": list(agents or (PLANNER, EXECUTOR)), **config})


def joined(hosting: Hosting, session_id: UUID, agent: str = PLANNER, **more: Any) -> dict[str, Any]:
    return joining.join(hosting.desk, AGENT, JoinArguments(session_id=session_id, agent=agent, **more))


def report(
    hosting: Hosting, told: dict[str, Any], parts: dict[str, bytes] | None = None, records: tuple = (), **changed: Any
) -> list[Any]:
    """Report as the answer to a join says, but for what is `changed`."""
    said = {"epoch": told["epoch"], "agent": told["agent"], "ticket": told["ticket"], "ack": ""} | changed
    flat = [value for pair in (parts or {}).items() for value in pair]
    keys = (told["keys"]["live"], told["keys"]["records"])
    values = [*said.values(), len(parts or {}), *flat, *(value for record in records for value in record)]
    return AGENT_REPORT.run(hosting.desk.redis, keys, *values)


def own(agent: str = PLANNER, **internal: Any) -> dict[str, bytes]:
    return {f"agent/{agent}": agent_bytes(agent, **internal)}


def started(hosting: Hosting, *agents: str, **config: Any) -> tuple[UUID, dict[str, dict[str, Any]]]:
    """A started session, and what each of its agents was told as it joined after that."""
    session_id = invited(hosting, *agents, **config)
    for agent in agents:
        joined(hosting, session_id, agent)
    hosting.do(T.START, session_id)
    return session_id, {agent: joined(hosting, session_id, agent) for agent in agents}


def refused(answer: list[Any]) -> tuple[Refusal, str]:
    assert answer[0] == 0, answer
    return Refusal(answer[1].decode()), answer[2].decode()


def leave(hosting: Hosting, session_id: UUID, agent: str = PLANNER) -> None:
    joining.leave(hosting.desk, AGENT, AgentArguments(session_id=session_id, agent=agent))
