"""`fntx halt`, `fntx halt release`, `fntx halt ls`: nothing in scope trades until somebody says otherwise."""

import time
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.exits import Exit, worst
from fntx_sessions.cli.halt_doubt import in_doubt, not_halted
from fntx_sessions.cli.halt_way import Way, ask_worker, find_way
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.output import SHORT_ID, moment, plain, status
from fntx_sessions.cli.sessions import CommandId
from fntx_sessions.exceptions import Busy, InvalidArgument, OutcomeUnknown, Unavailable
from fntx_sessions.lifecycle.halting import scope_text
from fntx_sessions.parsing import parse
from fntx_sessions.pasting import halt_command, release_command

if TYPE_CHECKING:
    from fntx_sessions.automation.flattening import Flattened
    from fntx_sessions.lifecycle.execute import Desk
    from fntx_sessions.security.actor import Actor

Answer = dict[str, Any]
HELP = """Halt trading in a scope: nothing in it starts, resumes or opens a position; what runs is paused.

With --flatten it is stopped and its positions are closed. Works straight on Postgres and the broker where Redis or the
workers are down. `fntx halt release` ends a halt, through a worker alone; nothing is resumed by it.
"""
Scope = Annotated[
    str | None, typer.Option("--scope", "-s", help="all, account:NAME, template:NAME or session:ID.", metavar="SCOPE")
]
Reason = Annotated[str | None, typer.Option("--reason", "-r", help="Why; whoever is refused reads it.")]
_REASON = "Say why with --reason: others read it when they are refused."
_SCOPE = "Give --scope all, account:NAME, template:NAME or session:ID."
_TRIES = 3
_TRY_S = 1.0
_STRAIGHT_S = 30.0


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    group = typer.Typer(name="halt", help=HELP, invoke_without_command=True)
    group.callback()(halt)
    group.command()(release)
    group.command("ls")(list_halts)
    app.add_typer(group)


def halt(
    context: typer.Context,
    scope: Scope = None,
    reason: Reason = None,
    flatten: Annotated[bool, typer.Option("--flatten", help="Close the positions too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Halt a scope; asked twice, it is one halt, and goes on with what is left."""
    if context.invoked_subcommand is not None:
        return
    where, why = _given(scope, "scope", _SCOPE), _given(reason, "reason", _REASON)
    way, placed, closed = _halted(where, {"scope": where, "reason": why, "flatten": flatten})
    if as_json:
        output.emit(placed | {"flattened": closed, "straight": way.silent is not None})
    else:
        _show(placed, closed)
    raise typer.Exit(_code(placed, closed))


def _halted(scope: str, arguments: Answer) -> tuple[Way, Answer, list[Answer] | None]:
    """Halt, and close what is to be closed; raises Retryable that says what is not known and what to do."""
    again = halt_command(scope, arguments["reason"], flatten=arguments["flatten"])
    way, placed = None, None
    try:
        way = find_way()
        placed = _placed(way, arguments)
        return way, placed, _flattened(way, placed) if placed["halt"]["flatten"] else None
    except OutcomeUnknown as error:
        raise in_doubt(error, scope, again, placed=placed is not None) from error
    except Unavailable as error:
        if way is None or not way.begun:
            raise not_halted(error, again) from error
        raise in_doubt(error, scope, again, placed=placed is not None) from error


def _given(value: str | None, field: str, fix: str) -> str:
    if value is None or not value.strip():
        raise InvalidArgument(field, "is missing", fix)
    return value


def _placed(way: Way, arguments: Answer) -> Answer:
    """Place the halt and see to it that what runs is paused or stopped, as long as anything is left and moves."""
    command_id, left = uuid4(), None
    while True:
        placed: Answer = _place_once(way, arguments, command_id)
        if not placed["left"] or placed["left"] == left:
            return placed
        left = placed["left"]
        output.note(f"{left} sessions are left...")


def _place_once(way: Way, arguments: Answer, command_id: UUID) -> Answer:
    from fntx_sessions.automation import halts  # noqa: PLC0415 -- slow to import
    from fntx_sessions.automation.halt_arguments import HaltArguments  # noqa: PLC0415

    asked = parse(HaltArguments, arguments)
    for tries in range(_TRIES):
        try:
            found: Answer = way.ask(
                "halts.place",
                arguments,
                command_id,
                lambda desk, actor: halts.halt(desk, actor, asked, command_id, within_s=_STRAIGHT_S),
            )
        except (Busy, Unavailable):
            if tries + 1 == _TRIES or way.gone or way.settings.database_url is None:
                raise
            time.sleep(_TRY_S)
        else:
            return found
    raise AssertionError  # the last try returns or raises


def _flattened(way: Way, placed: Answer) -> list[Answer] | None:
    """Close positions here where nobody else does, else watch them being closed; None: it can't be seen from here."""
    if way.settings.database_url is None:
        output.note("agents workers close the positions; `fntx ls --status closing` shows who is left")
        return None
    halt_id = UUID(str(placed["halt"]["halt_id"]))
    found = way.at_desk(lambda desk, actor: _closed(desk, actor, halt_id, redis=way.redis))
    return [one.model_dump(mode="json") for one in found]


def _closed(desk: "Desk", actor: "Actor", halt_id: UUID, *, redis: bool) -> "list[Flattened]":
    from fntx_sessions.automation.flattening import flatten  # noqa: PLC0415 -- slow to import

    within_s = desk.settings.halt_flatten_s
    say = lambda who: output.note(f"{who}, for at most {within_s:g} s...")  # noqa: E731
    return flatten(desk, actor, halt_id, live=redis, within_s=within_s, say=say)


def _code(placed: Answer, closed: list[Answer] | None) -> Exit:
    codes = [Exit.UNAVAILABLE] if placed["left"] else []
    codes += [Exit.REFUSED for one in closed or [] if one["state"] == "open"]
    return worst(codes)


def _show(placed: Answer, closed: list[Answer] | None) -> None:
    found = placed["halt"]
    where = scope_text(found)
    if placed["standing"]:
        output.note(
            f"{where} is halted already, by {found['actor']} since {moment(found['created_at'])} UTC: "
            f"{found['reason']}. Went on with what was left."
        )
    output.table(placed["items"], ITEMS, "nothing ran in scope")
    if closed is not None:
        output.table(closed, FLATTENED, "nothing was stopped")
    _sum_up(found, where, placed["left"], closed or [])


def _sum_up(found: Answer, where: str, left: int, closed: list[Answer]) -> None:
    """Say what happened, what is safe and what to run."""
    short = str(found["halt_id"])[:SHORT_ID]
    output.console().print(
        f"[bold]{plain(where)} is halted[/bold] (halt {short}): nothing in it starts, resumes or opens a position.",
        soft_wrap=True,
    )
    again = halt_command(where, found["reason"], flatten=found["flatten"])
    if left:
        output.note(f"{left} sessions could not be reached yet; they open nothing. Ask again: {again}")
    stuck = [one["positions"] for one in closed if one["state"] == "open"]
    if stuck:
        output.note(
            f"{sum(stuck)} positions left in {len(stuck)} sessions: the last column says why. Ask again: {again}"
        )
    elif closed:
        output.note(f"no position is left to be closed in {len(closed)} stopped sessions")
    output.note(f"It stands until it is ended, whatever was closed: {release_command(where)}; that resumes nothing.")


def release(
    halt_id: Annotated[str | None, typer.Argument(metavar="[HALT_ID]", help="Or a halt's id; 4 characters do.")] = None,
    scope: Scope = None,
    reason: Reason = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """End a halt, as a risk manager, through a worker; what it paused stays paused until somebody resumes it."""
    from fntx_sessions.automation.halt_arguments import ReleaseArguments  # noqa: PLC0415

    given = {"scope": scope, "halt_id": halt_id, "reason": _given(reason, "reason", "Say why with --reason.")}
    given = {name: value for name, value in given.items() if value is not None}
    parse(ReleaseArguments, given)
    found = ask_worker("halts.release", given, command_id or uuid4())
    if as_json:
        output.emit(found)
    else:
        _show_released(found)


def _show_released(found: Answer) -> None:
    ended, sessions = found["halt"], found["sessions"]
    who = f"by {ended['released_by']} at {moment(ended['released_at'])} UTC: {ended['release_reason']}"
    output.console().print(f"the halt of {plain(scope_text(ended))} is over, {plain(who)}", soft_wrap=True)
    if not sessions:
        output.note("no session is held by it")
        return
    output.table(sessions, HELD, "")
    output.note("nothing was resumed. One that is paused: fntx resume ID; suspended: fntx recover ID, then resume.")


def list_halts(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Those that are over too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the halts that stand."""
    from fntx_sessions.automation import halts  # noqa: PLC0415 -- slow to import
    from fntx_sessions.automation.halt_arguments import ListArguments  # noqa: PLC0415

    asked = ListArguments(released=everything)
    found = find_way().query(
        "halts.list", {"released": everything}, lambda desk, _actor: halts.listed(desk.engine, asked)
    )
    if as_json:
        output.emit(found)
    else:
        output.table(found, HALTS, "nothing is halted")


def _resume(row: Answer) -> str:
    if row["halts"]:
        return plain(f"still halted: {', '.join(scope_text(one) for one in row['halts'])}")
    return f"fntx {'resume' if row['status'] == 'paused' else 'recover'} {row['session_id']}"


ITEMS = {
    "session": lambda row: row["session_id"],
    "account": lambda row: plain(row["account_id"]),
    "was": lambda row: status(row["status_before"]),
    "is": lambda row: status(row["status_after"] or row["status_before"]),
    "outcome": lambda row: row["state"],
    "why": lambda row: plain(row["problem"]) if row["problem"] else "",
}
FLATTENED = {
    "session": lambda row: row["session_id"],
    "account": lambda row: plain(row["account_id"]),
    "positions": lambda row: str(row["positions"]),
    "state": lambda row: row["state"],
    "why": lambda row: plain(row["why"]) if row["why"] else "",
}
HELD = {
    "session": lambda row: row["session_id"],
    "status": lambda row: status(row["status"]),
    "held by": lambda row: ", ".join(row["holds"]),
    "positions": lambda row: str(row["positions"]),
    "what": _resume,
}
HALTS: dict[str, Any] = {
    "halt": lambda row: str(row["halt_id"])[:SHORT_ID],
    "scope": lambda row: plain(scope_text(row)),
    "since": lambda row: moment(row["created_at"]),
    "by": lambda row: plain(row["actor"]),
    "why": lambda row: plain(row["reason"]),
    "flatten": lambda row: "yes" if row["flatten"] else "",
    "holds": lambda row: f"{row['held']} sessions",
    "over": lambda row: f"{moment(row['released_at'])} by {row['released_by']}" if row["released_at"] else "",
}
