"""Halts: nothing in scope trades until somebody with the right to it says otherwise.

A halt is a row. From its commit on, starts, resumes and openings in scope are refused in the very transaction that
would begin them; what ran before is paused, or stopped with its positions closed, by a bulk run. Whoever is killed in
between left the row, and whoever asks again goes on with what is left.
"""

import time
from typing import Any
from uuid import UUID, uuid5

import structlog
from sqlalchemy import Engine

from fntx_sessions.automation import bulk, halt_rows
from fntx_sessions.automation.halt_arguments import (
    Halt,
    HaltArguments,
    HeldSession,
    ListArguments,
    Placed,
    ReleaseArguments,
    Released,
    Scope,
)
from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import Busy, CommandConflict, InvalidArgument, NotFound
from fntx_sessions.lifecycle import desk_audit, owed
from fntx_sessions.lifecycle.confirming import about
from fntx_sessions.lifecycle.desk_audit import Deed, asked_hash
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Hold
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import HALT, RELEASE_HALT, authorize, authorize_template
from fntx_sessions.security.scope import admitted
from fntx_sessions.state.payloads import Payloads
from fntx_sessions.testing import failpoint

log = structlog.get_logger(__name__)
_WAVE = 100
_ROUNDS = 3  # what refused to be paused a third time is told, not asked again
_PAUSE_S = 0.05
_STUCK_S = 3.0  # longer than one command waits for a locked row


def halt(desk: Desk, actor: Actor, arguments: HaltArguments, halt_id: UUID, *, within_s: float) -> Placed:
    """Place a halt and pause or stop what it is about, for at most about `within_s`; raises as `place` does."""
    began = time.monotonic()
    found, stood = place(desk, actor, arguments, halt_id)
    left_s = within_s - (time.monotonic() - began)
    return enforce(desk, actor, found, within_s=left_s).model_copy(update={"standing": stood})


def place(desk: Desk, actor: Actor, arguments: HaltArguments, halt_id: UUID) -> tuple[Halt, bool]:
    """Store a halt and return it, or the one that stands for the scope already, and whether it is that one.

    Raises Forbidden, NotFound and InvalidArgument for its scope, CommandConflict where the id is another halt's, and
    Busy: then nothing was halted.
    """
    given = Scope.parse(arguments.scope)
    if given.kind == "session":
        actor = admitted(desk.engine, actor, given.name)
    wanted = given.among(actor) or given
    # Before it is looked at: what there is, is not for those who may see some sessions alone.
    if wanted.kind == "template" and wanted.name is not None:
        authorize_template(actor, HALT, wanted.name)
    else:
        authorize(actor, HALT, wanted.name if wanted.kind == "session" else None)
    scope = halt_rows.known(desk.engine, wanted)
    own = {"halt_id": halt_id, "scope": scope.kind, "name": scope.name, "actor": actor.name}
    asked = own | arguments.model_dump(include={"reason", "flatten"})
    found, stood = _stored(desk, actor, asked | {"lock_ms": desk.settings.halt_lock_timeout_ms})
    if (found.scope, found.scope_name) != (scope.kind, scope.name):
        raise CommandConflict(str(halt_id), f"the halt of {found.where}")
    log.warning("halt_placed", halt_id=str(found.halt_id), scope=found.where, by=actor.name, stood=stood)
    return found, stood


def _stored(desk: Desk, actor: Actor, asked: dict[str, Any]) -> tuple[Halt, bool]:
    try:
        with transaction(desk.engine) as connection:
            found, stood, done = halt_rows.place(connection, asked)
            # Owed, as nobody who holds the end of the desk's chain may keep a halt from standing.
            owed_id = owed.owe(connection, actor, _deed(found, asked, done)) if done else None
            failpoint("halt.before_commit")
    except Busy as error:
        raise Busy("a start, resume or opening that is under way", asked["lock_ms"]) from error
    failpoint("halt.placed")
    if owed_id is not None:
        owed.pay(desk.engine, owed_id)
    return found, stood


def _deed(found: Halt, asked: dict[str, Any], done: str) -> Deed:
    told = f"{done}{' to flatten' if asked['flatten'] and done == 'placed' else ''}: {asked['reason']}"
    hashed = asked_hash({name: asked[name] for name in ("scope", "name", "flatten", "reason")})
    return Deed(HALT, "done", f"halt of {found.where}", told, found.halt_id, hashed)


def enforce(desk: Desk, actor: Actor, found: Halt, *, within_s: float) -> Placed:
    """Pause or stop what is left in a halt's scope, for at most about `within_s`; return what it came to so far.

    The bulk sweep goes on with what is left, and so does whoever asks again.
    """
    until = time.monotonic() + within_s
    begun = 0
    while found.stands and time.monotonic() < until:
        run = _open_run(desk.engine, found)
        if run is None:
            waiting = halt_rows.left(desk.engine, found.halt_id)
            if not waiting or begun >= _ROUNDS:
                break
            run = _begin(desk.engine, actor, found, waiting)
            begun += 1
            failpoint("halt.run_begun")
        _advance(desk, actor, run, until)
    return _told(desk.engine, found)


def _open_run(engine: Engine, found: Halt) -> UUID | None:
    """Return the halt's run that is not over; None: there is none."""
    waiting = [run for run in halt_rows.runs(engine, found.halt_id) if not (run["finished_at"] or run["cancelled_at"])]
    return waiting[-1]["bulk_id"] if waiting else None


def _begin(engine: Engine, actor: Actor, found: Halt, waiting: list[UUID]) -> UUID:
    number = len(halt_rows.runs(engine, found.halt_id)) + 1
    request = bulk.BulkRequest(
        bulk_id=uuid5(found.halt_id, f"run/{number}"),
        halt_id=found.halt_id,
        action="stop" if found.flatten else "pause",
        selector=bulk.Selector(session_ids=waiting),
        arguments={"close_positions": True} if found.flatten else {"hold": Hold.HALT.value},
        reason=f"halt of {found.where}: {found.reason}"[:2000],
        wave_size=_WAVE,
        wave_pause_s=0.0,
    )
    return bulk.begin(engine, actor, request)


def _advance(desk: Desk, actor: Actor, run: UUID, until: float) -> None:
    """Do a run. One that somebody else is at is waited for while it moves; what it then leaves is the next one's."""
    counts: dict[str, int] = {}
    moved = time.monotonic()
    while (now := time.monotonic()) < until:
        report = bulk.advance(desk, run, seconds=until - now, items=False)
        if report.over:
            return
        if report.counts != counts:
            counts, moved = report.counts, now
        elif now - moved > _STUCK_S:
            bulk.give_up(desk.engine, actor, run)
            return
        time.sleep(_PAUSE_S)


def _told(engine: Engine, found: Halt) -> Placed:
    items: dict[UUID, bulk.Item] = {}
    for run in halt_rows.runs(engine, found.halt_id):
        items |= {item.session_id: item for item in bulk.report(engine, run["bulk_id"]).items}
    left = len(halt_rows.left(engine, found.halt_id)) if found.stands else 0
    return Placed(halt=found, standing=False, left=left, items=list(items.values()))


def release(desk: Desk, actor: Actor, arguments: ReleaseArguments, command_id: UUID | None = None) -> Released:
    """End a halt; what it paused stays paused until a person resumes it. Asked again by its id, it answers the same.

    Where two people agreed to it under `command_id`, it is the halt that its scope named when it was asked. Raises
    Forbidden, and NotFound where no such halt stands.
    """
    authorize(actor, RELEASE_HALT)
    found = _agreed(desk.engine, actor, command_id) or named(desk.engine, arguments)
    with transaction(desk.engine) as connection:
        if halt_rows.release(connection, found.halt_id, actor.name, arguments.reason):
            deed = Deed(RELEASE_HALT, "done", f"halt of {found.where}", arguments.reason, found.halt_id)
            desk_audit.record_in(connection, actor, deed)
    ended = halt_rows.load(desk.engine, found.halt_id)
    log.warning("halt_released", halt_id=str(ended.halt_id), scope=ended.where, by=ended.released_by)
    sessions = [HeldSession.model_validate(row) for row in halt_rows.held(desk.engine, ended.halt_id)]
    return Released(halt=ended, sessions=sessions)


def _agreed(engine: Engine, actor: Actor, command_id: UUID | None) -> Halt | None:
    with transaction(engine) as connection:
        facts = about.as_asked(connection, Payloads(engine), actor, command_id)
    return None if facts is None else halt_rows.load(engine, UUID(facts["halt"]["halt_id"]))


def named(engine: Engine, arguments: ReleaseArguments) -> Halt:
    """Return the halt that is meant; raises NotFound, and InvalidArgument where it is not one alone."""
    if arguments.halt_id is not None:
        return halt_rows.find(engine, arguments.halt_id)
    scope = Scope.parse(arguments.scope or "")
    fits = [found for found in standing(engine) if found.scope == scope.kind and _is_named(found, scope)]
    if not fits:
        raise NotFound("standing halt", str(scope), "See `fntx halt ls`.")
    if len(fits) > 1:
        raise InvalidArgument("scope", f"{scope} fits several halts", "Give more of the session's id.")
    return fits[0]


def _is_named(found: Halt, scope: Scope) -> bool:
    """Tell whether a scope as it was given names the halt's own; of a session, some characters will do."""
    if scope.kind != "session":
        return found.scope_name == scope.name
    return (found.scope_name or "").startswith((scope.name or "").lower())


def standing(engine: Engine) -> list[Halt]:
    """Return the halts that stand, newest first."""
    return halt_rows.listed(engine, released=False, limit=0)


def listed(engine: Engine, arguments: ListArguments) -> list[Halt]:
    """Return the halts that stand, or with `released` the newest of all."""
    return halt_rows.listed(engine, released=arguments.released, limit=arguments.limit)
