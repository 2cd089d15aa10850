"""`fntx backtest`: replay daily bars through Backtest sessions, days in parallel over the workers."""

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fntx_sessions.cli import backtest_report, output
from fntx_sessions.cli.asking import line
from fntx_sessions.cli.exits import Exit
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.values import pairs
from fntx_sessions.exceptions import InvalidArgument, NotFound, Retryable

Run = dict[str, Any]
_POLL_S = 0.5
_DAY_FORMAT = ["%Y-%m-%d"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command()(backtest)


def backtest(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="CSV: date, open, high, low, close, vix a trading day.")
    ] = None,
    first: Annotated[datetime | None, typer.Option("--from", formats=_DAY_FORMAT, help="First day.")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=_DAY_FORMAT, help="Last day.")] = None,
    template: Annotated[str, typer.Option("--template", "-t", help="A template of backtests.")] = "Backtest",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, such as max_daily_risk=0.02 or strategy_parameters.sell_put.delta=0.1."),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Intraday paths a day; 50 or more tell the spread.")
    ] = 50,
    seed0: Annotated[int, typer.Option("--seed0", min=0, help="The first seed.")] = 0,
    resume: Annotated[UUID | None, typer.Option("--resume", metavar="RUN", help="Go on with this run.")] = None,
    runs: Annotated[bool, typer.Option("--runs", help="List the newest runs instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Backtest daily bars; Ctrl-C interrupts the run and says how to resume it."""
    if runs:
        backtest_report.show_runs(line().query("backtests.list"), as_json=as_json)
        return
    if (file is None) == (resume is None):
        raise InvalidArgument("backtest", "takes a FILE or --resume RUN", "Give one of the two.")
    run = _created(file, first, last, template, settings, seeds, seed0) if file else _resumed(resume)
    finished = follow(run)
    report = line().query("backtests.report", run_id=finished["run_id"])
    backtest_report.show(report, as_json=as_json)
    if report["counts"]["failed"]:
        raise typer.Exit(Exit.REFUSED)


def _created(
    file: Path,
    first: datetime | None,
    last: datetime | None,
    template: str,
    settings: list[str] | None,
    seeds: int,
    seed0: int,
) -> Run:
    overrides = pairs(settings, "--set")
    return start(file, first, last, seeds=seeds, seed0=seed0, template=template, overrides=overrides)


def start(
    file: Path,
    first: datetime | None,
    last: datetime | None,
    *,
    seeds: int,
    seed0: int = 0,
    template: str = "Backtest",
    overrides: dict[str, Any] | None = None,
) -> Run:
    """Read the days, store the run and return its status; raises InvalidArgument naming line and column."""
    from fntx_sessions.trading.calendars import get_calendar  # noqa: PLC0415 -- slow to import
    from fntx_sessions.trading.days import backtest_days, read_days  # noqa: PLC0415

    days = read_days(file, get_calendar("XNYS"))
    wanted = backtest_days(days, first.date() if first else None, last.date() if last else None)
    rows = [wanted[0][0].to_json(), *(day.to_json() for _, day in wanted)]
    asked = {"days": rows, "template_name": template, "seeds": seeds, "seed0": seed0, "overrides": overrides or {}}
    run: Run = line().query("backtests.create", command_id=str(uuid4()), **asked)
    return run


def _resumed(run_id: UUID | None) -> Run:
    run: Run = line().query("backtests.resume", command_id=str(uuid4()), run_id=run_id)
    return run


def follow(run: Run) -> Run:
    """Show a run's progress until it is finished, return its last status; Ctrl-C stops it and says how to go on."""
    try:
        return _followed(run)
    except KeyboardInterrupt:
        line().query("backtests.stop", command_id=str(uuid4()), run_id=run["run_id"])
        output.note(
            f"interrupted; days that were begun run to their end. Go on: fntx backtest --resume {run['run_id']}"
        )
        raise


def _followed(run: Run) -> Run:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=output.errors(), transient=False) as progress:
        task = progress.add_task(f"{run['first_day']} to {run['last_day']}", total=run["units"])
        while True:
            counts = run["counts"]
            progress.update(task, completed=counts["done"] + counts["failed"])
            if run["finished"]:
                return run
            time.sleep(_POLL_S)
            run = _looked_at(run)


def _looked_at(run: Run) -> Run:
    """Return how far the run is now, or what was known when nobody answers for a while: the run goes on by itself."""
    try:
        found: Run = line().query("backtests.status", run_id=run["run_id"])
    except NotFound:
        raise
    except Retryable:
        return run
    return found
