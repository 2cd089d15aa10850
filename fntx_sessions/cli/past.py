"""`fntx trades` and `fntx history`: what was, over a stretch of trade dates."""

from datetime import datetime
from typing import Annotated, Any

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import line
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.measures import plainly
from fntx_sessions.cli.output import moment, money, plain
from fntx_sessions.cli.queries import Id, Limit, note_elsewhere

From = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], metavar="DATE", help="First trade date of its exchange, included."),
]
To = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], metavar="DATE", help="Last trade date, included."),
]
KINDS = "transition, event, trade, checkpoint, sample, decision, error"


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command()(trades)
    app.command()(history)


def trades(session_id: Id, first: From = None, last: To = None, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List the trades that were open on these days, flat to flat, oldest first."""
    found = line().about("trades", session_id, limit=limit, **_days(first, last))
    if as_json:
        output.emit(found)
    else:
        output.table(found, TRADE_COLUMNS, "no trades")
        note_elsewhere("trades", session_id)


def history(
    session_id: Id,
    first: From = None,
    last: To = None,
    kinds: Annotated[list[str] | None, typer.Option("--kind", "-k", help=f"Only these: {KINDS}.")] = None,
    after: Annotated[str | None, typer.Option("--after", help="Go on where an answer ended.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Tell all that happened in one order, oldest first: transitions, events, trades, checkpoints; samples if asked."""
    found = line().about("history", session_id, limit=limit, kinds=kinds or None, after=after, **_days(first, last))
    if as_json:
        output.emit(found)
        return
    output.table(found["entries"], HISTORY_COLUMNS, "nothing happened then")
    note_elsewhere("history", session_id)
    if found["after"]:
        output.note(f"more follows: --after {found['after']}")


def _days(first: datetime | None, last: datetime | None) -> dict[str, Any]:
    return {name: day and day.date().isoformat() for name, day in (("first", first), ("last", last))}


TRADE_COLUMNS = {
    "opened (UTC)": lambda row: moment(row["opened_at"]),
    "closed (UTC)": lambda row: moment(row["closed_at"]),
    "strategy": lambda row: plain(row["strategy"]),
    "packages": lambda row: output.NONE if row["packages"] is None else str(row["packages"]),
    "credit": lambda row: money(row["credit"]),
    "gross": lambda row: money(row["gross_pnl"]),
    "fees": lambda row: plainly(row["fees"]),
    "net": lambda row: money(row["net_pnl"]),
    "exit": lambda row: plain(row["exit_reason"]),
    "told by": lambda row: plain(row["agent"]) if row.get("agent") else "",
}
HISTORY_COLUMNS = {
    "time (UTC)": lambda row: moment(row["at"]),
    "kind": lambda row: row["kind"],
    "what": lambda row: plain(row["what"]),
}
