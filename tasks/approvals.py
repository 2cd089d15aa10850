"""fntx.approvals.*: openings that wait for a person: list, approve, reject; and for executors: request, answer."""

from uuid import UUID

from fntx_sessions.lifecycle import approvals
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.people_arguments import (
    ApprovalAnswerArguments,
    ApprovalsQuery,
    DecisionArguments,
    RequestArguments,
)
from fntx_sessions.lifecycle.reads.approvals import ApprovalRecord, list_approvals
from fntx_sessions.security.actor import Actor
from tasks.base import command, query
from tasks.desk import desk


@query("fntx.approvals.list")
def listed(arguments: ApprovalsQuery) -> list[ApprovalRecord]:
    """Return approvals, newest first, with reasons and how the price moved since."""
    at = desk()
    return list_approvals(at.engine, at.redis, arguments)


@command("fntx.approvals.approve")
def approve(actor: Actor, command_id: UUID, arguments: DecisionArguments) -> Outcome:
    """Let an opening through; its executor carries it out once."""
    return approvals.decide(desk(), actor, arguments, command_id, approve=True)


@command("fntx.approvals.reject")
def reject(actor: Actor, command_id: UUID, arguments: DecisionArguments) -> Outcome:
    """Say no to an opening."""
    return approvals.decide(desk(), actor, arguments, command_id, approve=False)


@command("fntx.approvals.request")
def request(actor: Actor, command_id: UUID, arguments: RequestArguments) -> Outcome:
    """Ask a person for an opening of an executor of another service."""
    return approvals.request(desk(), actor, arguments, command_id)


@command("fntx.approvals.answer")
def answer(actor: Actor, command_id: UUID, arguments: ApprovalAnswerArguments) -> Outcome:
    """Say what an executor of another service made of an approval."""
    return approvals.answer(desk(), actor, arguments, command_id)
