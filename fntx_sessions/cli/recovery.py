"""`fntx recover|plan|accept`: bring a session back, see what that would take, answer for what it found to differ."""

from typing import Annotated, Any
from uuid import UUID

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import Answer, line
from fntx_sessions.cli.exits import Exit, worst
from fntx_sessions.cli.ids import AsJson, Ids, over
from fntx_sessions.cli.output import moment, plain
from fntx_sessions.cli.sessions import CommandId, Reason, Version, Wait, ask_each, common
from fntx_sessions.schemas import SessionStatus

Accept = Annotated[
    str | None,
    typer.Option("--accept-identity", metavar="HEX", help="Restore what was made under this other identity too."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    for command in (recover, plan, accept):
        app.command()(command)


def recover(
    ids: Ids = None,
    checkpoint: Annotated[
        UUID | None, typer.Option("--checkpoint", help="Recover from this one; else the newest state that holds.")
    ] = None,
    accept_identity: Accept = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; change nothing.")] = False,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Bring a session's memory back from its newest good state; it ends paused. --dry-run shows what would be tried."""
    own = {"checkpoint_id": str(checkpoint) if checkpoint else None, "accept_identity": accept_identity}
    given = {name: value for name, value in own.items() if value is not None}
    if dry_run:
        _plans(ids, given, as_json=as_json)
    ask_each(
        "recover", ids, common(reason, version) | given, command_id, as_json, SessionStatus.PAUSED if wait else None
    )


def plan(ids: Ids = None, accept_identity: Accept = None, as_json: AsJson = False) -> None:
    """Show what a session could be recovered from, in the order it would be tried; changes nothing (every role)."""
    given = {"accept_identity": accept_identity} if accept_identity else {}
    _plans(ids, given, as_json=as_json)


def accept(
    ids: Ids = None,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Answer for the differences a recovery found, so that it may resume (risk managers, administrators)."""
    ask_each("accept", ids, common(reason, version), command_id, as_json)


def _plans(ids: list[str] | None, given: dict[str, Any], *, as_json: bool) -> None:
    """Show each session's plan; ends as a recovery asked now would, as far as a plan can tell."""
    refused: list[Exit] = []

    def ask(one: str) -> Answer:
        found: Answer = line().about("plan", one, **given)
        refused.extend([Exit.REFUSED] if found["refused"] else [])
        return found

    try:
        over(ids, ask, _show_plan, as_json=as_json)
    except typer.Exit as done:
        raise typer.Exit(worst([Exit(done.exit_code), *refused])) from None


def _show_plan(found: Answer) -> None:
    facts = {
        "refused now": f"[bold red]{plain(found['refused'])}[/bold red]" if found["refused"] else None,
        "status": f"{output.status(found['status'])}  version {found['version']} epoch {found['epoch']}",
        "would lose": plain(found["data_loss_risk"]),
        "confidence": f"{found['recovery_confidence']} ({plain('; '.join(found['confidence_reasons']))})",
        "takes about": f"{found['estimated_duration']} s",
        "watch": plain(found["state_consistency_risk"]) if found["state_consistency_risk"] else None,
        "not seen": plain(", ".join(found["hosts_not_seen"])) if found["hosts_not_seen"] else None,
        "rolls back to": plain("; ".join(found["rollback_points"])) if found["rollback_points"] else None,
    }
    output.facts(facts, f"recovery plan of {found['session_id']}")
    output.table(found["candidates"], _COLUMNS, "nothing was ever saved: agents would begin anew")
    for one in found["candidates"]:
        if one["identity_differences"]:
            shown = f"{one['name']} has identity {one['identity'][:_HEX]}: {'; '.join(one['identity_differences'])}"
            output.console().print(plain(shown))
    if found["others"]:
        output.console().print(f"{found['others']} others are there: `fntx plan {found['session_id']}`")


_HEX = 12


def _lost(row: dict[str, Any]) -> str:
    lost = row["expected_data_loss_s"]
    return output.NONE if lost is None else f"{lost} s"


_COLUMNS = {
    "": lambda row: str(row["rank"]),
    "from": lambda row: plain(row["name"]),
    "tier": lambda row: plain(row["tier"]),
    "epoch/rev": lambda row: f"{row['epoch']}/{row['revision']}",
    "made": lambda row: moment(row["created_at"]),
    "loses": _lost,
    "proven": lambda row: "[red]no[/red]" if row["problem"] else "[green]yes[/green]" if row["verified"] else "not yet",
    "why": lambda row: plain(row["problem"] or row["reason"]),
}
