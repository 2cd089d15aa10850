"""The live screens of `fntx watch` as one program: the board, a session, and what is done to it."""

import os
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType

from fntx_sessions.cli.watching.board import Board
from fntx_sessions.cli.watching.desk import Desk
from fntx_sessions.cli.watching.names import Names
from fntx_sessions.cli.watching.session import SessionScreen
from fntx_sessions.exceptions import FntxError


class Watch(App[FntxError | None]):
    """Shows who is named (nobody: all that are not closed), each look `every_s` seconds after the one before.

    It returns the error that ended it, one that no second look would cure; None where somebody left.
    """

    TITLE = "fntx watch"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
    ]
    # What is chosen is reversed, not coloured: so it is seen without colours, too.
    CSS = """
    Screen { background: $background; }
    DataTable { height: 1fr; background: $background; }
    DataTable > .datatable--cursor, OptionList > .option-list--option-highlighted { text-style: reverse; }
    #about { height: 3; padding: 0 1; }
    #state { height: auto; max-height: 4; padding: 0 1; }
    #filter { height: 3; }
    #whole { height: 1fr; padding: 0 1; }
    ActScreen, KeysScreen { align: center middle; }
    .box { width: 78; max-width: 100%; height: auto; max-height: 100%; border: round $accent; padding: 0 1;
        overflow-y: auto; }
    .box VerticalScroll { height: auto; max-height: 9; }
    .box OptionList { height: auto; max-height: 9; border: none; padding: 0; }
    .box Input { margin: 1 0 0 0; }
    """

    def __init__(self, desk: Desk, names: Names, every_s: float) -> None:
        # Without colours means none at all: with the terminal's own, nothing is left once they are taken out.
        super().__init__(ansi_color="NO_COLOR" in os.environ)
        self.desk, self.names, self.every_s = desk, names, every_s

    async def on_mount(self) -> None:
        """Begin with the board, or with the one session that was named."""
        await self.push_screen(Board(self.desk, self.names, self.every_s))
        if self.names.one:
            await self.push_screen(SessionScreen(self.desk, self.names, self.every_s))

    async def on_unmount(self) -> None:
        """Hang up."""
        await self.desk.close()
