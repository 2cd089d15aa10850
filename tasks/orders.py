"""fntx.orders.*: orders of people, carried out by a session's executor within its limits."""

from uuid import UUID

from fntx_sessions.lifecycle import manual_orders
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.people_arguments import (
    CancelArguments,
    ChangeArguments,
    OrderAnswerArguments,
    OrdersQuery,
    PlaceArguments,
)
from fntx_sessions.lifecycle.reads.manual_orders import HandOrderRecord, list_orders
from fntx_sessions.security.actor import Actor
from tasks.base import command, query
from tasks.desk import desk


@query("fntx.orders.list")
def listed(arguments: OrdersQuery) -> list[HandOrderRecord]:
    """Return orders by hand, newest first."""
    return list_orders(desk().engine, arguments)


@command("fntx.orders.place")
def place(actor: Actor, command_id: UUID, arguments: PlaceArguments) -> Outcome:
    """Open or close a trade by hand."""
    return manual_orders.place(desk(), actor, arguments, command_id)


@command("fntx.orders.change")
def change(actor: Actor, command_id: UUID, arguments: ChangeArguments) -> Outcome:
    """Give an order by hand another limit."""
    return manual_orders.change(desk(), actor, arguments, command_id)


@command("fntx.orders.cancel")
def cancel(actor: Actor, command_id: UUID, arguments: CancelArguments) -> Outcome:
    """Cancel an order by hand."""
    return manual_orders.cancel(desk(), actor, arguments, command_id)


@command("fntx.orders.answer")
def answer(actor: Actor, command_id: UUID, arguments: OrderAnswerArguments) -> Outcome:
    """Say what an executor of another service made of an order by hand."""
    return manual_orders.answer(desk(), actor, arguments, command_id)
