"""A screen that looks at the desk over and over, and says how old what it shows is when the desk does not answer."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from rich.text import Text
from textual.screen import Screen
from textual.widgets import Static

from fntx_sessions.cli.exits import sentence
from fntx_sessions.cli.watching.desk import Desk
from fntx_sessions.cli.watching.names import Names
from fntx_sessions.exceptions import FntxError, Rejected
from fntx_sessions.printable import printable

# Older than so many seconds is said to be old.
OLD_S = 5


class LookingScreen(Screen[None]):
    """Asks with `look`, shows with `draw`, goes on whatever comes; what it showed last stays, with its age."""

    def __init__(self, desk: Desk, names: Names, every_s: float) -> None:
        super().__init__()
        self.desk, self.names, self.every_s = desk, names, every_s
        self.seen_at: datetime | None = None
        self.trouble: FntxError | None = None
        self._soon = asyncio.Event()

    async def look(self) -> Any:
        """Return what there is to see now; raises what the desk answers."""
        raise NotImplementedError

    def draw(self, found: Any) -> None:
        """Show it."""
        raise NotImplementedError

    def told(self) -> str:
        """Return what is said of what is shown."""
        raise NotImplementedError

    def ended(self, error: FntxError) -> None:
        """End the program: no second look would see more."""
        self.app.exit(error)

    def on_mount(self) -> None:
        """Begin to look."""
        self.run_worker(self._over_and_over(), exit_on_error=True)
        self.set_interval(1.0, self.tell)

    def look_soon(self) -> None:
        """Look again at once: something was asked or done."""
        self._soon.set()

    def tell(self) -> None:
        """Say of when the picture is, and what is wrong where it is old."""
        if self._stands():
            self.query_one("#state", Static).update(self._state())

    def _state(self) -> Text:
        seen = f"{self.seen_at:%H:%M:%S} UTC" if self.seen_at else "nothing seen yet"
        age_s = (datetime.now(UTC) - self.seen_at).total_seconds() if self.seen_at else None
        if self.trouble is None and (age_s is None or age_s < OLD_S + self.every_s):
            return Text(f"{seen}  {self.told()}" if self.seen_at else "looking...")
        why = sentence(self.trouble) if self.trouble else "no answer"
        old = f"what is shown is {age_s:.0f} s old, of {seen}" if age_s is not None else seen
        trying = "" if isinstance(self.trouble, Rejected) else " (still trying)"
        return Text(f"NOT LIVE: {old}. {printable(why)}{trying}", style="bold red")

    async def _over_and_over(self) -> None:
        while True:
            self._soon.clear()
            await self._once()
            try:
                await asyncio.wait_for(self._soon.wait(), self.every_s)
            except TimeoutError:
                continue

    async def _once(self) -> None:
        try:
            found = await self.look()
        except FntxError as error:
            self.trouble = error
            if self.names.ends(error):
                self.ended(error)
                return
        else:
            self.trouble, self.seen_at = None, datetime.now(UTC)
            if self._stands():
                self.draw(found)
        self.tell()

    def _stands(self) -> bool:
        """Tell whether there is a picture to draw on: an answer may come while the screen is taken down."""
        return bool(self.query("#state"))
