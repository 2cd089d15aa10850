"""`fntx shred`: make everything a closed session ever kept unreadable, for good."""

import sys
from typing import Annotated
from uuid import UUID

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import line
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.output import SHORT_ID
from fntx_sessions.cli.sessions import CommandId, Reason, Version, common
from fntx_sessions.exceptions import InvalidArgument

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command()(shred)


def shred(
    session: Annotated[str, typer.Argument(metavar="ID", help="A closed session: its id, or 4 or more of it.")],
    yes: Yes = False,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Destroy a closed session's key and all it kept, in every tier, for good (administrators).

    Nobody can undo this; the audit chain stays. Backups of the database hold the key until they expire; forks of the
    session have keys of their own.
    """
    session_id = line().session_id(session)
    if not yes:
        _confirm(session_id)
    outcome = line().command("shred", {"session_id": session_id, **common(reason, version)}, command_id)
    if as_json:
        output.emit(outcome)
        return
    warnings = outcome.get("warnings") or []
    left = "NOT wholly erased yet" if warnings else "what is left of it is erased within minutes"
    output.console().print(f"{session_id}  shredded; {left}", soft_wrap=True)
    for warning in warnings:
        output.note(f"  warning: {warning}")


def _confirm(session_id: UUID) -> None:
    """Return once the first characters of the id were typed; raises InvalidArgument otherwise."""
    wanted = str(session_id)[:SHORT_ID]
    if not sys.stdin.isatty():
        raise InvalidArgument("shred", "asks before it destroys anything", "Give --yes where nobody can answer.")
    typed = typer.prompt(f"This destroys session {session_id} for good. Type {wanted} to go on", err=True)
    if typed.strip() != wanted:
        raise InvalidArgument("shred", f"{typed.strip()[:50]!r} is not {wanted}", "Nothing was changed.")
