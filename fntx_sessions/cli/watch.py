"""`fntx watch`: the sessions as they are now, over and over."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import line
from fntx_sessions.cli.output import money, status
from fntx_sessions.exceptions import Retryable


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command()(watch)


def watch(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Only these sessions.")] = None,
    every_s: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and return.")] = False,
) -> None:
    """Watch sessions live; Ctrl-C ends it. Without ids: all that are not closed."""
    wanted = [line().session_id(one) for one in ids or []]
    if once:
        output.console().print(_picture(wanted))
        return
    with Live(_picture(wanted), console=output.console(), auto_refresh=False, screen=False) as live:
        while True:
            time.sleep(every_s)
            live.update(_safely(wanted), refresh=True)


def _safely(wanted: list[Any]) -> Table | str:
    try:
        return _picture(wanted)
    except Retryable as error:
        return f"[red]{output.plain(error)}[/red] (still trying)"


def _picture(wanted: list[Any]) -> Table:
    wide = output.console().width >= _WIDE
    columns = {name: draw for name, draw in _COLUMNS.items() if wide or name not in _ONLY_WIDE}
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        grid.add_column(name, no_wrap=name not in _WORDS, overflow="fold")
    for session in [line().query("sessions.get", session_id=one) for one in wanted or _open()]:
        grid.add_row(*(draw(session) for draw in columns.values()))
    grid.caption = f"{datetime.now(UTC):%H:%M:%S} UTC, {grid.row_count} session{'' if grid.row_count == 1 else 's'}"
    return grid


def _open() -> list[str]:
    statuses = ["initializing", "active", "paused", "suspended", "closing", "error"]
    return [row["session_id"] for row in line().query("sessions.list", status=statuses, limit=30)]


def _spot(session: dict[str, Any]) -> str:
    market = session.get("market_state")
    return f"{market['spy_price']:.2f}" if market else output.NONE


def _trading(session: dict[str, Any], name: str) -> Any:
    return (session.get("trading_state") or {}).get(name)


# A cut amount is a wrong amount: a narrow screen gets fewer columns instead.
_WIDE = 120
_ONLY_WIDE = frozenset({"for", "orders", "drawdown", "epoch"})
_WORDS = frozenset({"type", "to do"})
_COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "id": lambda row: row["session_id"][: output.SHORT_ID],
    "type": output.kind,
    "status": lambda row: status(row["status"]),
    "for": lambda row: output.age(row["status_since"]),
    "SPY": _spot,
    "open": lambda row: str(len(_trading(row, "open_positions") or [])),
    "orders": lambda row: str(len(_trading(row, "pending_orders") or [])),
    "today": lambda row: money(_trading(row, "daily_pnl")),
    "net": lambda row: money((row.get("metrics") or {}).get("net_pnl")),
    "drawdown": lambda row: money((row.get("metrics") or {}).get("max_drawdown")),
    "epoch": lambda row: str(row["epoch"]),
    "to do": output.to_do,
}
