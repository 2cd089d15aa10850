"""What a backtest run came to, on a page: years, days, the day that must not be hidden, and what the numbers are."""

from typing import Any

from fntx_sessions.cli import output
from fntx_sessions.cli.output import moment, money, plain

Report = dict[str, Any]
_DAYS_SHOWN = 30


def show(report: Report, *, as_json: bool) -> None:
    """Print a report."""
    if as_json:
        output.emit(report)
        return
    counts = report["counts"]
    output.facts(
        {
            "run": report["run_id"],
            "days": f"{report['first_day']} to {report['last_day']}, {report['spec']['seeds']} seeds each",
            "sessions": f"{counts['done']} done, {counts['failed']} failed",
            "exits": ", ".join(f"{reason} {count}" for reason, count in report["exits"].items()) or output.NONE,
        },
        "[bold]Backtest[/bold]",
    )
    _tables(report)
    for failure in report["failures"]:
        output.complain(f"{failure['trade_date']} seed {failure['seed']}: {failure['error']}")
    for warning in report["warnings"]:
        output.note(f"warning: {warning}")
    output.console().print(f"\n[yellow]{report['label']}[/yellow]")


def _tables(report: Report) -> None:
    output.console().print("\n[bold]By year[/bold] (each seed's days added up)")
    output.table(report["years"], YEAR_COLUMNS, "no day is finished")
    days = _interesting(report["days"])
    shown = "" if len(days) == len(report["days"]) else f", the {len(days)} widest of {len(report['days'])}"
    output.console().print(f"\n[bold]By day[/bold] (over the seeds{shown}; --json has all)")
    marked = {row["day"] for row in report["shown"]}
    output.table([row | {"marked": row["day"] in marked} for row in days], DAY_COLUMNS, "no day is finished")


def _interesting(days: list[Report]) -> list[Report]:
    """Return the days with the widest results, in order of date, when there are more than fit a page."""
    widest = sorted(days, key=lambda row: -max(abs(row["net_pnl"]["low"]), abs(row["net_pnl"]["high"])))
    return sorted(widest[:_DAYS_SHOWN], key=lambda row: str(row["day"]))


def show_runs(runs: list[Report], *, as_json: bool) -> None:
    """Print the newest runs."""
    if as_json:
        output.emit(runs)
    else:
        output.table(runs, RUN_COLUMNS, "no runs; `fntx backtest FILE` makes one")


def _counts(row: Report) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted((row["counts"] or {}).items()))


SPREAD_COLUMNS = {
    "median": lambda row: money(row["net_pnl"]["median"]),
    "5 %": lambda row: money(row["net_pnl"]["low"]),
    "95 %": lambda row: money(row["net_pnl"]["high"]),
}
YEAR_COLUMNS = {
    "year": lambda row: str(row["year"]),
    "days": lambda row: str(row["days"]),
    **SPREAD_COLUMNS,
    "fees": lambda row: f"${row['fees']:,.2f}",
    "worst day": lambda row: f"{row['worst_day']} {money(row['worst_day_median'])}",
}
DAY_COLUMNS = {
    "day": lambda row: f"[bold yellow]{row['day']} <-[/bold yellow]" if row["marked"] else str(row["day"]),
    **SPREAD_COLUMNS,
    "worst drawdown": lambda row: money(row["worst_drawdown"]),
    "trades": lambda row: str(row["trades"]),
}
RUN_COLUMNS = {
    "run": lambda row: row["run_id"],
    "created (UTC)": lambda row: moment(row["created_at"]),
    "by": lambda row: plain(row["actor"]),
    "template": lambda row: plain(row["spec"]["template_name"]),
    "days": _counts,
    "stopped": lambda row: moment(row["stopped_at"]),
}
