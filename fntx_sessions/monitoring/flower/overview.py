"""A session's first page: where it stands and how it came there, what it made, what it holds, who is waited for."""

from typing import Any

from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.people_arguments import ApprovalsQuery, OrdersQuery
from fntx_sessions.lifecycle.reads.approvals import list_approvals
from fntx_sessions.lifecycle.reads.board import BoardQuery, BoardRow, read_board
from fntx_sessions.lifecycle.reads.history import get_transitions
from fntx_sessions.lifecycle.reads.manual_orders import list_orders
from fntx_sessions.lifecycle.reads.marks import newest_of
from fntx_sessions.lifecycle.reads.rows import Row
from fntx_sessions.lifecycle.reads.sessions import get_session
from fntx_sessions.monitoring.flower.diagram import diagram, taken
from fntx_sessions.monitoring.flower.offers import approval_offers, event_offers
from fntx_sessions.monitoring.flower.page import Asked, Draw
from fntx_sessions.monitoring.flower.session_page import SessionPage
from fntx_sessions.monitoring.flower.views import Part, Parts
from fntx_sessions.schemas import SessionStatus, TradingSession

# Transitions the picture counts, and the last of them that are named below it.
_PATH, _PATH_NAMED = 200, 6
_EVENTS_NAMED = 8


class Overview(SessionPage):
    """Where it stands, what it made, what it holds."""

    template = "overview.html"
    here = ""

    def body(self, desk: Desk, asked: Asked, draw: Draw, head: Row) -> Parts:
        """Draw what is known of it now."""
        session = get_session(desk.engine, desk.redis, desk.settings, head["session_id"])
        return {
            "approvals": _approvals(desk, asked, draw, session),
            "curve-mark": draw.part("curve_mark.html", mark=newest_of(desk.engine, session.session_id)),
            "facts": draw.part("overview_facts.html", session=session, row=_row(desk, session)),
            "holdings": _holdings(desk, draw, session),
            "path": _path(desk, draw, head),
            "lately": _lately(asked, draw, session),
        }


def _row(desk: Desk, session: TradingSession) -> BoardRow | None:
    """Return the session as the board shows it."""
    status = [one.value for one in SessionStatus]
    found = read_board(desk, BoardQuery(session_id=session.session_id, status=status, include_children=True)).rows
    return found[0] if found else None


def _approvals(desk: Desk, asked: Asked, draw: Draw, session: TradingSession) -> Part:
    waiting = list_approvals(desk.engine, desk.redis, ApprovalsQuery(session_id=session.session_id))
    offers = {one.approval_id: approval_offers(asked.viewer, session.session_id, one.approval_id) for one in waiting}
    return draw.part("overview_approvals.html", waiting=waiting, offers=offers)


def _holdings(desk: Desk, draw: Draw, session: TradingSession) -> Part:
    by_hand = list_orders(desk.engine, OrdersQuery(session_id=session.session_id, open_only=True))
    return draw.part("overview_holdings.html", trading=session.trading_state, by_hand=by_hand, session=session)


def _path(desk: Desk, draw: Draw, head: Row) -> Part:
    made = get_transitions(desk.engine, head["session_id"], _PATH)
    status, ways = SessionStatus(head["status"]), taken(one.model_dump() for one in made)
    been = " \u2192 ".join(one.to_status for one in made[-_PATH_NAMED:])
    told = f"The states of a session: it is {status}." + (f" Its path: {been}." if been else "")
    return draw.part(
        "overview_path.html", picture=diagram(status, ways, told), made=made[: -_PATH_NAMED - 1 : -1],
        more=len(made) > _PATH_NAMED, most=_PATH if len(made) == _PATH else None, session_id=head["session_id"],
    )  # fmt: skip


def _lately(asked: Asked, draw: Draw, session: TradingSession) -> Part:
    shown: list[dict[str, Any]] = [
        one.model_dump() | {"offers": event_offers(asked.viewer, session.session_id, one.event_id)}
        for one in session.events[: -_EVENTS_NAMED - 1 : -1]
    ]
    return draw.part("overview_lately.html", events=shown, session_id=session.session_id)
