"""fntx.market.*: markets of other services come in, for all sessions of a feed; what there is of them."""

from typing import Any
from uuid import UUID

from fntx_sessions.automation import markets
from fntx_sessions.automation.markets import GetArguments, HistoryArguments, PublishArguments
from fntx_sessions.security.actor import Actor
from fntx_sessions.trading.published import Publication
from tasks.base import command, query
from tasks.desk import desk
from tasks.handlers import plain

Answer = dict[str, Any]


def _refused(asked: dict[str, Any]) -> None:
    markets.count_refused(desk(), asked)


@command("fntx.market.publish", refused=_refused)
def publish(actor: Actor, command_id: UUID, arguments: PublishArguments) -> Answer:
    """Publish a market to a feed."""
    done = markets.publish(desk(), actor, arguments)
    return {"command_id": str(command_id), "state": "done", "result": plain(done), "error": None}


@query("fntx.market.get")
def get(arguments: GetArguments) -> Answer:
    """Return the latest market of each feed, or of one, how fresh it is, and who trades on it."""
    return markets.show(desk(), arguments.feed)


@query("fntx.market.history")
def history(arguments: HistoryArguments) -> list[Publication]:
    """Return what was published to a feed, oldest first."""
    return markets.history(desk(), arguments)
