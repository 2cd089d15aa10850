"""`fntx ls|show|transitions|metrics|checkpoints|validate`: questions; they change nothing."""

import contextlib
from collections.abc import Callable
from typing import Annotated, Any

import typer

from fntx_sessions.cli import details, output
from fntx_sessions.cli.asking import line
from fntx_sessions.cli.curves import POINTS
from fntx_sessions.cli.exits import Exit
from fntx_sessions.cli.ids import AsJson, Ids, over
from fntx_sessions.cli.output import brief, moment, plain, status
from fntx_sessions.exceptions import FntxError
from fntx_sessions.schemas import SessionStatus, SessionType

Id = Annotated[str, typer.Argument(metavar="ID", help="A session's id or its first characters (4 or more).")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    for command in (show, transitions, metrics, checkpoints, validate):
        app.command()(command)
    app.command("ls")(list_sessions)


def list_sessions(
    statuses: Annotated[list[SessionStatus] | None, typer.Option("--status", "-s", help="Only these.")] = None,
    session_type: Annotated[SessionType | None, typer.Option("--type", help="Only this type.")] = None,
    template: Annotated[str | None, typer.Option("--template", "-t", help="Only of this template.")] = None,
    account: Annotated[str | None, typer.Option("--account", help="Only on this account.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only with this tag.")] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="The days of backtests too.")] = False,
    limit: Limit = 100,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print ids alone, one a line.")] = False,
    as_json: AsJson = False,
) -> None:
    """List sessions, newest first."""
    found = line().query(
        "sessions.list",
        status=[str(one) for one in statuses] if statuses else None,
        session_type=session_type.value if session_type else None,
        template_name=template,
        account_id=account,
        tag=tag,
        include_children=everything or tag is not None,
        limit=limit,
    )
    if as_json:
        output.emit(found)
    elif quiet:
        for row in found:
            typer.echo(row["session_id"])
    else:
        narrowed = statuses or session_type or template or account or tag
        none = (
            "no such sessions; `fntx ls --all` shows all"
            if narrowed
            else "no sessions; `fntx create paper_trading` makes one"
        )
        output.table(found, LIST_COLUMNS, none)


def _account(row: dict[str, Any]) -> str:
    own = row["account_id"] == f"paper:{row['session_id']}"
    return "its own" if own else plain(row["account_id"])[:24]


def _to_do(row: dict[str, Any]) -> str:
    """Return what a session waits for, and what its agents hold elsewhere, the legs left to `fntx show`."""
    held = str(row.get("held_elsewhere") or "").partition(" (")[0]
    return ", ".join(filter(None, (output.to_do(row), f"[yellow]{plain(held)}[/yellow]" if held else "")))


LIST_COLUMNS = {
    "id": lambda row: row["session_id"][: output.SHORT_ID],
    "type": output.kind,
    "status": lambda row: status(row["status"]),
    "for": lambda row: output.age(row["status_since"]),
    "account": _account,
    "template": lambda row: plain(row["template_name"]),
    "why": lambda row: brief(row["status_reason"]),
    "to do": _to_do,
}


def show(ids: Ids = None, as_json: AsJson = False) -> None:
    """Show a session whole: status, limits in dollars, positions, agents, results."""
    over(ids, lambda one: line().about("get", one), _drawn(details.show), as_json=as_json)


def metrics(ids: Ids = None, as_json: AsJson = False) -> None:
    """Show what a session came to: P&L, drawdown, trades, latency."""
    over(ids, _metrics, _drawn(details.show_metrics), as_json=as_json)


def _drawn(show_one: Callable[[dict[str, Any], dict[str, Any] | None], None]) -> Callable[[dict[str, Any]], None]:
    """Return what shows an answer with its session's curve; the answer stands where the curve cannot be had."""

    def shown(answer: dict[str, Any]) -> None:
        curve = None
        with contextlib.suppress(FntxError):
            curve = line().query("sessions.curve", session_id=answer["session_id"], points=POINTS)
        show_one(answer, curve)

    return shown


def _metrics(given: str) -> dict[str, Any]:
    answer = line().about("metrics", given)
    return {**answer["metrics"], "status": answer["session"]["status"]}


def transitions(session_id: Id, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List the changes of status, oldest first: who, what, why."""
    _listed("transitions", session_id, limit, as_json, TRANSITION_COLUMNS)


def checkpoints(session_id: Id, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List the checkpoints, newest first."""
    _listed("checkpoints", session_id, limit, as_json, CHECKPOINT_COLUMNS)


def validate(session_id: Id, as_json: AsJson = False) -> None:
    """Tell whether a session's state is sound; exits with 1 when it is not (every role)."""
    found = line().about("validate", session_id)
    if as_json:
        output.emit(found)
    else:
        kinds = [("[red]error[/red]", one) for one in found["errors"]]
        kinds += [("[yellow]warning[/yellow]", one) for one in found["warnings"]]
        if kinds:
            output.table([{"kind": kind, **one} for kind, one in kinds], FINDING_COLUMNS, "")
        else:
            output.console().print("its state is sound")
    if not found["valid"]:
        raise typer.Exit(Exit.UNEXPECTED)


def _listed(verb: str, session_id: str, limit: int, as_json: bool, columns: dict[str, Any]) -> None:
    found = line().about(verb, session_id, limit=limit)
    if as_json:
        output.emit(found)
    else:
        output.table(found, columns, f"no {verb}")
        note_elsewhere(verb, session_id)


def note_elsewhere(verb: str, session_id: str) -> None:
    """Say where the rows are that are not in the database any more; the list stands without it."""
    with contextlib.suppress(FntxError):
        told = details.elsewhere(line().about("get", session_id), verb)
        if told:
            output.note(told)


TRANSITION_COLUMNS = {
    "time (UTC)": lambda row: moment(row["timestamp"]),
    "from": lambda row: status(row["from_status"] or output.NONE),
    "to": lambda row: status(row["to_status"]),
    "trigger": lambda row: plain(row["trigger"]),
    "by": lambda row: plain(row["actor"]),
    "version": lambda row: str(row["version"]),
    "epoch": lambda row: str(row["epoch"]),
    "why": lambda row: plain(row["reason"]),
    "warnings": lambda row: plain("; ".join([*row["warnings"], *row["errors"]])),
}
FINDING_COLUMNS = {
    "kind": lambda row: row["kind"],
    "where": lambda row: plain(row["path"]),
    "what": lambda row: plain(row["problem"]),
}
CHECKPOINT_COLUMNS = {
    "id": lambda row: row["checkpoint_id"],
    "time (UTC)": lambda row: moment(row["timestamp"]),
    "type": lambda row: plain(row["checkpoint_type"]),
    "epoch": lambda row: str(row["epoch"]),
    "revision": lambda row: str(row["revision"]),
    "bytes": lambda row: f"{row['size_bytes']:,}",
    "tier": lambda row: plain(row["tier"]),
    "verified": lambda row: "[green]yes[/green]" if row["verified"] else "[yellow]no[/yellow]",
    "pinned": lambda row: "yes" if row["pinned"] else "",
    "by": lambda row: plain(row["created_by"]),
    "what": lambda row: plain(row["note"]) if row["note"] else "",
}
