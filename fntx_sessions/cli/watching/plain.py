"""The board as a table that is printed: for pipes, files, and `--once`."""

from typing import Any

from rich.table import Table

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import line
from fntx_sessions.cli.watching.columns import fitting
from fntx_sessions.schemas import SessionStatus

ROWS = 200
# Who is named is shown, whatever became of it.
WANTED_IN_EVERY_STATUS = {"status": [status.value for status in SessionStatus], "include_children": True}


def picture(wanted: list[Any]) -> Table:
    """Return the board as a table as wide as the screen lets it be; raises what its question raises."""
    asked = {"session_ids": wanted, **WANTED_IN_EVERY_STATUS} if wanted else {}
    page = line().query("sessions.board", limit=ROWS, **asked)
    return table(page, output.console().width)


def table(page: dict[str, Any], width: int) -> Table:
    """Return a page of the board as a table of at most `width` columns of a screen, no amount of it cut."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    columns = fitting(page["rows"], width)
    for name in columns:
        grid.add_column(name, no_wrap=True, overflow="fold")
    for row in page["rows"]:
        grid.add_row(*(draw(row) for draw in columns.values()))
    grid.caption = f"{output.moment(page['now'])[11:]} UTC, {told(page)}"
    return grid


def told(page: dict[str, Any]) -> str:
    """Return how many sessions there are, in which statuses, and what of them is not shown."""
    shown, total = len(page["rows"]), page["total"]
    counts = ", ".join(f"{count} {status}" for status, count in page["counts"].items() if count and status != "closed")
    few = f"; {shown} shown" if shown < total else ""
    return f"{total} session{'' if total == 1 else 's'}{f' ({counts})' if counts and total > 1 else ''}{few}"
