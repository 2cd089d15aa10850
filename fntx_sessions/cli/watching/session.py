"""One session, live: facts, curves, positions, orders, agents, what waits for a word, and what happened last."""

import asyncio
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static

from fntx_sessions.cli.curves import POINTS, WIDTH
from fntx_sessions.cli.exits import sentence
from fntx_sessions.cli.watching.acting import ActingScreen
from fntx_sessions.cli.watching.desk import Desk
from fntx_sessions.cli.watching.names import Names
from fntx_sessions.cli.watching.whole import whole
from fntx_sessions.exceptions import FntxError

Row = dict[str, Any]
# A curve grows by a sample in some seconds: it is not asked for at every look.
_CURVE_EVERY = 5
# What stands beside a curve in its line.
_AMOUNTS = 60


class SessionScreen(ActingScreen):
    """The one session that is named; opened: from the board, where it is left to."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "leave", "Back")]

    def __init__(self, desk: Desk, names: Names, every_s: float, *, opened: bool = False) -> None:
        super().__init__(desk, names, every_s)
        self._opened = opened
        self._looks = 0
        self._curve: Row | None = None

    @property
    def row(self) -> Row | None:
        """What keys act on; None: it was named in short, and the desk has not said yet which it is."""
        return {"session_id": str(self.names.known[0])} if self.names.known else None

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with VerticalScroll(id="whole"):
            yield Static(id="session")
        yield Static("looking...", id="state")
        yield Footer(show_command_palette=False)

    async def look(self) -> Row:
        """Ask for the session, for what of it waits for a word, and now and then for its curve."""
        asked = {"session_id": str((await self.names.ids(self.desk.query))[0])}
        session, approvals = await asyncio.gather(
            self.desk.query("sessions.get", asked), self.desk.query("approvals.list", asked | {"limit": 100})
        )
        await self._follow_curve(asked)
        return {"session": session, "approvals": approvals, "curve": self._curve}

    def draw(self, found: Row) -> None:
        """Show it."""
        width = self.app.size.width - 4
        self.query_one("#session", Static).update(whole(found, width, max(10, min(WIDTH, width - _AMOUNTS))))

    def told(self) -> str:
        """Say whose it is."""
        return f"session {self.names.known[0]}"

    def action_leave(self) -> None:
        """Go back to the board."""
        if self.is_current:
            self.dismiss()

    def ended(self, error: FntxError) -> None:
        """End it; where it was opened from the board, go back there."""
        if not self._opened:
            super().ended(error)
        elif self.is_current:
            self.notify(sentence(error), severity="error", markup=False)
            self.dismiss()

    async def _follow_curve(self, asked: Row) -> None:
        """Ask for the curve at every few looks; the last one stands where it cannot be had."""
        if self._looks % _CURVE_EVERY == 0 or self._curve is None:
            try:
                self._curve = await self.desk.query("sessions.curve", asked | {"points": POINTS})
            except FntxError:
                return
        self._looks += 1
