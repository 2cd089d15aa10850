"""Facts as JSON, for the process that plug-ins run in."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from fntx_sessions.automation.rules.model import Facts, MarketFacts, SessionFacts
from fntx_sessions.schemas import SessionStatus
from fntx_sessions.trading.calendars import Calendar, get_calendar

_MONEY = ("daily_pnl", "loss_limit", "drawdown")


def facts_to_json(facts: Facts) -> dict[str, Any]:
    """Return the JSON form; a number that is not finite becomes None, which means not known."""
    session = None if facts.session is None else asdict(facts.session)
    if session is not None:
        session |= {name: None if session[name] is None else str(session[name]) for name in _MONEY}
    return {
        "session_id": str(facts.session_id),
        "now": facts.now.isoformat(),
        "status": facts.status.value,
        "calendar": facts.calendar.name,
        "extended": facts.extended,
        "started_at": facts.started_at and facts.started_at.isoformat(),
        "market": None if facts.market is None else asdict(facts.market),
        "session": session,
    }


def facts_from_json(data: dict[str, Any], calendar: Callable[[str], Calendar] = get_calendar) -> Facts:
    """Return the facts that `facts_to_json` wrote; calendar: how to come by one."""
    session, started_at = data["session"], data["started_at"]
    if session is not None:
        session |= {name: None if session[name] is None else Decimal(session[name]) for name in _MONEY}
    return Facts(
        UUID(data["session_id"]),
        datetime.fromisoformat(data["now"]),
        SessionStatus(data["status"]),
        calendar(data["calendar"]),
        data["extended"],
        None if started_at is None else datetime.fromisoformat(started_at),
        None if data["market"] is None else MarketFacts(**data["market"]),
        None if session is None else SessionFacts(**session),
    )
