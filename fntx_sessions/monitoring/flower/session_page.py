"""The frame of all pages of one session: its head and its tabs, above what each of them shows."""

from typing import ClassVar

from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.head import session_head
from fntx_sessions.lifecycle.reads.rows import Row
from fntx_sessions.lifecycle.told import positions
from fntx_sessions.monitoring.flower.offers import offers
from fntx_sessions.monitoring.flower.page import Asked, Draw, Page
from fntx_sessions.monitoring.flower.views import Parts
from fntx_sessions.monitoring.flower.words import short

# The tabs: their addresses under the session's, and their words.
TABS = {
    "": "Overview",
    "timeline": "Timeline",
    "agents": "Agents",
    "rules": "Rules",
    "checkpoints": "Checkpoints",
    "history": "History",
}


class SessionPage(Page):
    """A page of a session. here: its tab. Its template extends `fntx/session_frame.html` and fills the block `tab`."""

    here: ClassVar[str]

    def title(self, asked: Asked) -> str:
        """Return the tab's words and the session's id."""
        return f"{TABS[self.here]} of {short(asked.session_id)}"

    def draw(self, desk: Desk, asked: Asked, draw: Draw) -> Parts:
        """Draw the head, and below it what the page itself shows."""
        assert asked.session_id is not None  # noqa: S101 -- the address has one
        head = session_head(desk.engine, asked.session_id)
        facts = {
            "head": head,
            "tabs": TABS,
            "here": self.here,
            "positions": positions,
            "offers": offers(asked.viewer, head),
        }
        top = draw.part("session_head.html", **facts)
        return {"session-head": top, **self.body(desk, asked, draw, head)}

    def body(self, desk: Desk, asked: Asked, draw: Draw, head: Row) -> Parts:
        """Ask for what the page shows below the head and return its parts. head: as `session_head` tells it."""
        raise NotImplementedError
