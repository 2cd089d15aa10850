"""What waits for a second person, as questions answer it."""

from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import NotFound
from fntx_sessions.lifecycle.confirming import rows
from fntx_sessions.lifecycle.confirming.arguments import Confirmation, ConfirmationsQuery
from fntx_sessions.lifecycle.confirming.keeping import ended, shown_asked, waits
from fntx_sessions.lifecycle.confirming.words import brief, words
from fntx_sessions.security.roles import seconds

Row = dict[str, Any]


def list_confirmations(engine: Engine, query: ConfirmationsQuery) -> list[Confirmation]:
    """Return what waits for a second person, or all that is kept, newest first."""
    with transaction(engine) as connection:
        found = rows.listed(
            connection, query.session_id, query.confirmation, everything=query.everything, limit=query.limit
        )
    return [shown(engine, row) for row in found]


def get_confirmation(engine: Engine, command_id: UUID) -> Confirmation:
    """Return what waits, or waited, under a command's id; raises NotFound."""
    with transaction(engine) as connection:
        row = rows.find(connection, command_id)
    if row is None:
        raise NotFound("confirmation", str(command_id), "See `fntx confirmations ls --all`.")
    return shown(engine, row)


def count_waiting(engine: Engine) -> int:
    """Return how many commands wait for a second person."""
    with transaction(engine) as connection:
        return rows.count(connection)


def tell(engine: Engine, command_id: UUID, session_id: UUID | None = None) -> None:
    """Return where a command waits for nobody; raises NeedsSecond while it does, NotConfirmed where it was declined."""
    with transaction(engine) as connection:
        row = rows.find(connection, command_id)
    if row is None or session_id not in (None, row["session_id"]) or row["state"] == "confirmed":
        return
    raise ended(row) or waits(row, needed(row["action"]))


def needed(action: str) -> str:
    """Return the roles of which a second person has one, as sentences have them."""
    return " or ".join(sorted(seconds(action)))


def shown(engine: Engine, row: Row) -> Confirmation:
    """Return a row as it is shown."""
    asked = shown_asked(engine, row)
    own = {name: row[name] for name in Confirmation.model_fields.keys() & row.keys() - {"arguments"}}
    if row["overdue"]:
        own["state"] = "expired"
    told = words(row["action"], asked)
    arguments = asked.arguments if asked else None
    return Confirmation(**own, arguments=arguments, needed=needed(row["action"]), words=told, told=brief(told))
