"""`fntx checkpoint|verify|prune|pin|unpin|fork`: what a session keeps: made, proven, thinned out."""

import re
from typing import Annotated
from uuid import UUID

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import Answer, line
from fntx_sessions.cli.exits import Exit
from fntx_sessions.cli.ids import AsJson, Ids, given_ids
from fntx_sessions.cli.output import moment, plain
from fntx_sessions.cli.queries import Id, Limit
from fntx_sessions.cli.sessions import CommandId, Reason, Version, ask_each, common
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import SessionType

Checkpoint = Annotated[UUID | None, typer.Option("--checkpoint", help="One of those `fntx checkpoints` lists.")]
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    for command in (checkpoint, verify, prune, pin, unpin, fork):
        app.command()(command)


def checkpoint(
    ids: Ids = None,
    note: Annotated[str | None, typer.Option("--note", help="What it is for; it is listed.")] = None,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Keep a session's state of this moment, stored and read back (operators, risk managers, administrators)."""
    given = {"note": note} if note else {}
    ask_each("checkpoint", ids, common(reason, version) | given, command_id, as_json)


def verify(ids: Ids = None, checkpoint: Checkpoint = None, limit: Limit = 100, as_json: AsJson = False) -> None:
    """Read checkpoints whole and mend damaged ones from sound copies; exits with 1 where none is (every role)."""
    found = [row for one in given_ids(ids) for row in _verified(one, checkpoint, limit)]
    if as_json:
        output.emit(found)
    else:
        output.table(found, _VERIFIED, "no checkpoints")
    if any(row["problem"] for row in found):
        raise typer.Exit(Exit.UNEXPECTED)


def _verified(given: str, checkpoint: UUID | None, limit: int) -> list[Answer]:
    listed = [str(checkpoint)] if checkpoint else _listed(given, limit)
    answers = [line().about("verify", given, checkpoint_id=one) for one in listed]
    return [{**answer["checkpoint"], "problem": answer["problem"], "mended": answer["mended"]} for answer in answers]


def _listed(given: str, limit: int) -> list[str]:
    return [row["checkpoint_id"] for row in line().about("checkpoints", given, limit=limit)]


def prune(
    ids: Ids = None,
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Keep the newest so many.")] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Only older ones: 7d, 12h, 30m, 45s.")
    ] = None,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Delete old checkpoints in every tier, never a pinned one or the newest that verifies (administrators)."""
    if keep is None and older_than is None:
        raise InvalidArgument("prune", "would take everything", "Give --keep N, --older-than AGE, or both.")
    own = {"keep": keep, "older_than_s": None if older_than is None else _seconds(older_than)}
    given = {name: value for name, value in own.items() if value is not None}
    ask_each("prune", ids, common(reason, version) | given, command_id, as_json)


def pin(
    ids: Ids = None,
    checkpoint: Checkpoint = None,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Hold a session, or one checkpoint, against retention and pruning (operators, risk managers, administrators)."""
    ask_each("pin", ids, common(reason, version) | _pinned(checkpoint, pinned=True), command_id, as_json)


def unpin(
    ids: Ids = None,
    checkpoint: Checkpoint = None,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Let go of what was pinned (operators, risk managers, administrators)."""
    ask_each("pin", ids, common(reason, version) | _pinned(checkpoint, pinned=False), command_id, as_json)


def _pinned(checkpoint: UUID | None, *, pinned: bool) -> Answer:
    return {"pinned": pinned} | ({"checkpoint_id": str(checkpoint)} if checkpoint else {})


def fork(
    session_id: Id,
    checkpoint: Checkpoint = None,
    account: Annotated[str | None, typer.Option("--account", help="Trade on this one; else on its own.")] = None,
    session_type: Annotated[
        SessionType, typer.Option("--type", help="A type that may trade live takes a risk manager.")
    ] = SessionType.PAPER_TRADING,
    reason: Reason = "",
    command_id: CommandId = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the new id alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create a session with another's settings and memory (operators, administrators; live: risk managers).

    None of the other's money comes along; what is used of the day's loss limit does.
    """
    own = {"checkpoint_id": str(checkpoint) if checkpoint else None, "account": account}
    given = {name: value for name, value in own.items() if value is not None}
    asked = {"session_id": line().session_id(session_id), "session_type": session_type.value, "reason": reason, **given}
    outcome = line().command("fork", asked, command_id)
    if as_json:
        output.emit(outcome)
    elif quiet:
        typer.echo(outcome["session_id"])
    else:
        output.console().print(f"{outcome['session_id']}  {output.status(outcome['status'])}", soft_wrap=True)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None:
        raise InvalidArgument("--older-than", f"{text!r} is not an age", "Write 7d, 12h, 30m or 45s.")
    return float(found[1]) * _SECONDS[found[2]]


_VERIFIED = {
    "session": lambda row: row["session_id"][: output.SHORT_ID],
    "checkpoint": lambda row: row["checkpoint_id"],
    "time (UTC)": lambda row: moment(row["timestamp"]),
    "type": lambda row: plain(row["checkpoint_type"]),
    "tier": lambda row: plain(row["tier"]),
    "sound": lambda row: "[red]no[/red]" if row["problem"] else "[green]yes[/green]",
    "why": lambda row: plain(row["problem"] or row["mended"] or ""),
}
