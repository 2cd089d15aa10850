"""Orders by hand as people and executors of other services meet them: place, change, cancel, answer."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.database.hosting import EXECUTOR, TRADED_ELSEWHERE
from fntx_sessions.exceptions import InvalidArgument, NotFound
from fntx_sessions.lifecycle import execute, machine
from fntx_sessions.lifecycle.approvals import speaks_for
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.named import Named, known_to
from fntx_sessions.lifecycle.people_arguments import (
    AnswerArguments,
    CancelArguments,
    ChangeArguments,
    OrderAnswerArguments,
    OrderArguments,
    PlaceArguments,
)
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.payloads import HAND_ORDER, Payloads
from fntx_sessions.trading.brokers import get_broker

_EXECUTOR = text(f"""
SELECT s.broker, {TRADED_ELSEWHERE} AS elsewhere, EXISTS (SELECT FROM session_agents a
  WHERE a.session_id = s.session_id AND a.agent = '{EXECUTOR}') AS executed
FROM sessions s WHERE s.session_id = :session_id
""")
_ORDER = text("SELECT session_id, opening, request FROM manual_orders WHERE order_id = :order_id")


def place(desk: Desk, actor: Actor, arguments: PlaceArguments, command_id: UUID) -> Outcome:
    """Leave an order to the session's executor; `order_id` in the outcome's extra names it.

    Raises NotFound, and InvalidArgument by path where the session has nobody to trade, or no such trade to close.
    """
    allowed = execute.permitted(desk, actor, Trigger.ORDER, arguments.session_id)
    if allowed and machine.stored_outcome(desk.engine, command_id) is None:
        _check_tradable(desk, arguments)
    return _ask(
        desk, actor, command_id, arguments.session_id, arguments.reason, action="place", opening=arguments.opening,
        order=_order_of(arguments), expected_version=arguments.expected_version,
    )  # fmt: skip


def _check_tradable(desk: Desk, arguments: PlaceArguments) -> None:
    with transaction(desk.engine) as connection:
        found = connection.execute(_EXECUTOR, {"session_id": arguments.session_id}).one_or_none()
    if found is None:
        raise NotFound("session", str(arguments.session_id), "See `fntx ls`.")
    if found.elsewhere:
        return  # what is open there its own executor knows
    if not found.executed:
        raise InvalidArgument("session_id", "has no executor in its roster", "Nobody there could trade.")
    if arguments.trade_id is not None:
        _check_open(desk, found.broker, arguments.session_id, arguments.trade_id)


def _check_open(desk: Desk, broker: str, session_id: UUID, trade_id: str) -> None:
    held = {holding.trade_id for holding in get_broker(broker, desk.engine).positions(session_id) if holding.quantity}
    if trade_id not in held:
        listed = ", ".join(sorted(held)) or "none"
        raise InvalidArgument("trade_id", f"{trade_id[:100]!r} is not open", f"Open in this session: {listed}.")


def _order_of(arguments: PlaceArguments) -> dict[str, Any]:
    if arguments.legs is None:
        return {"trade_id": arguments.trade_id, "limit": str(arguments.limit)}
    legs = [{**leg.model_dump(mode="json"), "strike": str(leg.strike)} for leg in arguments.legs]
    return {"legs": legs, "quantity": arguments.quantity, "limit": str(arguments.limit)}


def change(desk: Desk, actor: Actor, arguments: ChangeArguments, command_id: UUID) -> Outcome:
    """Replace an order by one with another limit: cancelled first, and placed only once it can't trade any more.

    Raises NotFound and Forbidden, as `named.known_to` says.
    """
    return _about(desk, actor, arguments, command_id, "change", limit=arguments.limit)


def cancel(desk: Desk, actor: Actor, arguments: CancelArguments, command_id: UUID) -> Outcome:
    """Cancel an order by hand; at once while nobody has taken it up. Raises as `change`."""
    return _about(desk, actor, arguments, command_id, "cancel")


def _about(
    desk: Desk,
    actor: Actor,
    arguments: ChangeArguments | CancelArguments,
    command_id: UUID,
    action: str,
    limit: Decimal | None = None,
) -> Outcome:
    with transaction(desk.engine) as connection:
        found = connection.execute(_ORDER, {"order_id": arguments.order_id}).one_or_none()
    named = Named("order", arguments.order_id, arguments.session_id, "See `fntx order ls`.")
    found = known_to(actor, desk, Trigger.ORDER, named, found)
    order: dict[str, Any] = {} if limit is None else {"limit": str(limit)}
    if execute.permitted(desk, actor, Trigger.ORDER, found.session_id):
        order = Payloads(desk.engine).open(found.session_id, HAND_ORDER, arguments.order_id, found.request) | order
    return _ask(
        desk, actor, command_id, found.session_id, arguments.reason, action=action, opening=found.opening, order=order,
        changes=arguments.order_id,
    )  # fmt: skip


def _ask(desk: Desk, actor: Actor, command_id: UUID, session_id: UUID, reason: str, **asked: Any) -> Outcome:
    arguments = OrderArguments(session_id=session_id, reason=reason, **asked)
    return execute.command(desk, Trigger.ORDER, actor, arguments, command_id)


def answer(desk: Desk, actor: Actor, arguments: OrderAnswerArguments, command_id: UUID) -> Outcome:
    """Note what a remote executor made of an order by hand.

    Raises NotFound, InvalidArgument where the desk itself or another agent carries the session's orders out, and
    Forbidden.
    """
    if execute.permitted(desk, actor, Trigger.ANSWER, arguments.session_id):
        with transaction(desk.engine) as connection:
            speaks_for(connection, actor, Trigger.ANSWER, arguments.session_id, arguments.agent)
            _check_executes(connection, arguments)
    asked = AnswerArguments(
        session_id=arguments.session_id,
        reason=arguments.reason,
        kind="order",
        id=arguments.order_id,
        state=arguments.state,
        result=arguments.result,
        client_order_id=arguments.client_order_id,
    )
    return execute.command(desk, Trigger.ANSWER, actor, asked, command_id)


def _check_executes(connection: Connection, arguments: OrderAnswerArguments) -> None:
    """Raise InvalidArgument unless this agent carries the session's orders out.

    Without an executor in the roster any agent of another service does.
    """
    found = connection.execute(_EXECUTOR, {"session_id": arguments.session_id}).one()
    if not found.elsewhere:
        fix = f"{EXECUTOR} is hosted: it says itself what becomes of them."
        raise InvalidArgument("agent", f"{arguments.agent!r} carries out no orders here", fix)
    if found.executed and arguments.agent != EXECUTOR:
        raise InvalidArgument("agent", f"{arguments.agent!r} carries out no orders here", f"{EXECUTOR} does.")
