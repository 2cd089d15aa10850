"""What verified callers were denied, and what failed them, in the audit; never more rows a minute than settings say.

It stands in the chain of the session it was about; in the desk's where it names none, or one that is not there.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from redis import Redis
from sqlalchemy import Engine

from fntx_sessions.exceptions import FntxError, Forbidden, Rejected, Retryable, Unauthenticated
from fntx_sessions.lifecycle import desk_audit, session_chain
from fntx_sessions.lifecycle.desk_audit import Deed
from fntx_sessions.security.actor import Actor, system_actor
from fntx_sessions.security.denials import allowance
from fntx_sessions.settings import Settings

if TYPE_CHECKING:
    from fntx_sessions.lifecycle.execute import Desk

log = structlog.get_logger(__name__)

COUNTED = "denials_counted"
_MINUTE_S = 60


def may_be_written(settings: Settings, redis: Redis, actor: Actor, deed: Deed) -> bool:
    """Tell whether one more denial of this caller in this minute may have a row, and take it."""
    return allowance.take(actor.name, settings.audit_denials_per_minute, redis, deed.action)


def denied(desk: "Desk", actor: Actor, deed: Deed, session_id: UUID | None) -> None:
    """Write down what a verified caller was denied or what failed them; beyond their allowance only count it.

    Nothing is raised for a store that is away: the caller's answer is the same.
    """
    if not may_be_written(desk.settings, desk.redis, actor, deed):
        allowance.count(actor.name)
        return
    try:
        write(desk.engine, actor, deed, session_id)
    except Retryable as error:
        allowance.count(actor.name)
        log.warning("denial_not_audited", actor=actor.name, action=deed.action, problem=str(error))


def write(engine: Engine, actor: Actor, deed: Deed, session_id: UUID | None) -> None:
    """Write one row, once, into the chain of the session, else the desk's; raises Busy and Unavailable."""
    if session_id is None or not session_chain.note(engine, session_id, actor, deed):
        desk_audit.record_once(engine, actor, deed)


def outcome_of(error: FntxError) -> str:
    """Return what the audit calls the end that an error is: denied for lack of authority, else refused, or failed."""
    if isinstance(error, Forbidden | Unauthenticated):
        return "denied"
    return "refused" if isinstance(error, Rejected) else "failed"


def deed_of(error: FntxError, action: str, asked: dict[str, Any]) -> Deed:
    """Return the row of what was refused or failed; asked: the message's keywords, of which ids alone are kept.

    Of a denial the action is the one of the roles table.
    """
    outcome = outcome_of(error)
    if isinstance(error, Forbidden):
        action = str(error.args[2]).split(" ")[0]
    return Deed(action, outcome, target=target_of(asked), reason=str(error), command_id=id_of(asked.get("command_id")))


def target_of(asked: dict[str, Any]) -> str | None:
    """Return what a message is about, by the first of its keywords that names it; None: nothing it could name."""
    for kind in _NAMED:
        value = asked.get(kind)
        if isinstance(value, str) and value:
            return f"{kind.removesuffix('_id').removesuffix('_name')} {value[:_NAME_CHARACTERS]}"
    return None


_NAMED = ("session_id", "halt_id", "run_id", "bulk_id", "template_name", "scope", "feed", "agent")
_NAME_CHARACTERS = 100


def note_counted(engine: Engine, host: str, *, whole: bool = False) -> None:
    """Write a row for each caller and minute of which denials were counted here alone; raises Busy and Unavailable.

    whole: of the minute that runs, too. What could not be written is kept for the next time.
    """
    counted = allowance.counted(whole=whole)
    try:
        for (minute, name), number in list(counted.items()):
            desk_audit.record(engine, system_actor(host), _counted(minute, name, number))
            del counted[minute, name]
    finally:
        allowance.give_back(counted)


def _counted(minute: int, name: str, number: int) -> Deed:
    at = datetime.fromtimestamp(minute * _MINUTE_S, UTC)
    what, minute_of = "was denied, refused or failed", f"{at:%Y-%m-%d %H:%M} UTC"
    reason = f"{number} more of what {name} asked for {what} in the minute of {minute_of}"
    return Deed(COUNTED, "denied", target=name, reason=reason)


def id_of(value: object) -> UUID | None:
    """Return what a message gives as an id; None: that is none."""
    try:
        return UUID(str(value))
    except ValueError:
        return None
