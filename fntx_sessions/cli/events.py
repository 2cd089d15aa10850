"""`fntx events` and `fntx ack`: what happened, on the desk or to one session; as it comes; and who saw to it."""

import sys
import time
from typing import Annotated, Any
from uuid import UUID

import orjson
import typer

from fntx_sessions.caller.ids import SHOWN, whole_or_prefix
from fntx_sessions.cli import output
from fntx_sessions.cli.asking import Answer, line
from fntx_sessions.cli.exits import sentence
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.moments import moment_given
from fntx_sessions.cli.output import SHORT_ID, moment, plain, severity
from fntx_sessions.cli.queries import Limit, note_elsewhere
from fntx_sessions.cli.sessions import CommandId
from fntx_sessions.exceptions import InvalidArgument, NotFound, PreconditionFailed, Retryable
from fntx_sessions.lifecycle.reads.desk_events import EventPage
from fntx_sessions.managing.desk_feed import DeskFeed
from fntx_sessions.printable import same_json
from fntx_sessions.schemas import Severity

_LIST = "events.list"
_ACK, _PAGE = "events.acknowledge", 1000
_SINCE = "From this time on, UTC: 2026-01-05T15:58, or 15m, 2h, 3d ago."


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command()(events)
    app.command()(ack)


def events(
    session: Annotated[str | None, typer.Argument(metavar="[ID]", help="Of one session; none: of the desk.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, and print events as they come.")] = False,
    least: Annotated[Severity | None, typer.Option("--severity", "-s", help="This one and worse.")] = None,
    types: Annotated[list[str] | None, typer.Option("--type", help="Only these types.")] = None,
    categories: Annotated[list[str] | None, typer.Option("--category", help="Only these categories.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only of this agent.")] = None,
    impact: Annotated[str | None, typer.Option("--impact", help="Whose impact says so.")] = None,
    to_do: Annotated[
        bool | None, typer.Option("--requires-action/--no-action", help="Only where a person has to do something.")
    ] = None,
    seen: Annotated[
        bool | None, typer.Option("--acknowledged/--open", help="Only what somebody saw to, or nobody has.")
    ] = None,
    words: Annotated[str | None, typer.Option("--text", help="Whose type or description holds this.")] = None,
    since: Annotated[str | None, typer.Option("--since", help=_SINCE)] = None,
    until: Annotated[str | None, typer.Option("--until", help="Before this time.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List what happened, oldest first; the last ones where there are more (every role)."""
    asked = {
        "session_id": line().session_id(session) if session else None,
        "severity": least, "event_types": types or None, "categories": categories or None, "source_agent": agent,
        "impact": impact, "requires_action": to_do, "acknowledged": seen, "text": words,
    }  # fmt: skip
    if follow:
        if until is not None:
            raise InvalidArgument("--until", "is not taken with --follow", "Leave one of them out.")
        _follow(asked, since, as_json=as_json)
    times = {"since": moment_given(since, "--since"), "until": moment_given(until, "--until")}
    _list(asked | times | {"limit": limit}, session, as_json=as_json)


def ack(
    event: Annotated[str, typer.Argument(metavar="[EVENT]", help="An event's id, or its first 4 digits or more.")] = "",
    taken: Annotated[str, typer.Option("--taken", "-t", help="What was done; kept with the event and audited.")] = "",
    kind: Annotated[str, typer.Option("--type", help="Instead of EVENT, with --since: all open ones of it.")] = "",
    since: Annotated[str | None, typer.Option("--since", help=_SINCE)] = None,
    session: Annotated[str | None, typer.Option("--session", help="Whose event, for a token of that session.")] = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Acknowledge an event: somebody saw to it, once (operators, risk managers, administrators).

    One outage may leave an event on each session: --type and --since take all of a type that nobody saw to yet.
    """
    owner = line().session_id(session) if session else None
    if bool(event) == bool(kind) or bool(kind) != bool(since) or (kind and command_id):
        fix = "Give an event, or --type with --since and no --command-id."
        raise InvalidArgument("event", "is not told: which ones?", fix)
    of_session: Answer = {"session_id": str(owner)} if owner else {}
    arguments: Answer = {"action_taken": taken} | of_session
    if not kind:
        outcome = line().outcome(_ACK, {"event_id": str(_event_id(event, owner))} | arguments, command_id)
        output.emit(outcome) if as_json else _say(outcome)
        return
    given = {"event_types": [kind], "since": moment_given(since, "--since"), "acknowledged": False, **of_session}
    done = list(filter(None, (_acknowledged({"event_id": one} | arguments) for one in _ids(given))))
    if as_json:
        output.emit(done)
        return
    for outcome in done:
        _say(outcome)
    output.note(f"{len(done)} acknowledged")


def _ids(asked: Answer) -> list[str]:
    """Return the ids of all events that are asked for."""
    found, cursor = list[str](), None
    while True:
        page = line().query(_LIST, **asked, limit=_PAGE, cursor=cursor)
        found += [row["event_id"] for row in page["events"]]
        cursor = page["cursor"]
        if not cursor:
            return found


def _acknowledged(arguments: Answer) -> Answer | None:
    """Acknowledge one of several; None, and a word, where somebody was quicker: it is seen to."""
    try:
        return line().outcome(_ACK, arguments)
    except PreconditionFailed as error:
        output.note(str(error))
        return None


def _say(outcome: Answer) -> None:
    told = outcome["extra"]
    output.console().print(f"acknowledged: {plain(told['event_type'])}, {plain(told['description'])}", soft_wrap=True)


def _list(asked: Answer, session: str | None, *, as_json: bool) -> None:
    page = line().query(_LIST, **asked)
    found = page["events"][::-1]
    if as_json:
        output.emit(found)
        return
    columns = EVENT_COLUMNS if session is None else {name: EVENT_COLUMNS[name] for name in EVENT_COLUMNS if name != _OF}
    output.table(found, columns, "no events")
    if page["cursor"]:
        output.note(f"the last {len(found)}; there are more: -n, --since, --until")
    if session is not None:
        note_elsewhere("events", session)


def _follow(asked: Answer, since: str | None, *, as_json: bool) -> None:
    """Print events as they come until somebody interrupts; what is away is waited for."""
    settings = line().settings
    feed = DeskFeed(asked, moment_given(since, "--since"), settings.subscribe_overlap_s)
    away = False
    while True:
        try:
            page = EventPage.model_validate(line().query(_LIST, **feed.question()))
        except Retryable as error:
            if not away:
                output.note(f"waiting: {sentence(error)}")
            away = True
        else:
            away = False
            for event in feed.take(page):
                _tell(event.model_dump(mode="json"), as_json=as_json)
        if away or not feed.full:
            time.sleep(settings.subscribe_poll_s)


def _tell(event: Answer, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(same_json(orjson.dumps(event).decode()) + "\n")
    else:
        told = [draw(event) for draw in EVENT_COLUMNS.values()]
        output.console().print("  ".join(filter(None, told)), soft_wrap=True)
    sys.stdout.flush()


def _event_id(given: str, owner: UUID | None) -> UUID:
    found = whole_or_prefix(given, "event")
    if isinstance(found, UUID):
        return found
    asked = {"id_prefix": found, "limit": SHOWN + 1} | ({"session_id": owner} if owner else {})
    fits = [row["event_id"] for row in line().query(_LIST, **asked)["events"]]
    if not fits:
        raise NotFound("event", given, "See `fntx events`.")
    if len(fits) > 1:
        raise InvalidArgument("event", f"{given!r} fits several: {', '.join(fits[:SHOWN])}", "Give more of it.")
    return UUID(fits[0])


def _what_is_to_do(row: dict[str, Any]) -> str:
    """Return what is left to do about an event, or who saw to it."""
    if row["acknowledged_at"]:
        done = f": {row['action_taken']}" if row["action_taken"] else ""
        return plain(f"seen to by {row['acknowledged_by']}{done}")
    return f"[bold red]to do[/bold red]: fntx ack {row['event_id'][:SHORT_ID]}" if row["requires_action"] else ""


_OF = "session"
EVENT_COLUMNS = {
    "time (UTC)": lambda row: moment(row["timestamp"]),
    "id": lambda row: row["event_id"][:SHORT_ID],
    _OF: lambda row: row["session_id"][:SHORT_ID],
    "severity": lambda row: severity(row["severity"]),
    "event": lambda row: plain(row["event_type"]),
    "agent": lambda row: plain(row["source_agent"]) if row["source_agent"] else "",
    "what": lambda row: plain(row["description"]),
    "impact": lambda row: plain(row["impact_assessment"]) if row["impact_assessment"] else "",
    "to do": _what_is_to_do,
}
