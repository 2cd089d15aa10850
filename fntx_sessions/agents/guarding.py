"""No agents worker lives: any other worker steps the manager's own guards of what holds positions.

Exits run, stops are finished, nothing is opened and no agent is stepped. It is stepped, stored and reported as any step
is, so that an agents worker that comes back goes on where the guard was: sessions are nobody's between two steps.
"""

import time
from typing import Any

from sqlalchemy import text

from fntx_sessions.agents.claims import claim_guarded, let_go
from fntx_sessions.agents.host import bury_the_dead, step_batch
from fntx_sessions.database.engine import transaction
from fntx_sessions.database.hosting import NO_AGENT_HOST, NO_AGENT_HOST_SINCE
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Severity
from fntx_sessions.security.actor import system_actor
from fntx_sessions.state.event_rows import StateEvent, add_events

STANDS_IN = "guard_stands_in"
_OUTAGE = text(f"SELECT {NO_AGENT_HOST_SINCE} AS since WHERE {NO_AGENT_HOST}")


def guard_due(desk: Desk, host_id: str) -> int:
    """Step the guards of due sessions with positions, for at most `guard_sweep_s`; return how many steps were done.

    None while an agents worker lives, and none of a session whose lost host liveness has not fenced off yet.
    """
    with transaction(desk.engine) as connection:
        outage = connection.execute(_OUTAGE).one_or_none()
    if outage is None:
        return 0
    bury_the_dead(desk, host_id)
    until = time.monotonic() + desk.settings.guard_sweep_s
    stepped = 0
    while time.monotonic() < until:
        claimed = claim_guarded(desk.engine, host_id, desk.settings.step_batch, desk.settings.step_claim_s)
        if not claimed:
            break
        _step(desk, host_id, claimed, until, str(outage.since))
        stepped += len(claimed)
    return stepped


def _step(desk: Desk, host_id: str, claimed: list[dict[str, Any]], until: float, outage: str) -> None:
    try:
        step_batch(desk, system_actor(host_id), claimed, until, until)
    finally:
        let_go(desk.engine, host_id, [row["session_id"] for row in claimed])
    _tell(desk, host_id, claimed, outage)


def _tell(desk: Desk, host_id: str, claimed: list[dict[str, Any]], outage: str) -> None:
    """Say, once a session and outage, who runs its exits now."""
    told = (
        f"no agents worker lives: {host_id} runs the manager's guard of it. Exits go on and nothing is opened; its "
        "agents wait for a worker: `fntx up`"
    )
    events = [StateEvent(row["session_id"], STANDS_IN, outage, told, Severity.ERROR) for row in claimed]
    with transaction(desk.engine) as connection:
        add_events(connection, events)
