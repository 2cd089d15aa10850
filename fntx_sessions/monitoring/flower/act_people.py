"""Approvals that wait for a word, and events that somebody has to see to."""

from typing import Any
from uuid import UUID, uuid4

from fntx_sessions.exceptions import NotFound
from fntx_sessions.lifecycle.change import Ask, Outcome
from fntx_sessions.lifecycle.events_arguments import AcknowledgeArguments
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.people_arguments import ApprovalsQuery, DecisionArguments
from fntx_sessions.lifecycle.reads.approvals import ApprovalRecord, list_approvals
from fntx_sessions.lifecycle.rehearsing import rehearse
from fntx_sessions.monitoring.flower.act import Form, Look, Target, reason_of
from fntx_sessions.monitoring.flower.act_ended import CommandAct
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.monitoring.flower.words import dollars, short
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import Model, Trigger

_MOST = 1000


class AboutOne(CommandAct):
    """An act on one approval or event of a session. model: its arguments; named: the id's; why: the reason's."""

    model: type[Model]
    named: str
    why: str = "reason"

    def arguments(self, target: Target, form: Form) -> dict[str, Any]:
        """Return the arguments: which one, of which session, and why."""
        session_id, subject = _both(target)
        asked = {self.named: str(subject), "session_id": str(session_id), self.why: reason_of(form)}
        parse(self.model, asked)
        return asked

    def answers(self, target: Target, found: Outcome) -> bool:
        """Tell whether an outcome is of this one."""
        about = found.extra.get(self.named, str(target.subject))
        return super().answers(target, found) and about == str(target.subject)


class Decide(AboutOne):
    """Approve or reject an opening that waits."""

    model, named = DecisionArguments, "approval_id"

    action = Trigger.DECIDE.value
    facts_template = "act_approval_facts.html"

    def __init__(self, name: str, label: str, *, danger: bool) -> None:
        self.name, self.label, self.danger = name, label, danger
        self.task = f"fntx.approvals.{name}"

    def path(self, target: Target) -> tuple[str, ...]:
        """Return its address's parts."""
        return str(target.session_id), "approvals", str(target.subject), self.name

    def title(self, target: Target) -> str:
        """Return which approval is answered."""
        return f"{self.label}: approval {short(target.subject)}"

    def look(self, desk: Desk, viewer: Viewer, target: Target, given: Form) -> Look:
        """Rehearse the decision over the approval as it stands."""
        _ = given
        session_id, approval_id = _both(target)
        record = _record(desk, session_id, approval_id)
        own = {"approval_id": str(approval_id), "approve": self.name == "approve"}
        found = rehearse(desk.engine, Ask(Trigger.DECIDE, session_id, viewer.actor, "seen", uuid4(), own))
        told = () if found.refused else self._happens(record)
        return Look(
            told, str(found.refused) if found.refused else None, facts={"approval": record}, seen=found.row["version"]
        )

    def _happens(self, record: ApprovalRecord) -> tuple[str, ...]:
        if self.name == "reject":
            return ("The opening is not sent. Its agent is told, and asks for the same trade no more.",)
        told = [
            f"{record.agent} sends the opening once, at its limit or better, unless the price has run away by then.",
            f"It may lose {dollars(record.risk_usd)} to its stop; what a gap costs beyond it is not in that.",
        ]
        if record.remaining_after_usd is not None:
            told.append(f"{dollars(record.remaining_after_usd)} of the account's loss limit would be left.")
        return tuple(told)

    def answers(self, target: Target, found: Outcome) -> bool:
        """Tell whether an outcome is of this approval, and this answer to it."""
        other = "rejected" if self.name == "approve" else "approved"
        return super().answers(target, found) and found.extra.get("approval_state") != other


class Acknowledge(AboutOne):
    """Say that somebody saw to an event, and what was done: that is its reason."""

    model, named, why = AcknowledgeArguments, "event_id", "action_taken"
    name = "ack"
    label = "Acknowledge"
    action = Trigger.ACKNOWLEDGE.value
    task = "fntx.events.acknowledge"
    facts_template = "act_event_facts.html"

    def path(self, target: Target) -> tuple[str, ...]:
        """Return its address's parts."""
        return str(target.session_id), "events", str(target.subject), "ack"

    def title(self, target: Target) -> str:
        """Return which event is acknowledged."""
        return f"Acknowledge event {short(target.subject)}"

    def look(self, desk: Desk, viewer: Viewer, target: Target, given: Form) -> Look:
        """Rehearse the acknowledgement over the event as it stands."""
        _ = given
        session_id, event_id = _both(target)
        asked = Ask(Trigger.ACKNOWLEDGE, session_id, viewer.actor, "seen", uuid4(), {"event_id": str(event_id)})
        found = rehearse(desk.engine, asked)
        if found.row["event"] is None:
            raise NotFound("event", str(event_id), "Of a session whose rows are archived, its archive alone has them.")
        told = ("It is kept, with your name, that you saw to it, and what you did. Once: the first word stands.",)
        refused = str(found.refused) if found.refused else None
        return Look(() if refused else told, refused, facts={"event": found.row["event"]}, seen=found.row["version"])


def _both(target: Target) -> tuple[UUID, UUID]:
    assert target.session_id is not None and target.subject is not None  # noqa: PT018, S101 -- the address has both
    return target.session_id, target.subject


_STATES = ["waiting", "approved", "rejected", "expired", "stale", "executed", "refused", "withdrawn"]


def _record(desk: Desk, session_id: UUID, approval_id: UUID) -> ApprovalRecord:
    for states in (None, _STATES):  # those that are open are few
        asked = ApprovalsQuery.model_validate({"session_id": session_id, "states": states, "limit": _MOST})
        for one in list_approvals(desk.engine, desk.redis, asked):
            if one.approval_id == approval_id:
                return one
    raise NotFound("approval", str(approval_id), f"See `fntx approvals ls {session_id}`.")


APPROVE = Decide("approve", "Approve", danger=False)
REJECT = Decide("reject", "Reject", danger=True)
ACKNOWLEDGE = Acknowledge()
