"""How the desk itself ends what waits for people: each once, through the machine; and what nobody took up in time."""

from uuid import UUID, uuid5

import structlog

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import FntxError
from fntx_sessions.lifecycle import commands, execute, machine
from fntx_sessions.lifecycle.change import Ask, Outcome
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.people import Warrant
from fntx_sessions.lifecycle.people_sql import DUE
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor

log = structlog.get_logger(__name__)
_EXPIRED = {
    "approval": "nobody carried it out before its time was over",
    "order": "its session's executor did not take it up in time",
}


def settle_asked(desk: Desk, actor: Actor, session_id: UUID, what: Warrant, state: str, result: str) -> Outcome:
    """Settle an approval or an order by hand and return the outcome; asked again for the same, it only answers.

    Raises Busy and Unavailable.
    """
    arguments = {"kind": what.kind, "id": str(what.id), "state": state, "result": result[:2000]}
    command_id = uuid5(what.id, f"{state}/{result}")
    ask = Ask(Trigger.ANSWER, session_id, actor, result[:2000], command_id, arguments)
    outcome = machine.run(desk.engine, ask, commands.answer, relaying=True)
    execute.follow_up(desk, outcome)
    return outcome


def expire_due(desk: Desk, actor: Actor) -> int:
    """Close approvals and orders whose time is over, a batch of them; return how many. Two at once do it once.

    Raises Unavailable.
    """
    with transaction(desk.engine) as connection:
        due = rows(connection.execute(DUE, {"limit": desk.settings.approvals_per_sweep}))
    return sum(_expired(desk, actor, row["session_id"], Warrant(row["kind"], row["id"])) for row in due)


def _expired(desk: Desk, actor: Actor, session_id: UUID, what: Warrant) -> bool:
    try:
        outcome = settle_asked(desk, actor, session_id, what, "expired", _EXPIRED[what.kind])
    except FntxError as error:
        log.warning("not_expired", session_id=str(session_id), kind=what.kind, id=str(what.id), problem=str(error))
        return False
    return outcome.state == "done" and not outcome.repeated
