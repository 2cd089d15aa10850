"""fntx.agents.*: how agents of other services take part."""

from typing import Any

from fntx_sessions.agents import joining, roster, sealing
from fntx_sessions.agents.joining import AgentArguments, JoinArguments
from fntx_sessions.agents.roster import RosterArguments, RosterEntry
from fntx_sessions.security.actor import Actor
from tasks.base import command, query
from tasks.desk import desk


@command("fntx.agents.join")
def join(actor: Actor, arguments: JoinArguments) -> dict[str, Any]:
    """Give an agent of another service its ticket, the session as it stands, and how to report."""
    return joining.join(desk(), actor, arguments)


@command("fntx.agents.ready")
def ready(actor: Actor, arguments: AgentArguments) -> dict[str, Any]:
    """Note that an agent is ready; a start that waits for it goes on."""
    return joining.ready(desk(), actor, arguments)


@command("fntx.agents.leave")
def leave(actor: Actor, arguments: AgentArguments) -> dict[str, Any]:
    """Note that an agent is gone; its ticket is no good any more."""
    return joining.leave(desk(), actor, arguments)


@command("fntx.agents.credentials")
def credentials(actor: Actor, arguments: AgentArguments) -> dict[str, Any]:
    """Put what a joined agent may know into its own inbox, sealed to its key; answer names and versions alone."""
    return sealing.hand_out(desk(), actor, arguments)


@query("fntx.agents.list")
def list_agents(arguments: RosterArguments) -> list[RosterEntry]:
    """Return a session's roster and how its agents do; without a session, the hosted agents there are."""
    return roster.list_agents(desk(), arguments)
