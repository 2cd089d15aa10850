"""What commands share that work on files and stores themselves: which settings hold here, and a row of the audit."""

from typing import TYPE_CHECKING

from fntx_sessions.cli import output
from fntx_sessions.exceptions import FntxError
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.stack import adopt_local_stack

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fntx_sessions.security.actor import Actor


def settings_here() -> Settings:
    """Return the settings of this process, with the addresses of the stack that runs in FNTX_HOME, where one does."""
    adopt_local_stack()
    get_settings.cache_clear()  # what the stack told us is in the environment now
    return get_settings()


def note_deed(actor: "Actor", action: str, target: str, engine: "Engine | None" = None) -> None:
    """Write down on the desk's chain what was done, by whom; a note where that fails. engine: of this process if None.

    It is done by then, and a leaked key is changed without Postgres all the same: nothing is undone for it.
    """
    from fntx_sessions.database.engine import get_engine  # noqa: PLC0415 -- `fntx --help` needs no driver
    from fntx_sessions.lifecycle.desk_audit import Deed, record  # noqa: PLC0415

    try:
        record(engine or get_engine(), actor, Deed(action, "done", target))
    except FntxError as error:
        output.note(f"This stands in no audit: {error}")
