"""What commands share that work on files and stores themselves: which settings hold, who it is, and rows of the audit.

Who acts beside the desk is said here and in `security.local` alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import uuid4

from fntx_sessions.cli import output
from fntx_sessions.exceptions import Busy, FntxError, Rejected, Unavailable
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.stack import adopt_local_stack

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fntx_sessions.lifecycle.desk_audit import Deed
    from fntx_sessions.security.actor import Actor

_TARGET_CHARACTERS = 300
_AGAIN_S = 0.2


def settings_here() -> Settings:
    """Return the settings of this process, with the addresses of the stack that runs in FNTX_HOME, where one does."""
    adopt_local_stack()
    get_settings.cache_clear()  # what the stack told us is in the environment now
    return get_settings()


def keeper(settings: Settings, action: str, about: str) -> "Actor":
    """Return who does `action` on files of this machine; `about` says what, for the audit of a denial.

    That is whom the token here speaks for, else the machine's user. Raises, with a row in the audit, Forbidden where
    the token's roles or scope do not allow it, and Unauthenticated for a token that is not good.
    """
    from fntx_sessions.security.local import beside_actor  # noqa: PLC0415 -- `fntx --help` needs none of it
    from fntx_sessions.security.machine_user import machine_user  # noqa: PLC0415
    from fntx_sessions.security.roles import permit  # noqa: PLC0415

    actor = machine_user()
    try:
        actor = beside_actor(settings)
        if actor.token_id:
            permit(actor, action)
    except Rejected as error:
        note_denied(actor, action, about, error)
        raise
    return actor


def of_the_desk(settings: Settings, action: str, about: str) -> "Actor":
    """Return who works straight on the stores in the name of their token, as the desk's workers would take it.

    Raises, with a row in the audit, Unauthenticated where they would not; and Unavailable. What their roles allow is
    not looked at.
    """
    from fntx_sessions.database.engine import get_engine  # noqa: PLC0415 -- as above
    from fntx_sessions.security.desk_auth import straight_actor  # noqa: PLC0415
    from fntx_sessions.security.machine_user import machine_user  # noqa: PLC0415

    try:
        return straight_actor(get_engine(), settings)
    except Rejected as error:
        note_denied(machine_user(), action, about, error)
        raise


def note_denied(actor: "Actor", action: str, about: str, error: Rejected) -> None:
    """Write down on the desk's chain what somebody was denied; a note where that fails."""
    from fntx_sessions.lifecycle.desk_audit import Deed  # noqa: PLC0415 -- as above

    if problem := _problem(actor, Deed(action, "denied", about[:_TARGET_CHARACTERS], str(error))):
        output.note(f"That this was refused stands in no audit: {problem}")


@dataclass
class Doing:
    """What is under way: about is what the row of its end says, and may say more than that of its beginning."""

    about: str


@contextmanager
def doing(actor: "Actor", action: str, about: str) -> Iterator[Doing]:
    """Have what the block does on the desk's chain: `pending` before anything is touched, and its end after.

    Both rows have one command id; one that was killed stays pending. Where Postgres stays away it is done all the same,
    and noted: a leaked key is changed without it.
    """
    from fntx_sessions.lifecycle.denying import outcome_of  # noqa: PLC0415 -- as above
    from fntx_sessions.lifecycle.desk_audit import Deed  # noqa: PLC0415

    under_way = Doing(about)
    deed = Deed(action, "pending", about[:_TARGET_CHARACTERS], command_id=uuid4())
    begun = _problem(actor, deed) is None
    try:
        yield under_way
    except FntxError as error:
        _note_end(actor, replace(deed, outcome=outcome_of(error), reason=str(error)), begun=begun)
        raise
    _note_end(actor, replace(deed, outcome="done", target=under_way.about[:_TARGET_CHARACTERS]), begun=begun)


def _note_end(actor: "Actor", deed: "Deed", *, begun: bool) -> None:
    if problem := _problem(actor, deed):
        stands = "its beginning alone stands in the audit" if begun else "it stands in no audit"
        output.note(f"This ended ({deed.outcome}), and {stands}: {problem}")


def note_admin_token(settings: Settings) -> None:
    """Have the administrator's token of this home on the desk's chain; where that fails, the next `fntx up` does it."""
    from fntx_sessions.lifecycle.granting import note_local  # noqa: PLC0415 -- as above

    if problem := _written(lambda engine: note_local(engine, settings)):
        output.note(f"The administrator's new token stands in no audit until the next `fntx up`: {problem}")


def _problem(actor: "Actor", deed: "Deed") -> str | None:
    from fntx_sessions.lifecycle.desk_audit import record  # noqa: PLC0415 -- as above

    return _written(lambda engine: record(engine, actor, deed))


def _written(write: "Callable[[Engine], None]") -> str | None:
    """Write rows, waiting a while for others who do; return why that could not be, None where it was."""
    from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed  # noqa: PLC0415 -- as above

    from fntx_sessions.database.engine import get_engine  # noqa: PLC0415

    patience_s = get_settings().audit_patience_s
    patiently = Retrying(
        retry=retry_if_exception_type(Busy), stop=stop_after_delay(patience_s), wait=wait_fixed(_AGAIN_S), reraise=True
    )
    try:
        patiently(lambda: write(get_engine()))
    except Busy:
        return f"others kept its end busy for more than {patience_s:g} s"
    except Unavailable as error:  # its sentence says that nothing was changed, of the row alone
        return f"{error.args[0]} is out of reach ({str(error.args[1]).rstrip('.')})"
    except FntxError as error:
        return str(error)
    return None
