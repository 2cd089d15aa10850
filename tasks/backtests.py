"""fntx.backtests.*: ask for a run of days, watch it, stop and resume it; the sweep that advances runs is a sweep."""

from typing import Any
from uuid import UUID

from fntx_sessions.automation import backtests
from fntx_sessions.automation.backtest_arguments import BacktestArguments, RunArguments, RunsArguments
from fntx_sessions.security.actor import Actor
from tasks.base import command, query
from tasks.desk import desk

Answer = dict[str, Any]


def _done(command_id: UUID, result: Any) -> Answer:
    return {"command_id": str(command_id), "state": "done", "result": result, "error": None}


@command("fntx.backtests.create")
def create(actor: Actor, command_id: UUID, arguments: BacktestArguments) -> Answer:
    """Store a run; its id is the command's."""
    return _done(command_id, backtests.create(desk().engine, actor, arguments, command_id))


@command("fntx.backtests.stop")
def stop(actor: Actor, command_id: UUID, arguments: RunArguments) -> Answer:
    """Hand out no more days of a run."""
    return _done(command_id, backtests.stop(desk().engine, actor, arguments.run_id))


@command("fntx.backtests.resume")
def resume(actor: Actor, command_id: UUID, arguments: RunArguments) -> Answer:
    """Go on with a stopped run."""
    return _done(command_id, backtests.resume(desk().engine, actor, arguments.run_id))


@query("fntx.backtests.status")
def status(arguments: RunArguments) -> Answer:
    """Return how far a run is."""
    return backtests.status(desk().engine, arguments.run_id)


@query("fntx.backtests.report")
def report(arguments: RunArguments) -> Answer:
    """Return what a run came to, by day and by year."""
    return backtests.report(desk().engine, arguments.run_id)


@query("fntx.backtests.list")
def recent(arguments: RunsArguments) -> list[Answer]:
    """Return the newest runs."""
    return backtests.recent(desk().engine, arguments.limit)
