"""fntx.agents.*: what agents of other services tell."""

from typing import Any

from fntx_sessions.lifecycle import roster
from fntx_sessions.lifecycle.roster import ReadyArguments
from fntx_sessions.security.actor import Actor
from tasks.base import command
from tasks.desk import desk


@command("fntx.agents.ready")
def ready(actor: Actor, arguments: ReadyArguments) -> dict[str, Any]:
    """Note that an agent is ready; a start that waits for it goes on."""
    return roster.mark_ready(desk().engine, actor, arguments)
