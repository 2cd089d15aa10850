"""A run as it is stored: begun once, reported, cancelled, gone on with, forgotten."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine

from fntx_sessions.automation.bulk import rows
from fntx_sessions.automation.bulk.matching import beyond, knowing, matching, may_ask, may_begin, refusal
from fntx_sessions.automation.bulk.request import (
    TRIGGERS,
    BulkRequest,
    Item,
    Report,
    RunState,
    Selector,
    item_command_id,
)
from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import CommandConflict, NotFound
from fntx_sessions.lifecycle import desk_audit, machine
from fntx_sessions.lifecycle.confirming import about
from fntx_sessions.lifecycle.desk_audit import Deed, asked_hash
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import RELEASE_HALT, VIEW, authorize
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.state.payloads import ARGUMENTS, DESK, Payloads

Row = dict[str, Any]
_FORGOTTEN_AT_ONCE = 100
_SAME = ("bulk_id", "action", "actor", "reason", "wave_size", "wave_pause_s", "created_at", "next_wave_at",
         "finished_at", "cancelled_at", "cancelled_by", "resumed_at", "resumed_by", "halt_id",
         "counts", "waves")  # fmt: skip
_ITEM = ("session_id", "state", "status_before", "status_after", "problem", "wave", "command_id", "session_type",
         "template_name", "account_id", "finished_at")  # fmt: skip


def begin(engine: Engine, actor: Actor, request: BulkRequest) -> UUID:
    """Store a run with the sessions that match now as its items; return its id. Nothing is asked of them yet.

    Asked twice under one id, it is there once. Raises Forbidden, InvalidArgument, NotFound for an id and where nothing
    matches (Forbidden where ids out of scope were named), which stores nothing, CommandConflict when the id stands for
    another run, NeedsSecond, and NotConfirmed where two people agreed to it for other sessions, or some of them were
    changed since.
    """
    may_begin(actor, request.trigger)
    request.command(UUID(int=0))
    payloads = Payloads(engine)
    sealed = payloads.seal_some(DESK, ARGUMENTS, request.bulk_id, request.arguments)
    with transaction(engine) as connection:
        found = rows.load(connection, request.bulk_id)
        if found is None:
            found = _registered(connection, actor, request, sealed, payloads)
    _must_be_same(found, request, payloads)
    return request.bulk_id


def _registered(
    connection: Connection, actor: Actor, request: BulkRequest, sealed: bytes | None, payloads: Payloads
) -> Row:
    found = matching(connection, actor, request.selector, limited=request.halt_id is None)
    actor = knowing(actor, found)
    others = beyond(connection, actor, request.selector)
    # Nothing in scope would be stored as no scope at all.
    if not found:
        raise refusal(actor, request.trigger, others[0]) if others else none_matches(request.selector)
    ids = [row["session_id"] for row in found]
    if actor.confirmed_by:
        now = about.of_sessions(connection, request.trigger, ids)
        about.must_be_as_asked(connection, payloads, actor, request.bulk_id, now, about.OF_SESSIONS)
    # The others are asked for, and so refused and audited, each as by the single command.
    named = ids + others
    items = {
        "ids": named,
        "commands": [item_command_id(request.bulk_id, one) for one in named],
        "statuses": [row["status"] for row in found] + [None] * len(others),
    }
    rows.register(connection, _run(actor, request, sealed), items)
    # Of a halt's run, the halt is the deed; and nothing is waited for in its way.
    if request.halt_id is None:
        desk_audit.record_in(connection, actor, _deed(request, f"begun on {len(named)} sessions"))
    row = rows.load(connection, request.bulk_id)
    if row is None:
        msg = "a run was stored and is not there"
        raise RuntimeError(msg)
    return row


def _deed(request: BulkRequest, what: str) -> Deed:
    target = f"bulk {request.action} {request.bulk_id}: {what}"
    hashed = asked_hash(request.model_dump(mode="json"))
    return Deed(request.trigger.value, "done", target, request.reason, request.bulk_id, hashed)


def _run(actor: Actor, request: BulkRequest, sealed: bytes | None) -> Row:
    settings = get_settings()
    pause_s = settings.bulk_wave_pause_s if request.trigger is Trigger.RESUME else 0.0
    return {
        "bulk_id": request.bulk_id,
        "action": request.action,
        "selector": request.selector.model_dump_json(exclude_none=True),
        "arguments": sealed,
        "reason": request.reason,
        "actor": actor.name,
        "roles": sorted(actor.roles),
        "token_id": actor.token_id,
        "token_sessions": sorted(actor.sessions | actor.admitted),
        "confirmed_by": actor.confirmed_by or None,
        "confirmed_roles": sorted(actor.confirmed_roles),
        "halt_id": request.halt_id,
        "wave_size": request.wave_size or settings.bulk_wave_size,
        "wave_pause_s": pause_s if request.wave_pause_s is None else request.wave_pause_s,
    }


def _must_be_same(row: Row, request: BulkRequest, payloads: Payloads) -> None:
    stored = (row["action"], row["reason"], arguments_of(row, payloads))
    same = stored == (request.action, request.reason, request.arguments)
    if not same or not _means_the_same(Selector.model_validate(row["selector"]), request.selector):
        raise CommandConflict(str(request.bulk_id), f"a bulk {row['action']}")


def _means_the_same(stored: Selector, asked: Selector) -> bool:
    """Tell whether a run is of those who are asked for again: what was shown and agreed to was stored with its ids."""
    unnamed = asked.session_ids is None
    return asked == (stored.model_copy(update={"session_ids": None}) if unnamed else stored)


def none_matches(selector: Selector) -> NotFound:
    """Return the error for a selector that means no session."""
    return NotFound("session for", str(selector), "Nothing was changed. `fntx ls` takes the same options.")


def arguments_of(row: Row, payloads: Payloads) -> dict[str, Any]:
    """Return what each of a run's commands is asked with."""
    found: dict[str, Any] = payloads.open(DESK, ARGUMENTS, row["bulk_id"], row["arguments"])
    return found


def report(engine: Engine, bulk_id: UUID, *, items: bool = True, actor: Actor | None = None) -> Report:
    """Return how far a run is; raises NotFound. actor: who asks; with a token for some sessions, it sees its own runs.

    None: the desk itself asks.
    """
    if actor is not None:
        may_ask(actor, VIEW)
    with transaction(engine) as connection:
        row = rows.load(connection, bulk_id)
        found = rows.items_of(connection, bulk_id) if items and row is not None else []
    if row is None or (actor is not None and not _may_see(actor, row)):
        raise unknown(bulk_id)
    return _report(row, [_item(engine, one) for one in found])


def unknown(bulk_id: UUID) -> NotFound:
    """Return the error for a run there is not."""
    return NotFound("bulk run", str(bulk_id), "See `fntx bulk ls`.")


def _may_see(actor: Actor, row: Row) -> bool:
    if not actor.scoped:
        return True
    # Which sessions a template or a tag meant then is not known any more: whose it is, is.
    same = bool(row["token_sessions"]) if actor.scoped_by_kind else set(row["token_sessions"]) == set(actor.sessions)
    return same and bool(row["actor"] == actor.name)


def _report(row: Row, items: list[Item]) -> Report:
    same = {name: row[name] for name in _SAME}
    return Report(**same, selector=Selector.model_validate(row["selector"]), state=_state(row), items=items)


def _state(row: Row) -> RunState:
    if row["cancelled_at"] is not None:
        return "cancelled"
    if row["finished_at"] is not None:
        return "finished"
    return "stopped" if row["next_wave_at"] is None else "running"


def _item(engine: Engine, row: Row) -> Item:
    if row["asked_state"] == "pending" and row["state"] == "refused":
        outcome = machine.stored_outcome(engine, row["command_id"])
        row["problem"] = None if outcome is None else (outcome.error or {}).get("message")
    return Item(**{name: row[name] for name in _ITEM})


def recent(engine: Engine, limit: int, actor: Actor | None = None) -> list[Report]:
    """Return the newest runs, without their items; of an actor with a scoped token, its own."""
    if actor is not None:
        may_ask(actor, VIEW)
    with transaction(engine) as connection:
        found = rows.recent(connection, limit)
    return [_report(row, []) for row in found if actor is None or _may_see(actor, row)]


def cancel(engine: Engine, actor: Actor, bulk_id: UUID) -> Report:
    """Ask nothing more of those whose turn has not come; a run that is over stays so.

    A halt's is for who may end halts, as one of two where that takes two. Raises NotFound, Forbidden and NeedsSecond.
    """
    if report(engine, bulk_id, items=False, actor=actor).halt_id is not None:
        authorize(actor, RELEASE_HALT)
    return _changed(engine, actor, bulk_id, rows.cancel, "cancelled")


def give_up(engine: Engine, actor: Actor, bulk_id: UUID) -> None:
    """Cancel a halt's run that stands still, for its next one to go on with what is left: no deed of its own.

    For the halt that placed it alone; whoever asks for a cancellation asks `cancel`.
    """
    with transaction(engine) as connection:
        rows.cancel(connection, bulk_id, actor.name)


def resume(engine: Engine, actor: Actor, bulk_id: UUID) -> Report:
    """Go on with a run that waits for a person, in the name of who asked for it; raises NotFound, Forbidden."""
    return _changed(engine, actor, bulk_id, rows.resume, "gone on with")


def _changed(engine: Engine, actor: Actor, bulk_id: UUID, change: Any, what: str) -> Report:
    found = report(engine, bulk_id, items=False, actor=actor)
    may_ask(actor, TRIGGERS[found.action])
    with transaction(engine) as connection:
        if change(connection, bulk_id, actor.name):
            of = "" if found.halt_id is None else f" of halt {found.halt_id}"
            target = f"bulk {found.action} {bulk_id}{of}: {what}"
            deed = Deed(TRIGGERS[found.action].value, "done", target, command_id=bulk_id)
            desk_audit.record_in(connection, actor, deed)
    return report(engine, bulk_id)


def forget_old(engine: Engine, settings: Settings) -> int:
    """Delete runs that ended longer ago than `bulk_keep_s`; return how many."""
    done = 0
    while True:
        with transaction(engine) as connection:
            found = rows.forget(connection, settings.bulk_keep_s, _FORGOTTEN_AT_ONCE)
        done += found
        if found < _FORGOTTEN_AT_ONCE:
            return done
