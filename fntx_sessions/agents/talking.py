"""What a hosted executor asks people, and what it tells them of what they asked; each through the machine, at once."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from fntx_sessions.agents.runtime import Runtime
from fntx_sessions.lifecycle import commands, execute, machine
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.people import Approval, HandOrder
from fntx_sessions.lifecycle.settling import settle_asked
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.trading.orders import SHARES_PER_CONTRACT, OrderRequest


def ask_person(
    desk: Desk,
    runtime: Runtime,
    agent: str,
    request: OrderRequest,
    reference: Decimal | None,
    reasons: dict[str, Any],
) -> str | None:
    """Store an approval that waits; return why it could not be, None where it is there. Raises Busy and Unavailable."""
    asked = approval_of(agent, request, reference, reasons)
    actor = Actor(agent, frozenset({"system"}))
    ask = Ask(
        Trigger.ASK,
        runtime.session_id,
        actor,
        asked["description"],
        arguments={"approval": asked, "epoch": runtime.epoch},
    )
    outcome = machine.run(desk.engine, ask, commands.ask_approval, relaying=True)
    execute.follow_up(desk, outcome)
    if outcome.error is not None:
        return str(outcome.error["message"])
    waiting = Approval(
        UUID(outcome.extra["approval_id"]), request.trade_id, "waiting", request, runtime.config.approval_drift_max
    )
    runtime.people.approvals[request.trade_id] = waiting
    return None


def approval_of(
    agent: str, request: OrderRequest, reference: Decimal | None, reasons: dict[str, Any]
) -> dict[str, Any]:
    """Return an approval as the machine is asked for it."""
    credit = (request.limit or Decimal(0)) * SHARES_PER_CONTRACT * request.packages
    return {
        "agent": agent,
        "trade_id": request.trade_id,
        "request": request.to_json() | {"reasons": reasons},
        "limit_price": request.limit,
        "reference": reference,
        "risk": request.risk,
        "description": f"{agent} wants to open {request.trade_id} for ${credit:.2f}, ${request.risk} at risk: a person "
        "decides (`fntx approvals ls`)",
    }


def settle(desk: Desk, runtime: Runtime, what: Approval | HandOrder, state: str, result: str) -> None:
    """Settle an approval or an order by hand; where somebody was quicker, that stands. Raises Busy and Unavailable."""
    settle_asked(desk, Actor("system", frozenset({"system"})), runtime.session_id, what.warrant, state, result)
    if isinstance(what, Approval):
        runtime.people.approvals.pop(what.trade_id, None)
        if state == "refused":
            runtime.people.spent.add(what.trade_id)
    elif state != "working":
        runtime.people.orders[:] = [one for one in runtime.people.orders if one.order_id != what.order_id]
