"""The addresses of the pages, each with the page it shows."""

from tornado.web import url

from fntx_sessions.monitoring.flower.agents import Agents
from fntx_sessions.monitoring.flower.board import Board
from fntx_sessions.monitoring.flower.checkpoints import Checkpoints
from fntx_sessions.monitoring.flower.health import Health
from fntx_sessions.monitoring.flower.history import History
from fntx_sessions.monitoring.flower.overview import Overview
from fntx_sessions.monitoring.flower.page import Page, PageHandler
from fntx_sessions.monitoring.flower.rules import Rules

ID = r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"


def _page(pattern: str, page: Page, name: str) -> url:
    return url(pattern, PageHandler, {"page": page}, name=name)


PAGES = [
    _page(r"/sessions", Board(), "sessions"),
    _page(r"/sessions/health", Health(), "health"),
    _page(rf"/sessions/{ID}", Overview(), "session"),
    _page(rf"/sessions/{ID}/agents", Agents(), "session_agents"),
    _page(rf"/sessions/{ID}/rules", Rules(), "session_rules"),
    _page(rf"/sessions/{ID}/checkpoints", Checkpoints(), "session_checkpoints"),
    _page(rf"/sessions/{ID}/history", History(), "session_history"),
]
