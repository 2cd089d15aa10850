"""Pause, resume or stop many sessions: asked once, done in waves, one command a session, whoever dies in between.

A run and its items live in Postgres. Each item's command has an id that follows from the run's and the session's, so
that it is done once however many ask for it, and is asked in the name and with the roles of who asked for the run.
"""

from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.automation.bulk_request import BulkArguments, BulkRequest, Item, Report, Selector
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.security.actor import Actor

__all__ = ["BulkArguments", "BulkRequest", "Item", "Report", "Selector", "advance", "begin", "cancel", "preview",
           "recent", "report", "resume"]  # fmt: skip


def begin(engine: Engine, actor: Actor, request: BulkRequest) -> UUID:
    """Store a run with the sessions that match now as its items; return its id. Nothing is asked of them yet."""
    raise NotImplementedError


def preview(engine: Engine, actor: Actor, request: BulkArguments) -> list[Item]:
    """Return what a run would come to now, session by session; changes nothing."""
    raise NotImplementedError


def advance(desk: Desk, bulk_id: UUID, *, all_waves: bool = False) -> Report:
    """Do the wave of a run that is due, or all there are, unless somebody else is at it; return how far it is."""
    raise NotImplementedError


def report(engine: Engine, bulk_id: UUID, *, items: bool = True) -> Report:
    """Return how far a run is; raises NotFound."""
    raise NotImplementedError


def cancel(engine: Engine, actor: Actor, bulk_id: UUID) -> Report:
    """Ask nothing more of those whose turn has not come; raises NotFound, Forbidden."""
    raise NotImplementedError


def resume(engine: Engine, actor: Actor, bulk_id: UUID) -> Report:
    """Go on with a run that waits for a person; raises NotFound, Forbidden."""
    raise NotImplementedError


def recent(engine: Engine, limit: int) -> list[Report]:
    """Return the newest runs, without their items."""
    raise NotImplementedError
