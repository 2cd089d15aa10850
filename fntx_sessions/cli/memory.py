"""`fntx memory search|ls|store|context`: what agents remember, and what they were told."""

from typing import Annotated, Any
from uuid import uuid4

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import line
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.output import moment, plain
from fntx_sessions.cli.values import pairs
from fntx_sessions.memory.arguments import MOST
from fntx_sessions.memory.slices import MemoryType

Kind = Annotated[MemoryType | None, typer.Option("--type", help="Only slices of this kind.")]
Session = Annotated[str | None, typer.Option("--session", help="Only what is about this session.")]
Least = Annotated[str | None, typer.Option("--importance", help="At least: low, medium, high or critical.")]
TagOption = Annotated[str | None, typer.Option("--tag", help="Only with this tag.")]
Since = Annotated[str | None, typer.Option("--since", help="Not older than, as 2026-11-23T14:30:00Z.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=MOST, help="How many at most.")]
_CONTENT_SHOWN = 100


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    group = typer.Typer(name="memory", help="What agents remember, and what they were told.", no_args_is_help=True)
    for command in (search, store, context):
        group.command()(command)
    group.command("ls")(list_memories)
    app.add_typer(group)


def search(
    query: Annotated[str, typer.Argument(help='Words; "a phrase", OR and -not as in a web search.')],
    agent: Annotated[str | None, typer.Option("--agent", help="Only this agent's.")] = None,
    kind: Kind = None,
    session: Session = None,
    importance: Least = None,
    tag: TagOption = None,
    since: Since = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Find slices by their words, the best first."""
    found = line().query("memory.search", query=query, **_filters(agent, kind, session, importance, tag, since, limit))
    _print(found, "nothing found; fewer words find more", as_json=as_json)


def list_memories(
    agent: Annotated[str | None, typer.Argument(help="Whose; all agents' without it.")] = None,
    kind: Kind = None,
    session: Session = None,
    importance: Least = None,
    tag: TagOption = None,
    since: Since = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List slices, newest first."""
    found = line().query("memory.list", **_filters(agent, kind, session, importance, tag, since, limit))
    _print(found, "no slices", as_json=as_json)


def store(
    agent: Annotated[str, typer.Argument(help="For which agent.")],
    content: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="What to remember.")],
    kind: Annotated[MemoryType, typer.Option("--type", help="What it is about.")] = MemoryType.LEARNING,
    importance: Annotated[str, typer.Option("--importance", help="low, medium, high or critical.")] = "medium",
    session: Annotated[str | None, typer.Option("--session", help="About which session.")] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Found first; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Keep a slice."""
    arguments = {
        "agent": agent,
        "content": pairs(content, "content"),
        "memory_type": kind.value,
        "importance": importance,
        "session_id": session and line().session_id(session),
        "tags": tags or [],
    }
    stored = line().ask("memory.store", arguments, uuid4())
    if as_json:
        output.emit(stored)
    else:
        output.console().print(f"{stored['memory_id']} kept for {plain(stored['agent'])}")


def context(
    agent: Annotated[str, typer.Argument(help="Who was told.")],
    after: Annotated[str | None, typer.Option("--after", help="Only what came after this entry.")] = None,
    session: Session = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List what an agent was told, oldest first."""
    found = line().query(
        "memory.context", agent=agent, after=after, session_id=session and line().session_id(session), limit=limit
    )
    if as_json:
        output.emit(found)
    else:
        output.table(found, CONTEXT_COLUMNS, f"{agent} was told nothing")


def _filters(
    agent: str | None,
    kind: MemoryType | None,
    session: str | None,
    importance: str | None,
    tag: str | None,
    since: str | None,
    limit: int,
) -> dict[str, Any]:
    return {
        "agent": agent,
        "memory_type": kind and kind.value,
        "session_id": session and line().session_id(session),
        "importance": importance,
        "tag": tag,
        "since": since,
        "limit": limit,
    }


def _print(found: list[dict[str, Any]], empty: str, *, as_json: bool) -> None:
    if as_json:
        output.emit(found)
    else:
        output.table(found, COLUMNS, empty)


def _said(content: dict[str, Any]) -> str:
    """Return an object in a line: a change of status as one reads it, else its values; cut where it would be long."""
    return _cut(_transition(content.get("session_transition")) or _change(content) or _values(content))


def _transition(moved: Any) -> str:
    if not isinstance(moved, dict) or not {"to_status", "actor", "trigger"} <= moved.keys():
        return ""
    steps = " -> ".join(str(one) for one in (moved.get("from_status"), moved["to_status"]) if one)
    return f"{steps} by {moved['actor']}: {moved.get('reason') or moved['trigger']}"


def _change(context: dict[str, Any]) -> str:
    if context.get("session_event") != "status_changed":
        return ""
    steps = " -> ".join(str(one) for one in (context.get("from_status"), context.get("to_status")) if one)
    return f"session {str(context.get('session_id', ''))[: output.SHORT_ID]}: {steps}"


def _values(content: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in content.items())


def _cut(said: str) -> str:
    return plain(said if len(said) <= _CONTENT_SHOWN else f"{said[:_CONTENT_SHOWN]}...")


COLUMNS = {
    "time (UTC)": lambda row: moment(row["created_at"]),
    "agent": lambda row: plain(row["agent"]),
    "kind": lambda row: plain(row["memory_type"]),
    "matters": lambda row: plain(row["importance"]),
    "session": lambda row: plain((row["session_id"] or "")[: output.SHORT_ID]),
    "what": lambda row: _said(row["content"]),
}
CONTEXT_COLUMNS = {
    "time (UTC)": lambda row: moment(row["at"]),
    "from": lambda row: plain(row["sender"]),
    "what": lambda row: _said(row["context"]),
    "entry": lambda row: plain(row["entry_id"]),
}
