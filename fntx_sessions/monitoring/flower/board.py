"""The board: every session as a row."""

from fntx_sessions.lifecycle.arguments import ListArguments
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.sessions import list_sessions
from fntx_sessions.monitoring.flower.page import Asked, Draw, Page
from fntx_sessions.monitoring.flower.views import Parts


class Board(Page):
    """Sessions as rows."""

    template = "board.html"

    def title(self, asked: Asked) -> str:
        """Return the page's title."""
        _ = asked
        return "Sessions"

    def draw(self, desk: Desk, asked: Asked, draw: Draw) -> Parts:
        """Ask for the sessions and draw their rows."""
        _ = asked
        found = list_sessions(desk.engine, ListArguments())
        return {"board": draw.part("board_body.html", rows=[row.model_dump() for row in found])}
