"""The addresses of the pages, each with the page it shows."""

from tornado.web import url

from fntx_sessions.monitoring.flower.actions import ACTIONS, ID
from fntx_sessions.monitoring.flower.agents import Agents
from fntx_sessions.monitoring.flower.board import Board
from fntx_sessions.monitoring.flower.checkpoints import Checkpoints
from fntx_sessions.monitoring.flower.confirmations import Confirmations
from fntx_sessions.monitoring.flower.curve import CurveHandler
from fntx_sessions.monitoring.flower.day import DayCsv, TheDay
from fntx_sessions.monitoring.flower.desk_events import DeskEvents
from fntx_sessions.monitoring.flower.health import Health
from fntx_sessions.monitoring.flower.history import History
from fntx_sessions.monitoring.flower.overview import Overview
from fntx_sessions.monitoring.flower.page import Page, PageHandler
from fntx_sessions.monitoring.flower.rules import Rules
from fntx_sessions.monitoring.flower.short_id import SHORT, ShortId
from fntx_sessions.monitoring.flower.timeline import Timeline


def _page(pattern: str, page: Page, name: str) -> url:
    return url(pattern, PageHandler, {"page": page}, name=name)


PAGES = [
    _page(r"/sessions", Board(), "sessions"),
    _page(r"/sessions/health", Health(), "health"),
    _page(r"/sessions/day", TheDay(), "day"),
    _page(r"/sessions/events", DeskEvents(), "events"),
    _page(r"/sessions/confirmations", Confirmations(), "confirmations"),
    url(r"/sessions/day\.csv", DayCsv, name="day_csv"),
    _page(rf"/sessions/{ID}", Overview(), "session"),
    url(rf"/sessions/{ID}/curve\.json", CurveHandler, name="session_curve"),
    _page(rf"/sessions/{ID}/timeline", Timeline(), "session_timeline"),
    _page(rf"/sessions/{ID}/agents", Agents(), "session_agents"),
    _page(rf"/sessions/{ID}/rules", Rules(), "session_rules"),
    _page(rf"/sessions/{ID}/checkpoints", Checkpoints(), "session_checkpoints"),
    _page(rf"/sessions/{ID}/history", History(), "session_history"),
    url(rf"/sessions/{SHORT}", ShortId),
    *ACTIONS,
]
