"""Approvals as people and executors of other services meet them: ask, decide, answer. Each acts once per command id."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import Forbidden, InvalidArgument, NotFound
from fntx_sessions.lifecycle import execute, machine
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.named import Named, known_to
from fntx_sessions.lifecycle.notes import number, read_notes
from fntx_sessions.lifecycle.people import Warrant, allowance, ran_away
from fntx_sessions.lifecycle.people_arguments import (
    AnswerArguments,
    ApprovalAnswerArguments,
    AskArguments,
    DecideArguments,
    DecisionArguments,
    PackageLeg,
    RequestArguments,
)
from fntx_sessions.lifecycle.people_sql import DRIFT_MIN
from fntx_sessions.lifecycle.settling import settle_asked
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.agent_names import must_be_own, own_all
from fntx_sessions.security.roles import authorize
from fntx_sessions.security.scope import admitted

_OWNER = text(f"""
SELECT p.approval_id, p.session_id, p.agent, p.state, p.limit_price, p.risk, p.drift_max, {DRIFT_MIN} AS drift_min_usd,
  EXISTS (SELECT FROM session_agents a
    WHERE a.session_id = p.session_id AND a.agent = p.agent AND a.hosted) AS hosted
FROM approvals p JOIN sessions s USING (session_id) WHERE p.approval_id = :approval_id
""")
_UNKNOWN = "what its package trades at now is not known here: its agent has not said"
_DESK = Actor("system", frozenset({"system"}))
_AGENT = text("""
SELECT a.hosted, a.joined_by, (SELECT string_agg(b.agent, ', ' ORDER BY b.agent) FROM session_agents b
  WHERE b.session_id = s.session_id AND NOT b.hosted) AS remote
FROM sessions s LEFT JOIN session_agents a ON a.session_id = s.session_id AND a.agent = :agent
WHERE s.session_id = :session_id
""")


def request(desk: Desk, actor: Actor, arguments: RequestArguments, command_id: UUID) -> Outcome:
    """Ask a person for an opening of a remote executor's; `approval_id` in the outcome's extra names it.

    Raises NotFound for an unknown session, InvalidArgument for an agent that is none of its remote ones, and Forbidden
    where the caller is not that agent.
    """
    if execute.permitted(desk, actor, Trigger.ASK, arguments.session_id):
        with transaction(desk.engine) as connection:
            speaks_for(connection, actor, Trigger.ASK, arguments.session_id, arguments.agent)
    asked = AskArguments(session_id=arguments.session_id, reason=arguments.reason, approval=_asked(arguments))
    return execute.command(desk, Trigger.ASK, actor, asked, command_id)


def speaks_for(connection: Connection, actor: Actor, trigger: Trigger, session_id: UUID, agent: str) -> None:
    """Return where the caller is this agent of another service: the token's name that it joined under, or an admin's.

    That the caller may do it at all was asked before. Raises NotFound, InvalidArgument (hosted, not in the roster, not
    joined) and Forbidden (another's token).
    """
    found = connection.execute(_AGENT, {"session_id": session_id, "agent": agent}).one_or_none()
    if found is None:
        raise NotFound("session", str(session_id), "See `fntx ls`.")
    if found.hosted is not False:
        what = "is hosted by the desk" if found.hosted else "is not in the session's roster"
        raise InvalidArgument("agent", f"{agent!r} {what}", f"Agents of other services here: {found.remote or 'none'}.")
    must_be_own(actor, trigger.value, agent, found.joined_by)
    if found.joined_by is None and not own_all(actor):
        raise InvalidArgument("agent", f"{agent!r} has not joined", "Join first: `fntx.agents.join`.")


def _asked(arguments: RequestArguments) -> dict[str, Any]:
    kept = {
        "trade_id": arguments.trade_id,
        "strategy": arguments.strategy,
        "side": arguments.side,
        "legs": [_leg(leg, arguments.quantity) for leg in arguments.legs],
        "limit": str(arguments.limit),
        "risk": str(arguments.risk),
        "reasons": arguments.reasons,
    }
    text = f"{arguments.agent} wants to open {arguments.trade_id} at ${arguments.limit}, ${arguments.risk} at risk"
    return {
        **{name: getattr(arguments, name) for name in ("agent", "trade_id", "expires_s")},
        "request": kept,
        "limit_price": str(arguments.limit),
        "reference": None if arguments.reference is None else str(arguments.reference),
        "risk": str(arguments.risk),
        "description": f"{text}: a person decides (`fntx approvals ls`)",
    }


def _leg(leg: PackageLeg, quantity: int) -> dict[str, Any]:
    expiry = None if leg.expiry is None else leg.expiry.isoformat()
    named = {"side": leg.side, "right": leg.right, "strike": str(leg.strike), "expiry": expiry}
    return named | {"quantity": quantity, "reference": None}


def decide(desk: Desk, actor: Actor, arguments: DecisionArguments, command_id: UUID, *, approve: bool) -> Outcome:
    """Approve or reject; raises as `execute.command` and, as `named.known_to` says, NotFound and Forbidden.

    What an agent of another service asked for, and whose price ran away by its own last report, ends as stale instead.
    A price that nobody reported is no reason against it, and is said in the outcome's warnings.
    """
    found = _found(desk, actor, Trigger.DECIDE, arguments.approval_id, arguments.session_id)
    known = True
    if approve and not found.hosted and _may_judge(desk, actor, found, command_id, Trigger.DECIDE):
        known = _end_stale(desk, found)
    asked = DecideArguments(
        session_id=found.session_id, reason=arguments.reason, approval_id=arguments.approval_id, approve=approve
    )
    outcome = execute.command(desk, Trigger.DECIDE, actor, asked, command_id)
    return outcome if known or outcome.state != "done" else replace(outcome, warnings=(*outcome.warnings, _UNKNOWN))


def _may_judge(desk: Desk, actor: Actor, found: Any, command_id: UUID, trigger: Trigger) -> bool:
    """Tell whether this call is to be judged by price: not one that is only repeated, or that has no say in it."""
    if found.state not in ("waiting", "approved") or machine.stored_outcome(desk.engine, command_id) is not None:
        return False
    try:
        authorize(admitted(desk.engine, actor, found.session_id), trigger, found.session_id)
    except Forbidden:
        return False  # the machine refuses, and audits
    return True


def _end_stale(desk: Desk, found: Any) -> bool:
    """End an approval as stale whose price or risk, as its agent last reported them, ran away; False: nobody knows."""
    note = read_notes(desk.redis, [found._mapping]).get(found.approval_id, {})  # noqa: SLF001 - SQLAlchemy's own name
    price, risk = number(note.get("price")), number(note.get("risk"))
    allowed = allowance(found.limit_price, found.drift_max, found.drift_min_usd)
    why = ran_away(found.limit_price, found.risk, allowed, price, risk)
    if why is not None:
        settle_asked(desk, _DESK, found.session_id, Warrant("approval", found.approval_id), "stale", why)
    return price is not None


def answer(desk: Desk, actor: Actor, arguments: ApprovalAnswerArguments, command_id: UUID) -> Outcome:
    """Note what a remote executor made of an approval of its own.

    `executed` asks for leave to send the order: where the price ran away it is refused, and the approval is stale.
    Raises NotFound, InvalidArgument where another agent asked, a hosted one among them, and Forbidden.
    """
    if execute.permitted(desk, actor, Trigger.ANSWER, arguments.session_id):
        _check_answer(desk, actor, arguments, command_id)
    asked = AnswerArguments(
        session_id=arguments.session_id,
        reason=arguments.reason,
        kind="approval",
        id=arguments.approval_id,
        state=arguments.state,
        result=arguments.result,
    )
    return execute.command(desk, Trigger.ANSWER, actor, asked, command_id)


def _check_answer(desk: Desk, actor: Actor, arguments: ApprovalAnswerArguments, command_id: UUID) -> None:
    found = _found(desk, actor, Trigger.ANSWER, arguments.approval_id, arguments.session_id)
    if found.agent != arguments.agent:
        raise InvalidArgument("agent", f"{arguments.agent!r} did not ask for it", f"{found.agent} did.")
    with transaction(desk.engine) as connection:
        speaks_for(connection, actor, Trigger.ANSWER, arguments.session_id, arguments.agent)
    if arguments.state == "executed" and _may_judge(desk, actor, found, command_id, Trigger.ANSWER):
        _end_stale(desk, found)


def _found(desk: Desk, actor: Actor, trigger: Trigger, approval_id: UUID, session_id: UUID | None) -> Any:
    with transaction(desk.engine) as connection:
        found = connection.execute(_OWNER, {"approval_id": approval_id}).one_or_none()
    named = Named("approval", approval_id, session_id, "See `fntx approvals ls`.")
    return known_to(actor, desk, trigger, named, found)
