"""Which sessions a selector means, and what each of them would answer: what a preview shows, and a run stores."""

from dataclasses import replace
from time import monotonic
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine

from fntx_sessions.automation.bulk import rows
from fntx_sessions.automation.bulk.request import BulkArguments, Item, Selector
from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import Busy, Forbidden, InvalidArgument, NotFound
from fntx_sessions.lifecycle import denying, machine, transitions
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.lifecycle.commands import DECISIONS
from fntx_sessions.lifecycle.desk_audit import Deed
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import SessionStatus, Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import authorize, if_confirmed, outside, permit
from fntx_sessions.settings import get_settings

Row = dict[str, Any]
_NO_LIMIT = 10_000_000
_ENDED = frozenset({SessionStatus.CLOSING, SessionStatus.CLOSED})


def may_ask(actor: Actor, action: str) -> None:
    """Return when the actor's roles may ask for this of some session, alone or as one of two; raises Forbidden."""
    permit(actor.everywhere(), action)


def may_begin(actor: Actor, action: str) -> None:
    """Return when the actor may ask for this of many now; raises as `may_ask`, and NeedsSecond: once, for all."""
    authorize(actor.everywhere(), action)


def matching(
    connection: Connection, actor: Actor, selector: Selector, *, positions: bool = False, limited: bool = True
) -> list[Row]:
    """Return the sessions in the actor's scope that a selector means, oldest first.

    Raises NotFound for an id that is no session's where the token has no scope, InvalidArgument for a template there is
    not, and for more than `bulk_sessions_max`.
    """
    _check_names(connection, actor, selector)
    most = get_settings().bulk_sessions_max if limited else _NO_LIMIT
    found = rows.match(connection, selector.given, actor, most + 1, positions=positions)
    if len(found) > most:
        fix = "Narrow it, or raise FNTX_BULK_SESSIONS_MAX."
        raise InvalidArgument("selector", f"means more than {most:,} sessions", fix)
    return found


def knowing(actor: Actor, found: list[Row]) -> Actor:
    """Return the actor, knowing that the sessions found are in scope."""
    theirs = frozenset(str(row["session_id"]) for row in found)
    return replace(actor, admitted=theirs) if actor.scoped_by_kind else actor


def beyond(connection: Connection, actor: Actor, selector: Selector) -> list[UUID]:
    """Return the ids a selector names that its actor's scope holds no session of, whether anybody's does or not."""
    if not actor.scoped or selector.session_ids is None:
        return []
    return rows.unknown_ids(connection, list(dict.fromkeys(selector.session_ids)), actor)


def refusal(actor: Actor, trigger: Trigger, session_id: UUID) -> Forbidden:
    """Return what the single command answers of a session that is out of scope, or that there is not."""
    return outside(actor, f"{trigger} session {session_id}")


def _check_names(connection: Connection, actor: Actor, selector: Selector) -> None:
    if selector.session_ids is not None and not actor.scoped:
        for missing in rows.unknown_ids(connection, selector.session_ids, actor):
            raise NotFound("session", str(missing), "See `fntx ls`.")
    if selector.template_name is not None:
        known = rows.template_names(connection, selector.template_name)
        if known is not None:
            problem = f"there is no template {selector.template_name!r}"
            raise InvalidArgument("selector.template_name", problem, f"Known: {', '.join(known)}.")


def preview(desk: Desk, actor: Actor, request: BulkArguments) -> list[Item]:
    """Return what a run would come to now, session by session; changes nothing.

    `waiting` would be done, to `status_after`; `refused` says why, and of a session out of scope nothing but that,
    which is audited. Raises as `begin` does.
    """
    may_ask(actor, request.trigger)
    request.command(UUID(int=0))
    with transaction(desk.engine) as connection:
        found = matching(connection, actor, request.selector, positions=True)
        others = beyond(connection, actor, request.selector)
    if others:
        denying.denied(desk, actor, _denial(actor, request, others), None)
    actor = knowing(actor, found)
    until = monotonic() + get_settings().bulk_preview_s
    foreseen = [_foreseen(desk.engine, actor, request, row, until) for row in found]
    return foreseen + [_unseen(actor, request.trigger, one) for one in others]


def _denial(actor: Actor, request: BulkArguments, others: list[UUID]) -> Deed:
    # One row for all: each in a chain of its own would wait for each of those sessions' locks.
    named = ", ".join(map(str, others))
    deed = denying.deed_of(refusal(actor, request.trigger, others[0]), request.trigger, {})
    return replace(deed, target=f"bulk preview of {len(others)} sessions out of scope", reason=f"{deed.reason} {named}")


def _unseen(actor: Actor, trigger: Trigger, session_id: UUID) -> Item:
    return Item(session_id=session_id, state="refused", problem=str(refusal(actor, trigger, session_id)))


def _foreseen(engine: Engine, actor: Actor, request: BulkArguments, row: Row, until: float) -> Item:
    status = SessionStatus(row["status"])
    problem = _illegal(request, status) or _rehearsed(engine, actor, request, row["session_id"], until)
    after = None if problem else transitions.target(request.trigger, status)
    return Item(
        session_id=row["session_id"],
        state="refused" if problem else "waiting",
        status_before=status,
        status_after=after,
        problem=problem,
        positions=row["positions"],
        **{name: row[name] for name in ("session_type", "template_name", "account_id")},
    )


def _illegal(request: BulkArguments, status: SessionStatus) -> str | None:
    """Return why the state table refuses, None where it does not."""
    if transitions.target(request.trigger, status) is not None:
        return None
    reached = transitions.TABLE[request.trigger][1]
    if status is reached or status in _ENDED:
        return f"already {status}"
    sources = sorted(str(one) for one in transitions.TABLE[request.trigger][0])
    return f"{status}; {request.action} takes {' or '.join(sources)}"


def _rehearsed(engine: Engine, actor: Actor, request: BulkArguments, session_id: UUID, until: float) -> str | None:
    """Return what only the locked row can tell: a resume has more to ask than the state table."""
    if request.trigger is not Trigger.RESUME or monotonic() >= until:
        return None
    arguments = request.command(session_id).model_dump(mode="json", exclude={"session_id", "reason"}, exclude_none=True)
    ask = Ask(request.trigger, session_id, if_confirmed(actor), request.reason, arguments=arguments)
    try:
        refused = machine.rehearse(engine, ask, DECISIONS[request.trigger])
    except Busy:
        return None
    return None if refused is None else str(refused)
