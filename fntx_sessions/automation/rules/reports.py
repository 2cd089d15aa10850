"""What remote agents report live, for many sessions in one pipeline: their money view and the market they see."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError

from fntx_sessions.automation.reported import Answer, ReportedTrading, ask_live, read_report
from fntx_sessions.automation.rules.market import facts_of
from fntx_sessions.automation.rules.model import MarketFacts
from fntx_sessions.exceptions import InvalidArgument, Unavailable
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import MarketState
from fntx_sessions.settings import Settings
from fntx_sessions.state.parts import MARKET, TRADING

log = structlog.get_logger(__name__)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LiveReport:
    """What a session's remote agents say under its epoch. age_s: since the heartbeat of who reports it.

    trading None: nothing is reported, or what is cannot be true.
    """

    age_s: float
    trading: ReportedTrading | None
    market: MarketFacts | None


def read_reports(desk: Desk, found: Sequence[Row]) -> dict[UUID, LiveReport]:
    """Return the reports of those rows that have remote agents and are started; empty while Redis is away."""
    asked = [row for row in found if row["remote"] and row["started_at"] is not None]
    if not asked:
        return {}
    try:
        answers = ask_live(desk.redis, asked, (TRADING, MARKET), desk.settings.market_clock_skew_s)
    except Unavailable as error:
        log.warning("rules_without_reports", problem=str(error))
        return {}
    reports = (
        (row["session_id"], _report(row, answer, desk.settings)) for row, answer in zip(asked, answers, strict=True)
    )
    return {session_id: report for session_id, report in reports if report is not None}


def _report(row: Row, answer: Answer, settings: Settings) -> LiveReport | None:
    if not answer.current or answer.age_s is None:
        return None
    trading, market = answer.parts
    return LiveReport(answer.age_s, _trading(row, trading, settings), _market(market, row["now"], settings))


def _trading(row: Row, data: bytes | None, settings: Settings) -> ReportedTrading | None:
    if data is None:
        return None
    try:
        return read_report(data, row["now"], settings.market_clock_skew_s)
    except InvalidArgument as error:
        log.info("report_not_believed", session_id=str(row["session_id"]), problem=str(error))
        return None


def _market(data: bytes | None, now: datetime, settings: Settings) -> MarketFacts | None:
    try:
        return None if data is None else facts_of(MarketState.model_validate_json(data), now, settings)
    except ValidationError:
        return None
