"""fntx.health.*: how the desk and its sessions do, asked by whoever may view."""

from typing import Any

from fntx_sessions.automation.health.looking import check_session
from fntx_sessions.lifecycle.arguments import QueryArguments
from tasks.base import query
from tasks.desk import desk


@query("fntx.health.desk")
def desk_health() -> dict[str, Any]:
    """Return every check of the desk, worst first, and the sessions that are not well."""
    from fntx_sessions.stack.desk_health import desk_json  # noqa: PLC0415 - Alembic, which no other query needs

    return desk_json(desk().settings)


@query("fntx.health.session")
def session_health(arguments: QueryArguments) -> dict[str, Any]:
    """Return every check of a session, as they are now."""
    return check_session(desk(), arguments.session_id)
