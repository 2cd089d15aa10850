"""fntx.sessions.foresee: what a command would come to now, in the words of the pages; it changes nothing."""

from typing import Any, Literal
from uuid import UUID

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import Model
from fntx_sessions.security.actor import Actor
from tasks.base import query
from tasks.desk import desk

_PEOPLE = ("approve", "reject", "ack")


class ForeseeArguments(Model):
    """foresee: which command, on which session.

    subject: the approval or the event it is about. close_positions, leave_positions_with: a stop's policy.
    """

    session_id: UUID
    action: Literal[
        "start", "pause", "resume", "suspend", "stop", "recover", "checkpoint", "accept", "approve", "reject", "ack"
    ]  # fmt: skip
    subject: UUID | None = None
    close_positions: bool | None = None
    leave_positions_with: str | None = None

    def form(self) -> dict[str, str]:
        """Return the policy as the pages' form has it; nothing where the session's own stands."""
        if self.close_positions is None:
            return {}
        heir = self.leave_positions_with or ""
        return {"policy": "close" if self.close_positions else "leave", "leave_positions_with": heir}


@query("fntx.sessions.foresee")
def foresee(actor: Actor, arguments: ForeseeArguments) -> dict[str, Any]:
    """Return what the command would do to the session, a sentence each, or why it would be refused.

    expected_version: what to send along where the command means what was shown and nothing else; else None.
    """
    # A worker that nobody asks this holds none of the pages.
    from fntx_sessions.monitoring.flower.act import Target  # noqa: PLC0415
    from fntx_sessions.monitoring.flower.act_people import ACKNOWLEDGE, APPROVE, REJECT  # noqa: PLC0415
    from fntx_sessions.monitoring.flower.act_session import SESSION_ACTS  # noqa: PLC0415
    from fntx_sessions.monitoring.flower.who import Viewer  # noqa: PLC0415

    if arguments.action in _PEOPLE and arguments.subject is None:
        raise InvalidArgument("subject", "is missing", "Name the approval, or the event, it is about.")
    acts = {**SESSION_ACTS, **dict(zip(_PEOPLE, (APPROVE, REJECT, ACKNOWLEDGE), strict=True))}
    target = Target(arguments.session_id, arguments.subject)
    look = acts[arguments.action].look(desk(), Viewer(actor), target, arguments.form())
    return {"happens": look.happens, "refused": look.refused, "expected_version": look.version, "version": look.seen}
