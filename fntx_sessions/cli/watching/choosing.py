"""A screen that asks which of several is meant."""

from collections.abc import Callable
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static

Row = dict[str, Any]


class ChoiceScreen(ModalScreen[Row | None]):
    """Returns one of `rows`, or None where nobody chooses."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(None)", "Leave")]

    def __init__(self, title: str, rows: list[Row], told: Callable[[Row], str]) -> None:
        super().__init__()
        self._title, self._rows, self._told = title, rows, told

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with Vertical(classes="box"):
            yield Static(Text(f"{self._title} Enter takes it, Escape leaves.", style="bold"))
            yield OptionList(*(Text.from_markup(self._told(row)) for row in self._rows))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take it."""
        self.dismiss(self._rows[event.option_index])
