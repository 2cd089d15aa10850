"""Many sessions at once: preview, ask, follow; and `fntx bulk`, where a run is seen, cancelled and gone on with."""

import sys
import time
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import Answer, line
from fntx_sessions.cli.choosing import Chosen
from fntx_sessions.cli.exits import Exit, worst
from fntx_sessions.cli.halt_hint import or_halt, scope_of
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.output import SHORT_ID, plain, status
from fntx_sessions.exceptions import InvalidArgument, NotFound, OutcomeUnknown

BulkId = Annotated[UUID, typer.Argument(metavar="BULK_ID", help="A run's id; see `fntx bulk ls`.")]
HELP = "Runs of one command over many sessions, as `fntx pause --all` begins them: see, cancel, go on."
_POLL_S = 0.3
# Above it, the ids would not go into one message: the run then takes whoever matches when it begins.
_IDS_SENT_MAX = 5000
_RUNNING = "running"
_CODES = {"refused": Exit.REFUSED, "cancelled": Exit.REFUSED, "failed": Exit.UNAVAILABLE, "waiting": Exit.UNAVAILABLE}


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    group = typer.Typer(name="bulk", help=HELP, no_args_is_help=True)
    group.command("ls")(list_runs)
    for command in (show, resume, cancel):
        group.command()(command)
    app.add_typer(group)


def ask_many(
    action: str, chosen: Chosen, ids: list[str] | None, arguments: Answer, bulk_id: UUID | None, *, as_json: bool
) -> None:
    """Ask for a command on the chosen sessions, once what would happen was shown and agreed to; exits with the worst.

    Nothing matches: exits with 4. bulk_id: of a run that was asked for before, which is then only followed; raises
    CommandConflict where that was asked for something else.
    """
    with or_halt(action, scope_of(chosen, ids)):
        asked = _asked(action, chosen, ids, arguments)
        if chosen.preview or not (chosen.yes or _known(bulk_id)):
            asked = _agreed(asked, chosen, as_json=as_json)
        # Of one that is known it begins nothing: it compares what was asked.
        run = _followed(line().query("bulk.begin", command_id=str(bulk_id or uuid4()), **asked))
    _tell(run, as_json=as_json)


def _known(bulk_id: UUID | None) -> bool:
    try:
        return bulk_id is not None and bool(line().query("bulk.report", bulk_id=bulk_id, items=False))
    except NotFound:
        return False


def _asked(action: str, chosen: Chosen, ids: list[str] | None, arguments: Answer) -> Answer:
    own = dict(arguments)
    if own.pop("expected_version", None) is not None:
        raise InvalidArgument("--expected-version", "is one session's", "Leave it out, or give one id alone.")
    pace = {"wave_size": chosen.wave_size, "wave_pause_s": chosen.wave_pause_s}
    return {
        "action": action,
        "selector": chosen.selector(ids, line().session_id),
        "reason": own.pop("reason", ""),
        "arguments": own,
        **{name: value for name, value in pace.items() if value is not None},
    }


def _agreed(asked: Answer, chosen: Chosen, *, as_json: bool) -> Answer:
    """Show what would happen, exit there for a preview, and return what was agreed to: on those that were shown."""
    items = line().query("bulk.preview", **asked)
    if not items:
        fix = "Nothing was changed. `fntx ls` takes the same options."
        raise NotFound("session for", _means(asked["selector"]), fix)
    if chosen.preview:
        _show_preview(items, asked["action"], as_json=as_json)
        raise typer.Exit(Exit.DONE)
    if not sys.stdin.isatty():
        fix = "Give --yes where nobody can answer; --preview shows what would happen."
        raise InvalidArgument(asked["action"], "asks before it acts on many sessions", fix)
    _show_preview(items, asked["action"], as_json=False)
    if len(items) > _IDS_SENT_MAX:
        output.note(f"more than {_IDS_SENT_MAX:,} sessions: who comes to match before it begins is done as well")
    if not typer.confirm(f"{asked['action']} them?", err=True):
        raise InvalidArgument(asked["action"], "was not agreed to", "Nothing was changed.")
    shown = [item["session_id"] for item in items]
    return asked | ({"selector": asked["selector"] | {"session_ids": shown}} if len(shown) <= _IDS_SENT_MAX else {})


def _show_preview(items: list[Answer], action: str, *, as_json: bool) -> None:
    if as_json:
        output.emit(items)
        return
    output.table(items, PREVIEW_COLUMNS | {"what": lambda row: _would(row, action)}, "")
    able = sum(item["state"] == "waiting" for item in items)
    output.note(f"{action} would be done on {able} of {len(items)} sessions; nothing was changed")


def _would(row: Answer, action: str) -> str:
    return f"[yellow]refused:[/yellow] {plain(row['problem'])}" if row["problem"] else f"would {action}"


def _followed(run: Answer) -> Answer:
    """Show a run's progress until nothing more happens by itself, return it whole; Ctrl-C leaves it to the desk."""
    try:
        _follow(run)
    except KeyboardInterrupt:
        output.note(
            f"it goes on by itself; see: fntx bulk show {run['bulk_id']}, end it: fntx bulk cancel {run['bulk_id']}"
        )
        raise
    found: Answer = line().query("bulk.report", bulk_id=run["bulk_id"])
    return found


def _follow(run: Answer) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.errors(), transient=True) as progress:
        task = progress.add_task(run["action"], total=sum(run["counts"].values()))
        moved, patience_s = time.monotonic(), line().settings.command_deadline_s + run["wave_pause_s"]
        while run["state"] == _RUNNING:
            before = run["counts"]
            time.sleep(_POLL_S)
            run = line().query("bulk.report", bulk_id=run["bulk_id"], items=False)
            progress.update(task, completed=sum(run["counts"].values()) - run["counts"].get("waiting", 0))
            if run["counts"] != before:
                moved = time.monotonic()
            elif time.monotonic() - moved > patience_s:
                raise OutcomeUnknown(run["bulk_id"], f"{run['action']} (no worker takes it on)", round(patience_s, 1))


def _tell(run: Answer, *, as_json: bool) -> None:
    _show_run(run, as_json=as_json)
    raise typer.Exit(worst([_CODES.get(item["state"], Exit.DONE) for item in run["items"]]))


def _show_run(run: Answer, *, as_json: bool) -> None:
    if as_json:
        output.emit(run)
        return
    output.table(run["items"], ITEM_COLUMNS, "it means no session")
    output.note(_summary(run))


def _summary(run: Answer) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in sorted(run["counts"].items())) or "no session"
    told = f"{run['action']} {run['state']}{_answered(run)}: {counts}; run {run['bulk_id']}"
    if run["state"] != "stopped":
        return told
    return (
        f"{told}\nToo many could not be asked: those were not touched, and nobody after them was. Look, then "
        f"fntx bulk resume {run['bulk_id']} or fntx bulk cancel {run['bulk_id']}"
    )


def _answered(run: Answer) -> str:
    """Say who cancelled it, or who let it go on; nothing where nobody did."""
    if run["cancelled_by"]:
        return f" by {run['cancelled_by']} at {output.moment(run['cancelled_at'])} UTC"
    if run["resumed_by"]:
        return f", let go on by {run['resumed_by']} at {output.moment(run['resumed_at'])} UTC"
    return ""


def show(bulk_id: BulkId, as_json: AsJson = False) -> None:
    """Show what became of each session of a run."""
    _show_run(line().query("bulk.report", bulk_id=bulk_id), as_json=as_json)


def resume(bulk_id: BulkId, as_json: AsJson = False) -> None:
    """Go on with a run that stopped for a person, and follow it; what was done is not done again."""
    _tell(_followed(line().query("bulk.resume", bulk_id=bulk_id)), as_json=as_json)


def cancel(bulk_id: BulkId, as_json: AsJson = False) -> None:
    """Ask nothing more of the sessions whose turn has not come; what was done stays done."""
    run = line().query("bulk.cancel", bulk_id=bulk_id)
    _show_run(run, as_json=as_json)
    if run["state"] != "cancelled":
        output.note("nothing was cancelled: everybody had been asked before")
        raise typer.Exit(Exit.REFUSED)


def list_runs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest runs."""
    found = line().query("bulk.list", limit=limit)
    if as_json:
        output.emit(found)
    else:
        output.table(found, RUN_COLUMNS, "no runs")


def _means(selector: Answer) -> str:
    from fntx_sessions.automation.bulk import Selector  # noqa: PLC0415 -- slow to import

    return plain(str(Selector.model_validate(selector)))


def _came_to(row: Answer) -> str:
    after = row["status_after"]
    return status(after) if row["state"] in ("done", "pending") and after else plain(row["state"])


PREVIEW_COLUMNS: dict[str, Any] = {
    "id": lambda row: row["session_id"][:SHORT_ID],
    "type": lambda row: plain(row["session_type"] or ""),
    "template": lambda row: plain(row["template_name"] or ""),
    "status": lambda row: status(row["status_before"] or ""),
    "open": lambda row: str(row["positions"] or 0),
}
ITEM_COLUMNS: dict[str, Any] = {
    "id": lambda row: row["session_id"][:SHORT_ID],
    "template": lambda row: plain(row["template_name"] or ""),
    "before": lambda row: status(row["status_before"] or ""),
    "now": _came_to,
    "why": lambda row: plain(row["problem"]) if row["problem"] else "",
}
RUN_COLUMNS: dict[str, Any] = {
    "id": lambda row: row["bulk_id"],
    "time (UTC)": lambda row: output.moment(row["created_at"]),
    "what": lambda row: plain(row["action"]),
    "state": lambda row: plain(row["state"]),
    "sessions": lambda row: ", ".join(f"{count} {state}" for state, count in sorted(row["counts"].items())),
    "which": lambda row: _means(row["selector"]),
    "by": lambda row: plain(row["actor"]),
    "why": lambda row: plain(row["reason"]),
}
