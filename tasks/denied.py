"""Floods of what a verified caller may never do, refused where a worker takes them: before its pool is bothered.

So many denials a minute are passed on, as many as may have a row in the audit: the pool's process judges and writes
them down. The others are counted here. Only what needs no store is judged: roles, and a scope of sessions by id.
"""

from typing import Any

import structlog

from fntx_sessions.exceptions import Forbidden
from fntx_sessions.figures import REFUSALS
from fntx_sessions.lifecycle.denying import id_of
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.denials import allowance
from fntx_sessions.security.roles import ALLOWED, outside
from fntx_sessions.settings import get_settings
from tasks.needed import needed
from tasks.refusing import count_denied
from tasks.unverified import RefusedMessage, answer_refused

log = structlog.get_logger(__name__)


class DeniedMessage(RefusedMessage):
    """A message of a caller beyond their allowance of denials, for what they may never do."""


def refuse_denied(actor: Actor, message: Any, app: Any, kwargs: dict[str, Any]) -> None:
    """Raise DeniedMessage, counted and answered, for one more denial of a caller who is beyond their allowance."""
    try:
        error = denial(actor, str(message.headers["task"]), kwargs)
        most, task = get_settings().audit_denials_per_minute, str(message.headers["task"])
        passed_on = error is None or not allowance.is_beyond(actor.name, most, task)
    except Exception:
        # As for a token that cannot be read: the pool's process looks again.
        log.exception("caller_not_judged")
        return
    if error is None or passed_on:
        return
    REFUSALS.note(1, type(error).__name__)
    count_denied(actor)
    answer_refused(message, app, kwargs, error)
    raise DeniedMessage(str(error)) from error


def denial(actor: Actor, name: str, kwargs: dict[str, Any]) -> Forbidden | None:
    """Return why a caller may not do this task whatever its arguments are; None: they may, or a store has to tell."""
    actions = needed(name)
    holders: frozenset[str] = frozenset().union(*(ALLOWED.get(action, frozenset()) for action in actions))
    if actor.roles.isdisjoint(holders):
        asked = next(iter(actions)) if len(actions) == 1 else name
        return Forbidden(actor.name, actor.role_list(), str(asked), " or ".join(sorted(holders)))
    session_id = id_of(kwargs.get("session_id"))
    if session_id is None or actor.scoped_by_kind or actor.reaches(session_id):
        return None
    return outside(actor, f"{name} of session {session_id}")
