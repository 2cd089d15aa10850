"""accept_differences: a person has looked at what recovery found to differ, and answers for going on."""

from fntx_sessions.exceptions import InvalidArgument, PreconditionFailed
from fntx_sessions.lifecycle.change import Ask, Change, Row
from fntx_sessions.lifecycle.decisions.moving import S
from fntx_sessions.lifecycle.machine import illegal


def accept(row: Row, ask: Ask) -> list[Change]:
    """Take the differences as seen: the broker's word stands, resume is free, they are not raised a second time."""
    if S(row["status"]) in (S.CLOSED, S.INITIALIZING):
        raise illegal(row, ask)
    data = row["recovery_data"]
    found = data.get("differences") or []
    if not found:
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "differences wait to be accepted", "there are none",
            "See `fntx show ID`.",
        )  # fmt: skip
    if not ask.reason.strip():
        raise InvalidArgument("reason", "is missing", "Say why going on is right: it is kept with your name.")
    settled = row["requires_action"] == data.get("requires_action")
    event = {
        "event_type": "differences_accepted",
        "event_category": "recovery",
        "severity": "warning",
        "description": f"{len(found)} differences accepted by {ask.actor.name}: {ask.reason}",
        "data": {"command_id": str(ask.command_id), "differences": found},
    }
    fields = {
        "recovery_data": data | {"differences": [], "accepted": [*data.get("accepted", []), *found]},
        "requires_action": None if settled else row["requires_action"],
    }
    return [Change(fields=fields, events=(event,), extra={"accepted": found})]
