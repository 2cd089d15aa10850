"""The live screens of `fntx watch` as one program: the board, a session, and what is done to it."""

import os
from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID

from textual.app import App
from textual.binding import BindingType

from fntx_sessions.cli.watching.board import Board
from fntx_sessions.cli.watching.desk import Desk
from fntx_sessions.cli.watching.session import SessionScreen


class Watch(App[None]):
    """Shows `wanted` (none: all that are not closed), each look `every_s` seconds after the one before."""

    TITLE = "fntx watch"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        ("question_mark", "keys", "Keys"),
    ]
    # What is chosen is reversed, not coloured: so it is seen without colours, too.
    CSS = """
    Screen { background: $background; }
    DataTable { height: 1fr; background: $background; }
    DataTable > .datatable--cursor, OptionList > .option-list--option-highlighted { text-style: reverse; }
    #about { height: 3; padding: 0 1; }
    #state { height: auto; max-height: 4; padding: 0 1; }
    #filter { display: none; height: 3; }
    #filter.shown { display: block; }
    #whole { height: 1fr; padding: 0 1; }
    ActScreen, ChoiceScreen { align: center middle; }
    .box { width: 78; max-width: 100%; height: auto; max-height: 100%; border: round $accent; padding: 0 1;
        overflow-y: auto; }
    .box VerticalScroll { height: auto; max-height: 9; }
    .box RadioSet { height: auto; width: 100%; border: none; padding: 0; }
    .box Input { margin: 1 0 0 0; }
    """

    def __init__(self, desk: Desk, wanted: Sequence[UUID], every_s: float) -> None:
        # Without colours means none at all: with the terminal's own, nothing is left once they are taken out.
        super().__init__(ansi_color="NO_COLOR" in os.environ)
        self.desk, self.wanted, self.every_s = desk, list(wanted), every_s

    async def on_mount(self) -> None:
        """Begin with the board, or with the one session that was named."""
        await self.push_screen(Board(self.desk, self.wanted, self.every_s))
        if len(self.wanted) == 1:
            await self.push_screen(SessionScreen(self.desk, self.wanted[0], self.every_s))

    async def on_unmount(self) -> None:
        """Hang up."""
        await self.desk.close()

    def action_keys(self) -> None:
        """Show the keys, or hide them."""
        if self.screen.query("HelpPanel"):
            self.action_hide_help_panel()
        else:
            self.action_show_help_panel()
