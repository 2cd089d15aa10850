"""fntx.bulk.*: one command on many sessions: foresee it, begin it, see how far it is, cancel it, go on with it.

All of them verify roles and scope themselves: a token that is good for some sessions may ask this of those.
"""

from typing import Any
from uuid import UUID

from pydantic import Field

from fntx_sessions.automation import bulk
from fntx_sessions.automation.bulk import BulkArguments, BulkRequest
from fntx_sessions.schemas import Model
from fntx_sessions.security.actor import Actor
from tasks.about import of_bulk
from tasks.base import command
from tasks.desk import desk

Answer = dict[str, Any]


class RunArguments(Model):
    """One run. items: list its sessions too."""

    bulk_id: UUID
    items: bool = True


class RunsArguments(Model):
    """The newest runs."""

    limit: int = Field(default=20, ge=1, le=1000)


def _done(result: Any) -> Answer:
    return {"state": "done", "result": result, "error": None}


@command("fntx.bulk.preview")
def preview(actor: Actor, arguments: BulkArguments) -> Answer:
    """Return what a run would come to now; changes nothing."""
    return _done(bulk.preview(desk(), actor, arguments))


@command("fntx.bulk.begin", about=of_bulk)
def begin(actor: Actor, command_id: UUID, arguments: BulkArguments) -> Answer:
    """Store a run, its id the command's, and begin with it at once; the sweep goes on."""
    at = desk()
    bulk.begin(at.engine, actor, BulkRequest(**dict(arguments), bulk_id=command_id))
    return _done(bulk.advance(at, command_id, seconds=at.settings.command_soft_time_limit_s / 4, items=False))


@command("fntx.bulk.report")
def report(actor: Actor, arguments: RunArguments) -> Answer:
    """Return how far a run is."""
    return _done(bulk.report(desk().engine, arguments.bulk_id, items=arguments.items, actor=actor))


@command("fntx.bulk.cancel")
def cancel(actor: Actor, command_id: UUID, arguments: RunArguments) -> Answer:  # noqa: ARG001 -- a second's word waits under it
    """Ask nothing more of those whose turn has not come; of a halt's run it may wait for a second."""
    return _done(bulk.cancel(desk().engine, actor, arguments.bulk_id))


@command("fntx.bulk.resume")
def resume(actor: Actor, arguments: RunArguments) -> Answer:
    """Go on with a run that waits for a person."""
    return _done(bulk.resume(desk().engine, actor, arguments.bulk_id))


@command("fntx.bulk.list")
def recent(actor: Actor, arguments: RunsArguments) -> Answer:
    """Return the newest runs."""
    return _done(bulk.recent(desk().engine, arguments.limit, actor))
