"""A session's first page: where it stands, what it made, what it holds."""

from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.rows import Row
from fntx_sessions.monitoring.flower.page import Asked, Draw
from fntx_sessions.monitoring.flower.session_page import SessionPage
from fntx_sessions.monitoring.flower.views import Parts


class Overview(SessionPage):
    """Where it stands, what it made, what it holds."""

    template = "overview.html"
    here = ""

    def body(self, desk: Desk, asked: Asked, draw: Draw, head: Row) -> Parts:
        """Draw what is known of it now."""
        _ = desk, asked, draw, head
        return {}
