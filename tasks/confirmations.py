"""fntx.confirmations.*: what takes two people and waits for the second: list it, confirm it, decline it."""

from typing import Any
from uuid import UUID

from fntx_sessions.lifecycle.confirming.arguments import Confirmation, ConfirmationsQuery, SettleArguments
from fntx_sessions.lifecycle.confirming.reading import list_confirmations
from fntx_sessions.security.actor import Actor
from tasks import second
from tasks.base import command, query
from tasks.desk import desk

Answer = dict[str, Any]


@query("fntx.confirmations.list")
def listed(arguments: ConfirmationsQuery) -> list[Confirmation]:
    """Return what waits for a second person, newest first."""
    return list_confirmations(desk().engine, arguments)


@command("fntx.confirmations.confirm")
def confirm(actor: Actor, command_id: UUID, arguments: SettleArguments) -> Answer:
    """Be the second person: what waits is done now, once."""
    return _done(command_id, second.confirm(actor, arguments))


@command("fntx.confirmations.decline")
def decline(actor: Actor, command_id: UUID, arguments: SettleArguments) -> Answer:
    """Say no, or take back what one asked for oneself."""
    return _done(command_id, second.decline(actor, arguments))


def _done(command_id: UUID, result: Answer) -> Answer:
    return {"command_id": str(command_id), "state": "done", "result": result, "error": None}
