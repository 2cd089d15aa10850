"""What commands print: tables for people, the same facts as JSON for machines, complaints on stderr."""

import os
import re
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape, render
from rich.table import Table

from fntx_sessions.printable import printable, same_json

STATUS_STYLES = {
    "initializing": "cyan",
    "active": "green",
    "paused": "yellow",
    "suspended": "magenta",
    "closing": "blue",
    "closed": "dim",
    "error": "bold red",
}
SEVERITY_STYLES = {"debug": "dim", "info": "", "warning": "yellow", "error": "red", "critical": "bold red"}
LIVE_TYPES = frozenset({"regular", "extended_hours"})
SHORT_ID = 8
_ID = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_BRIEF = 60
NONE = "-"
# A column of words that is narrower than this cannot be read.
_LEAST_WORDS = 8
PIPE_WIDTH = 160
# What may be broken over lines when a table is too wide; ids, times and amounts may not.
_WORDS = frozenset(
    {"why", "what", "warnings", "account", "template", "strategies", "exit", "to do", "agent", "by", "impact"}
)


class _Console(Console):
    """A console that prints no control characters, and leaves it to the program what a reader who has left means."""

    def print(self, *objects: Any, **options: Any) -> None:
        # Markup is text: whatever else came along with it never was ours.
        super().print(*(printable(one) if isinstance(one, str) else one for one in objects), **options)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console() -> Console:
    """Return where results go; made anew, so that it follows whatever stdout is now.

    A pipe gets long lines, unless COLUMNS says how long.
    """
    own = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return _Console(highlight=False, width=None if own else PIPE_WIDTH)


def errors() -> Console:
    """Return where progress and complaints go, so that stdout holds results alone."""
    return _Console(stderr=True, highlight=False)


def complain(text: str) -> None:
    """Say what went wrong, on stderr, in one line."""
    _Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error:[/red] {escape(text)}")


def note(text: str) -> None:
    """Say something beside the result, on stderr."""
    _Console(stderr=True, highlight=False, soft_wrap=True).print(escape(text))


def emit(data: Any) -> None:
    """Print facts as JSON."""
    text = orjson.dumps(data, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()
    sys.stdout.write(same_json(text) + "\n")


def say(told: str, data: Any, *, as_json: bool) -> None:
    """Print what was done as a sentence, or as facts for machines."""
    if as_json:
        emit(data)
    else:
        console().print(told, soft_wrap=True, markup=False)


def table(rows: Iterable[dict[str, Any]], columns: dict[str, Callable[[dict[str, Any]], str]], empty: str) -> None:
    """Print rows as a table, a column per heading; `empty` says what to do when there are none.

    A table that would have to cut amounts or times to fit the screen is printed as one block a row instead.
    """
    cells = [{heading: printable(draw(row)) for heading, draw in columns.items()} for row in rows]
    silent = {heading for heading in columns if all(row[heading] == "" for row in cells)}
    cells = [{heading: text for heading, text in row.items() if heading not in silent} for row in cells]
    if not cells:
        note(empty)
    elif _least_width(cells) > console().width:
        _blocks(cells)
    else:
        _grid(cells)


def _grid(cells: list[dict[str, str]]) -> None:
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for heading in cells[0]:
        grid.add_column(heading, no_wrap=heading not in _WORDS, overflow="fold")
    for row in cells:
        grid.add_row(*row.values())
    console().print(grid)


def _least_width(cells: list[dict[str, str]]) -> int:
    """Return how many columns of a screen the table needs when words are broken and nothing else is."""
    needed = 0
    for heading in cells[0]:
        widest = max(len(heading), *(cell_len(render(row[heading]).plain) for row in cells))
        needed += (min(widest, _LEAST_WORDS) if heading in _WORDS else widest) + 2
    return needed - 2


def _blocks(cells: list[dict[str, str]]) -> None:
    for number, row in enumerate(cells):
        if number:
            console().print()
        facts({heading: text for heading, text in row.items() if text and text != NONE})


def facts(pairs: dict[str, Any], title: str = "") -> None:
    """Print a heading and one fact a line; facts that are None are left out."""
    grid = Table(box=None, show_header=False, pad_edge=False, title=printable(title) or None, title_justify="left")
    for name, value in pairs.items():
        if value is not None:
            grid.add_row(f"[bold]{name}[/bold]", printable(str(value)))
    console().print(grid)


def status(value: Any) -> str:
    """Return a status in its colour."""
    text = str(value)
    style = STATUS_STYLES.get(text, "")
    return f"[{style}]{text}[/{style}]" if style else text


def severity(value: Any) -> str:
    """Return a severity in its colour."""
    style = SEVERITY_STYLES.get(str(value), "")
    return f"[{style}]{value}[/{style}]" if style else str(value)


def money(value: Any) -> str:
    """Return dollars with a sign, red below zero and green above; `-` for none."""
    if value is None:
        return NONE
    amount = float(value)
    text = f"{'-' if amount < 0 else ''}${abs(amount):,.2f}"
    style = "red" if amount < 0 else "green" if amount > 0 else ""
    return f"[{style}]{text}[/{style}]" if style else text


def moment(value: Any) -> str:
    """Return a time in UTC to the second; `-` for none."""
    if not value:
        return NONE
    at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def age(value: Any) -> str:
    """Return how long ago a time was, in its greatest unit."""
    if not value:
        return NONE
    at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    seconds = max(0.0, (datetime.now(UTC) - at).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def plain(value: Any) -> str:
    """Return text from elsewhere, safe to print; `-` for none or nothing."""
    return escape(printable(str(value))) if value not in (None, "", [], {}) else NONE


def brief(value: Any) -> str:
    """Return text from elsewhere for one column of many: ids by their first digits, and cut at a word, with a sign."""
    told = _ID.sub(r"\1", str(value or ""))
    if len(told) > _BRIEF:
        cut = told[: _BRIEF - 1]
        told = (cut.rpartition(" ")[0] or cut) + "…"
    return plain(told)


def kind(row: dict[str, Any]) -> str:
    """Return a session's type; a live type on the paper broker is marked, so that nobody takes it for live."""
    paper = row.get("broker") == "paper" and row.get("session_type") in LIVE_TYPES
    return f"{row.get('session_type')} [bold yellow]PAPER[/bold yellow]" if paper else str(row.get("session_type"))


def to_do(row: dict[str, Any]) -> str:
    """Return what a session waits for from a person; nothing where it goes on by itself."""
    if row["requires_action"]:
        return "[bold red]needs a person[/bold red]"
    if row.get("unattended"):
        return "[bold red]start agents: fntx up[/bold red]"
    recovered = row["status"] == "paused" and "recovery" in row["holds"]
    return "[yellow]recovered: look, resume[/yellow]" if recovered else ""
