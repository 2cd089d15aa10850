"""What a token is good for, where its scope names templates or tags: the session's row has to be looked at."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import statements
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import outside

# Of the sessions `s`, those that a scope holds; `bound` fills it in.
IN_SCOPE = """(CAST(:scope_sessions AS uuid[]) IS NULL OR s.session_id = ANY(CAST(:scope_sessions AS uuid[]))
    OR s.template_name = ANY(CAST(:scope_templates AS text[])) OR s.tags && CAST(:scope_tags AS text[]))"""
_HOLDS = text(f"SELECT 1 FROM sessions s WHERE s.session_id = :session_id AND {IN_SCOPE}")
_HELD = text(f"SELECT s.session_id FROM sessions s WHERE {IN_SCOPE} ORDER BY s.created_at DESC")


def bound(actor: Actor | None) -> dict[str, Any]:
    """Return what `IN_SCOPE` is asked with; None, and a caller without a scope: all sessions."""
    if actor is None or not actor.scoped:
        return {"scope_sessions": None, "scope_templates": [], "scope_tags": []}
    sessions = [str(one) for one in map(_uuid, actor.sessions) if one is not None]
    return {"scope_sessions": sessions, "scope_templates": sorted(actor.templates), "scope_tags": sorted(actor.tags)}


def admitted(engine: Engine, actor: Actor, session_id: UUID | str | None) -> Actor:
    """Return the actor, knowing that a session is in scope if it is; raises Busy and Unavailable.

    It asks Postgres only where template or tags decide.
    """
    named = _uuid(session_id) if actor.scoped_by_kind and not actor.reaches(session_id) else None
    if named is None:
        return actor
    with statements(engine) as connection:
        found = connection.execute(_HOLDS, bound(actor) | {"session_id": named}).first()
    return replace(actor, admitted=actor.admitted | {str(named)}) if found else actor


def sessions_in(engine: Engine, actor: Actor) -> list[UUID] | None:
    """Return the sessions in an actor's scope, newest first; None: all. Raises Busy and Unavailable."""
    if not actor.scoped:
        return None
    if not actor.scoped_by_kind:
        return sorted(one for one in map(_uuid, actor.sessions) if one is not None)
    with statements(engine) as connection:
        return list(connection.execute(_HELD, bound(actor)).scalars())


def holds(actor: Actor, session_id: UUID, template_name: str | None, tags: Collection[str]) -> bool:
    """Tell whether a session, as its locked row says it is now, is in an actor's scope."""
    named = not actor.scoped or str(session_id) in actor.sessions or template_name in actor.templates
    return named or not actor.tags.isdisjoint(tags)


def refuse_outside(
    actor: Actor, action: str, session_id: UUID, template_name: str | None, tags: Collection[str]
) -> None:
    """Raise Forbidden where a session, as its locked row says, is not in scope: its tags may be others than before."""
    if not holds(actor, session_id, template_name, tags):
        raise outside(actor, f"{action} session {session_id}")


def _uuid(value: UUID | str | None) -> UUID | None:
    try:
        return value if isinstance(value, UUID) or value is None else UUID(value)
    except ValueError:
        return None
