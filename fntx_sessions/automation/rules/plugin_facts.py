"""Facts as JSON, for the process that plug-ins run in."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from fntx_sessions.automation.rules.model import Facts, MarketFacts, PositionFacts, SessionFacts
from fntx_sessions.schemas import SessionStatus
from fntx_sessions.trading.calendars import Calendar

_MONEY = ("daily_pnl", "loss_limit", "drawdown")


def facts_to_json(facts: Facts) -> dict[str, Any]:
    """Return the JSON form; a number that is not finite becomes None, which means not known."""
    return {
        "session_id": str(facts.session_id),
        "now": facts.now.isoformat(),
        "status": facts.status.value,
        "calendar": facts.calendar.name,
        "extended": facts.extended,
        "started_at": facts.started_at and facts.started_at.isoformat(),
        "market": None if facts.market is None else asdict(facts.market),
        "session": None if facts.session is None else _session_to_json(facts.session),
    }


def _session_to_json(session: SessionFacts) -> dict[str, Any]:
    told = asdict(session)
    told |= {name: None if told[name] is None else str(told[name]) for name in _MONEY}
    if session.positions is not None:
        told["positions"] = [_position_to_json(one) for one in session.positions]
    return told


def _position_to_json(position: PositionFacts) -> dict[str, Any]:
    return asdict(position) | {
        "opened_at": position.opened_at.isoformat(),
        "strike": None if position.strike is None else str(position.strike),
        "expiry": position.expiry and position.expiry.isoformat(),
    }


def facts_from_json(data: dict[str, Any], calendar: Callable[[str], Calendar]) -> Facts:
    """Return the facts that `facts_to_json` wrote; calendar: how to come by one."""
    session, started_at = data["session"], data["started_at"]
    return Facts(
        UUID(data["session_id"]),
        datetime.fromisoformat(data["now"]),
        SessionStatus(data["status"]),
        calendar(data["calendar"]),
        data["extended"],
        None if started_at is None else datetime.fromisoformat(started_at),
        None if data["market"] is None else MarketFacts(**data["market"]),
        None if session is None else _session_from_json(session),
    )


def _session_from_json(data: dict[str, Any]) -> SessionFacts:
    found = data | {name: None if data[name] is None else Decimal(data[name]) for name in _MONEY}
    if data["positions"] is not None:
        found["positions"] = tuple(map(_position_from_json, data["positions"]))
    return SessionFacts(**found)


def _position_from_json(data: dict[str, Any]) -> PositionFacts:
    strike, expiry = data["strike"], data["expiry"]
    known = {
        "opened_at": datetime.fromisoformat(data["opened_at"]),
        "strike": None if strike is None else Decimal(strike),
        "expiry": None if expiry is None else date.fromisoformat(expiry),
    }
    return PositionFacts(**data | known)
