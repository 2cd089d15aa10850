"""`fntx confirmations ls|show|confirm|decline`: what takes two people, and waits for the second."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer
from rich.markup import escape

from fntx_sessions.caller.ids import whole_or_prefix
from fntx_sessions.cli import output
from fntx_sessions.cli.asking import Answer, line
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.output import SHORT_ID, age, plain
from fntx_sessions.exceptions import InvalidArgument, NotFound, verb
from fntx_sessions.printable import printable

HELP = """What takes two people, and waits for the second: FNTX_FOUR_EYES names what does.

Whoever confirms is somebody else than who asked, and may do it too. It is done once, in the name of who asked, and the
audit says who confirmed. What nobody confirms in time is not done.
"""
Id = Annotated[str, typer.Argument(metavar="COMMAND", help="Its command's id or first characters (4 or more).")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not show it, and do not ask.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept with it, and in the audit.")]
_LOOKED_THROUGH = 1000


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    group = typer.Typer(name="confirmations", help=HELP, no_args_is_help=True)
    group.command("ls")(list_confirmations)
    group.command()(show)
    group.command()(confirm)
    group.command()(decline)
    app.add_typer(group)


def list_confirmations(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Those that are over, too.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List what waits for a second person: what, who asked and why, and for how long yet."""
    found = _listed(everything=everything, limit=limit)
    if as_json:
        output.emit(found)
    else:
        output.table(found, COLUMNS, "nothing waits for a second person")


def show(command: Id, as_json: AsJson = False) -> None:
    """Show all of what waits: what it moves, what it is about as it was asked, and all that was given."""
    found = _found(command)
    if as_json:
        output.emit(found)
    else:
        for told in _lines(found):
            output.console().print(escape(told), soft_wrap=True)


def confirm(command: Id, reason: Reason = "", yes: Yes = False, as_json: AsJson = False) -> None:
    """Be the second person: it is shown whole, then done now, once, in the name of who asked."""
    found = _found(command)
    if not yes:
        _may_go_on(found)
    _settle("confirm", found["command_id"], reason, as_json=as_json)


def decline(command: Id, reason: Reason = "", as_json: AsJson = False) -> None:
    """Say no, or take back what you asked for yourself: it is not done."""
    _settle("decline", command, reason, as_json=as_json)


def _may_go_on(found: Answer) -> None:
    for told in _lines(found):
        output.note(told)
    if not sys.stdin.isatty():
        raise InvalidArgument("confirm", "asks before it does anything", "Give --yes where nobody can answer.")
    if not typer.confirm("Do it?", err=True):
        raise InvalidArgument("confirm", "was not agreed to", "Nothing was done: it still waits.")


def _lines(found: Answer) -> Iterator[str]:
    first, *rest = map(printable, found["words"])
    session = f" session {found['session_id']}" if found["session_id"] else ""
    yield f"{first}{session}, asked for by {printable(found['asked_by'])} ({found['asked_roles']})"
    for told in (*rest, f"why: {printable(found['reason']) or 'no reason given'}"):
        yield f"  {told}"
    yield f"  {found['state']}; until {found['expires_at']}"


def _found(given: str) -> Answer:
    found = line().query("confirmations.list", confirmation=str(_id(given)))
    if not found:
        raise NotFound("confirmation", given, "See `fntx confirmations ls --all`.")
    return dict(found[0])


def _settle(word: str, given: str, reason: str, *, as_json: bool) -> None:
    # Any id: once is what the confirmation itself sees to.
    found = line().ask(f"confirmations.{word}", {"confirmation": str(_id(given)), "reason": reason}, uuid4())
    if as_json:
        output.emit(found)
        return
    output.console().print(_told(found), soft_wrap=True)
    if problem := (found["answer"] or {}).get("error"):
        output.complain(problem["message"])


def _told(found: Answer) -> str:
    done = f": {(found['answer'] or {}).get('state')}" if found["answer"] else ""
    return f"{plain(verb(found['action']))} for {plain(found['asked_by'])} is {found['state']}{done}"


def _listed(*, everything: bool, limit: int) -> list[Answer]:
    found: list[Answer] = line().query("confirmations.list", limit=limit, everything=everything)
    return found


def _id(given: str) -> UUID:
    found = whole_or_prefix(given, "command id")
    if isinstance(found, UUID):
        return found
    listed = [row["command_id"] for row in _listed(everything=True, limit=_LOOKED_THROUGH)]
    fits = [one for one in listed if one.replace("-", "").startswith(found)]
    if not fits:
        raise NotFound("confirmation", given, "See `fntx confirmations ls --all`.")
    if len(fits) > 1:
        raise InvalidArgument("command id", f"{given!r} fits several: {', '.join(fits[:3])}", "Give more of it.")
    return UUID(fits[0])


def _left(row: dict[str, Any]) -> str:
    return f"{row['expires_in_s']:.0f}s" if row["state"] == "waiting" else ""


def _settled(row: dict[str, Any]) -> str:
    if row["settled_by"] is None:
        return ""
    return plain(": ".join(filter(None, (row["settled_by"], row["settled_reason"]))))


COLUMNS = {
    "id": lambda row: row["command_id"][:SHORT_ID],
    "session": lambda row: (row["session_id"] or "")[:SHORT_ID],
    "state": lambda row: row["state"],
    "what": lambda row: plain(row["told"]),
    "by": lambda row: plain(row["asked_by"]),
    "why": lambda row: plain(row["reason"]),
    "age": lambda row: age(row["asked_at"]),
    "left": _left,
    "second": _settled,
    "takes": lambda row: plain(row["needed"]),
}
