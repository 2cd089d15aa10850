"""The screen that lists the keys."""

from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from fntx_sessions.cli.watching.acts import ACTS

MOVING = {
    "arrows": "to a row",
    "Enter": "open it; do it",
    "Escape": "back; show all",
    "/": "filter",
    "o": "sort by the next",
    "O": "sort the other way",
    "n": "next page",
    "b": "page back",
    "?": "these keys",
    "q, Ctrl-C": "quit",
}


class KeysScreen(ModalScreen[None]):
    """Lists what acts beside what moves; nothing else is done from it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss(None)", "Leave"),
        Binding("question_mark,enter,q", "dismiss(None)", "Leave", show=False),
    ]

    def compose(self) -> ComposeResult:
        """Lay it out."""
        acting = {act.key: act.label for act in ACTS}
        grid = Table.grid(padding=(0, 6, 0, 0))
        grid.add_row(_listed("On the session", acting), _listed("On the screen", MOVING))
        with Vertical(classes="box"):
            yield Static(grid)
            yield Static("\nWhat acts shows first what would happen, and asks why. Escape leaves.")


def _listed(title: str, keys: dict[str, str]) -> Table:
    found = Table(box=None, pad_edge=False, show_header=False, title=Text(title, style="bold"), title_justify="left")
    for key, told in keys.items():
        found.add_row(Text(key, style="bold"), Text(told))
    return found
