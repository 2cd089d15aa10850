"""`fntx audit ls|verify|export`: what was done by whom, and whether nobody changed the record since.

They read Postgres, the cold store and the key ring themselves: whoever is suspected is not asked.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO
from uuid import UUID

import typer

from fntx_sessions.caller.ids import SHOWN, only, whole_or_prefix
from fntx_sessions.cli import output
from fntx_sessions.cli.audit_refused import refused
from fntx_sessions.cli.beside import settings_here
from fntx_sessions.cli.exits import Exit
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.moments import moment_given
from fntx_sessions.cli.output import SHORT_ID, plain
from fntx_sessions.exceptions import FntxError, InvalidArgument, Unavailable
from fntx_sessions.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fntx_sessions.lifecycle.auditing.verifying import Verified

HELP = (
    "What was done, by whom, and whether nobody changed the record since. Reads the stores itself, with the key ring."
)
Session = Annotated[str | None, typer.Argument(metavar="[ID]", help="A session's id or first characters (4 or more).")]
Desk = Annotated[bool, typer.Option("--desk", help="The desk's own chain: what is about no one session.")]
_DAY = "1d"
_DESK = UUID(int=0)
BROKEN = Exit.UNEXPECTED  # 1, as `fntx archive verify` says of an archive that is not whole


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    group = typer.Typer(name="audit", help=HELP, no_args_is_help=True)
    group.command("ls")(list_rows)
    group.command()(verify)
    group.command()(export)
    group.command()(refused)
    app.add_typer(group)


def list_rows(
    session: Session = None,
    desk: Desk = False,
    actor: Annotated[str | None, typer.Option(help="Only what this name did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this action, as pause_session.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Only done, refused, denied, failed or pending.")] = None,
    since: Annotated[str | None, typer.Option(help="From then on: 2h, 3d, 2026-01-05T15:58. [default: 1d]")] = None,
    until: Annotated[str | None, typer.Option(help="Before then.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List rows of the audit, the newest first: of one session, of the desk's own chain, or of the last day of all."""
    from fntx_sessions.lifecycle.auditing.listing import Wanted, list_audit  # noqa: PLC0415 -- `--help` needs no driver

    engine, chain = _engine(settings_here()), None
    if session or desk:
        chain = _chain(engine, session, desk=desk)
    elif since is None:
        since = _DAY
    span = (moment_given(since, "--since"), moment_given(until, "--until"))
    found = list_audit(engine, Wanted(chain, actor, action, outcome, *span), limit)
    if as_json:
        output.emit(found)
    else:
        output.table(found, COLUMNS, "no rows; --since looks further back")


def verify(
    session: Session = None,
    desk: Desk = False,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Every chain, the desk's own too.")] = False,
    file: Annotated[Path | None, typer.Option(help="An exported chain; needs the key ring alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check chains row by row, and against the anchors. Says which rows were changed, moved, put in or taken out.

    Exit code 0: whole; 1: broken; 6: it holds, but not all could be proven; 5: it could not be checked.
    """
    if sum((bool(session), desk, everything, file is not None)) != 1:
        raise InvalidArgument("ID", "is one of: a session, --desk, --all, --file FILE", "Give just one.")
    with _foreseen():
        found = _verified(session, file, desk=desk)
    if as_json:
        output.emit(_facts(found))
    else:
        _say(found)
    if not found.whole:
        raise typer.Exit(BROKEN if found.broken else Exit.UNHEALTHY)


def export(
    session: Annotated[str, typer.Argument(metavar="ID", help="A session, or `desk` for the desk's own chain.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that is not there yet.")],
) -> None:
    """Write a chain as JSON lines that `fntx audit verify --file` checks elsewhere, with the key ring alone."""
    from fntx_sessions.lifecycle.auditing.exporting import export as write  # noqa: PLC0415 -- as above

    engine = _engine(settings_here())
    desk = session == "desk"
    chain = _chain(engine, None if desk else session, desk=desk)
    with _created(file) as opened:
        count = write(engine, chain, opened.write)
    output.note(f"{count} rows written to {file}; it holds what people typed as reasons")


def _verified(session: str | None, file: Path | None, *, desk: bool) -> "Verified":
    settings = settings_here()
    if file is not None:
        return _verified_file(settings, file)
    from fntx_sessions.lifecycle.auditing.verifying import verify_all, verify_one  # noqa: PLC0415 -- as above
    from fntx_sessions.state.objects.cold import open_cold  # noqa: PLC0415

    engine, store = _engine(settings), open_cold(settings)
    if session or desk:
        return verify_one(engine, settings, store, _chain(engine, session, desk=desk))
    return verify_all(engine, settings, store)


def _verified_file(settings: Settings, file: Path) -> "Verified":
    from fntx_sessions.lifecycle.auditing.exporting import lines_of, verify_file  # noqa: PLC0415 -- as above

    try:
        with file.open("rb") as opened:
            return verify_file(settings, lines_of(opened))
    except OSError as error:
        raise InvalidArgument("FILE", f"cannot be read: {error.strerror}", "Name an exported chain.") from None


@contextmanager
def _foreseen() -> Iterator[None]:
    """Let nothing that goes wrong with the check itself look like a broken chain."""
    try:
        yield
    except FntxError:
        raise
    except Exception as error:
        raise Unavailable(
            "the audit", f"it could not be checked: {error}", "Try again; then tell the makers."
        ) from error


@contextmanager
def _created(file: Path) -> Iterator[BinaryIO]:
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidArgument("FILE", f"cannot be made: {error.strerror}", "Name one that is not there yet.") from None
    try:
        with os.fdopen(handle, "wb") as opened:
            yield opened
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _chain(engine: "Engine", session: str | None, *, desk: bool) -> UUID:
    if desk or session is None:
        return _DESK
    found = whole_or_prefix(session, "session id")
    if isinstance(found, UUID):
        return found
    from fntx_sessions.lifecycle.auditing.listing import sessions_like  # noqa: PLC0415 -- as above

    return only(session, [{"session_id": str(one)} for one in sessions_like(engine, found, SHOWN + 1)], "session id")


def _say(found: "Verified") -> None:
    for chain, problems in found.problems.items():
        for problem in problems:
            output.complain(f"{_name(chain)}: {problem}")
    for problem in found.about_anchors:
        output.complain(problem)
    for chain, told in found.unproven.items():
        output.note(f"{_name(chain)}: {told}")
    if found.unasked:
        output.note(found.unasked)
    state = "BROKEN" if found.broken else "whole" if found.whole else "no problem found, but not all of it is proven"
    told = f"{found.chains:,} chains, {found.rows:,} rows, {found.anchors:,} anchors: {state}"
    output.console().print(told, soft_wrap=True)


def _facts(found: "Verified") -> dict[str, Any]:
    return {
        "whole": found.whole,
        "broken": found.broken,
        "chains": found.chains,
        "rows": found.rows,
        "anchors": found.anchors,
        "problems": {str(chain): problems for chain, problems in found.problems.items()},
        "about_anchors": found.about_anchors,
        "unproven": {str(chain): told for chain, told in found.unproven.items()},
        "unasked": found.unasked,
    }


def _name(chain: UUID) -> str:
    return "the desk" if chain == _DESK else str(chain)


def _engine(_: Settings) -> "Engine":
    from fntx_sessions.database.engine import get_engine  # noqa: PLC0415 -- as above

    return get_engine()


def _by(row: dict[str, Any]) -> str:
    second = f", confirmed by {row['confirmed_by']}" if row["confirmed_by"] else ""
    return plain(f"{row['actor']} ({row['roles']}){second}")


COLUMNS = {
    "when": lambda row: f"{row['timestamp']:%Y-%m-%d %H:%M:%S}",
    "chain": lambda row: "desk" if row["session_id"] == _DESK else str(row["session_id"])[:SHORT_ID],
    "row": lambda row: str(row["seq"]),
    "by": _by,
    "action": lambda row: plain(row["action"]),
    "outcome": lambda row: plain(row["outcome"]),
    "about": lambda row: plain(row["target"] or ""),
    "why": lambda row: plain(row["reason"]),
    "host": lambda row: plain(row["host"]),
}
