"""`fntx agents ls`: a session's agents and how they do, or the hosted agents there are."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import line
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.output import plain

Columns = dict[str, Callable[[dict[str, Any]], str]]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    group = typer.Typer(name="agents", help="The agents of sessions, hosted and of other services.")
    group.command("ls")(list_agents)
    app.add_typer(group)


def list_agents(
    session: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A session, or its first 4 or more characters; none: the desk.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List a session's agents: who is ready, who joined, how far each has read, and why reports were refused."""
    asked = {} if session is None else {"session_id": line().session_id(session)}
    found = line().query("agents.list", **asked)
    if as_json:
        output.emit(found)
        return
    if any(row["unseen"] for row in found):
        output.note("Redis is out of reach: heartbeats and what is unread were not seen. `fntx doctor` says what to do")
    output.table(found, _HOSTED if session is None else _ROSTER, "no agents")


def _where(row: dict[str, Any]) -> str:
    if row["hosted"]:
        return "hosted"
    return "elsewhere, not joined" if row["joined_at"] is None else plain(f"elsewhere, as {row['joined_by']}")


def _ready(row: dict[str, Any]) -> str:
    if row["ready_at"] is not None:
        return "[green]ready[/green]"
    return "[bold red]not ready[/bold red]" if row["required"] else "[yellow]not ready[/yellow]"


def _unread(row: dict[str, Any]) -> str:
    if not row["behind"]:
        return "" if row["behind"] is None else "0"
    return f"{row['behind']}" + ("" if row["unread_s"] is None else f" ({row['unread_s']:.0f} s)")


def _refused(row: dict[str, Any]) -> str:
    return plain(", ".join(f"{count} {reason}" for reason, count in row["refused"].items()))


_ROSTER: Columns = {
    "agent": lambda row: plain(row["agent"]),
    "where": _where,
    "": _ready,
    "heartbeat": lambda row: output.NONE if row["beat_s"] is None else f"{row['beat_s']:.0f} s ago",
    "read up to": lambda row: row["acknowledged"] or "",
    "unread": _unread,
    "refused": _refused,
}
_HOSTED: Columns = {
    "agent": lambda row: plain(row["agent"]),
    "package": lambda row: plain(row["package"]),
}
