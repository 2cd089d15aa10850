"""The columns of the board in a terminal: which there are, and which of them a screen has room for."""

from collections.abc import Callable
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from fntx_sessions.cli import output
from fntx_sessions.cli.output import age, money, plain, status

Row = dict[str, Any]
Draw = Callable[[Row], str]
_GAP = 2
_BAR = 5
_LONGEST = 34
_TO_DO = 18
_NEAR, _SOME = 0.8, 0.5


def fitting(rows: list[Row], width: int) -> dict[str, Draw]:
    """Return the columns that fit side by side, the most needed first to come in, in their usual order.

    No amount is cut: a column that would not fit is left out. Long words end in an ellipsis.
    """
    whole = _fitting(rows, width, _COLUMNS)
    # What is to do is told whole below the rows; how near a limit is, nowhere else.
    return whole if whole.keys() >= _BESIDE_TO_DO else _fitting(rows, width, _COLUMNS | {"to do": _to_do_cut})


def _fitting(rows: list[Row], width: int, columns: dict[str, Draw]) -> dict[str, Draw]:
    left, chosen = width, set()
    for name in _BY_NEED:
        needed = _width(columns[name], name, rows) + _GAP
        if needed <= left + _GAP and (name in _ALWAYS or any(columns[name](row) for row in rows)):
            chosen.add(name)
            left -= needed
    return {name: draw for name, draw in columns.items() if name in chosen}


def cell(markup: str) -> Text:
    """Return what a column draws as text; all that came from elsewhere was escaped."""
    return Text.from_markup(markup)


def _short(text: str, most: int) -> str:
    return plain(text if len(text) <= most else f"{text[: most - 1]}…")


def _width(draw: Draw, name: str, rows: list[Row]) -> int:
    return max(len(name), *(cell_len(cell(draw(row)).plain) for row in rows)) if rows else len(name)


def limit(row: Row) -> str:
    """Return how much of the nearest limit is used, as a bar and a share."""
    if not row["limits"]:
        return output.NONE
    nearest = row["limits"][0]
    share = nearest["share"]
    full = min(_BAR, round(share * _BAR))
    style = "red" if share >= _NEAR else "yellow" if share >= _SOME else "green"
    old = "?" if row["figures_old"] else ""
    fired = " fired" if nearest["fired"] else ""
    return f"[{style}]{'█' * full}{'░' * (_BAR - full)}[/{style}] {share:.0%}{old} {plain(nearest['name'][:4])}{fired}"


def to_do(row: Row) -> str:
    """Return what a session needs from somebody, or what keeps it; nothing where it goes on by itself."""
    waiting = f"[yellow]{row['approvals']} to approve[/yellow]" if row["approvals"] else ""
    kept = "[yellow]halted[/yellow]" if row["halted"] else _kept(row)
    return ", ".join(filter(None, (output.to_do(row), waiting, kept)))


def _to_do_cut(row: Row) -> str:
    text = cell(to_do(row))
    text.truncate(_TO_DO, overflow="ellipsis")
    return text.markup


def _kept(row: Row) -> str:
    if row["pending"]:
        return f"[cyan]{plain(row['pending']).replace('_session', '')} under way[/cyan]"
    held = row["status"] in ("paused", "suspended") and row["holds"]
    return f"held: {plain(', '.join(row['holds']))}" if held else ""


def _agents(row: Row) -> str:
    text = f"{row['agents_ready']}/{row['agents']}"
    return text if row["agents_ready"] >= row["agents"] else f"[yellow]{text}[/yellow]"


def _saved(row: Row) -> str:
    return f"[red]{age(row['last_saved_at'])}![/red]" if row["save_overdue"] else age(row["last_saved_at"])


def _checkpoint(row: Row) -> str:
    found = row["checkpoint"]
    return f"{age(found['at'])}{'' if found['verified'] else ' unproven'}" if found else output.NONE


def _next(row: Row) -> str:
    return _short(row["next_rule"]["what"], _LONGEST) if row["next_rule"]["action"] else output.NONE


def _known(value: Any) -> str:
    return output.NONE if value is None else str(value)


_COLUMNS: dict[str, Draw] = {
    "id": lambda row: row["session_id"][: output.SHORT_ID],
    "type": output.kind,
    "template": lambda row: _short(row["template_name"], 20),
    "status": lambda row: status(row["status"]),
    "for": lambda row: age(row["status_since"]),
    "today": lambda row: money(row["pnl_today"]),
    "drawdown": lambda row: money(row["drawdown"]),
    "limit": limit,
    "open": lambda row: _known(row["positions"]),
    "agents": _agents,
    "saved": _saved,
    "checkpoint": _checkpoint,
    "health": lambda row: plain(row["health"]) if row["health"] else "",
    "next": _next,
    "to do": to_do,
}
_ALWAYS = frozenset({"id", "status", "for", "today", "limit", "agents", "saved"})
_BESIDE_TO_DO = frozenset({"limit", "agents"})
# What somebody has to know first comes first, whatever the width.
_BY_NEED = (
    "id", "status", "today", "to do", "limit", "for", "agents", "drawdown", "saved", "type", "open", "next",
    "checkpoint", "health", "template",
)  # fmt: skip
