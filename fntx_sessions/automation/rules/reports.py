"""What remote agents report live, for many sessions in one pipeline: their money view and the market they see."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError

from fntx_sessions.automation.reported import ReportedTrading, beat_age, read_report
from fntx_sessions.automation.rules.market import facts_of
from fntx_sessions.automation.rules.model import MarketFacts
from fntx_sessions.exceptions import InvalidArgument, Unavailable
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import MarketState
from fntx_sessions.settings import Settings
from fntx_sessions.state.parts import MARKET, TRADING
from fntx_sessions.state.redis_client import key, redis_errors

log = structlog.get_logger(__name__)
_FIXED = 3
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
        answers = _ask(desk, asked)
    except Unavailable as error:
        log.warning("rules_without_reports", problem=str(error))
        return {}
    reports = (
        (row["session_id"], _report(row, answer, desk.settings)) for row, answer in zip(asked, answers, strict=True)
    )
    return {session_id: report for session_id, report in reports if report is not None}


def _ask(desk: Desk, asked: Sequence[Row]) -> list[list[bytes | None]]:
    with redis_errors(), desk.redis.pipeline(transaction=False) as pipe:
        for row in asked:
            beats = (f"beat:{agent}" for agent in row["remote"])
            pipe.hmget(key(row["session_id"], "live"), ["epoch", f"part:{TRADING}", f"part:{MARKET}", *beats])
        answers: list[list[bytes | None]] = pipe.execute()
    return answers


def _report(row: Row, answer: list[bytes | None], settings: Settings) -> LiveReport | None:
    epoch, trading, market = answer[:_FIXED]
    beats = dict(zip(row["remote"], answer[_FIXED:], strict=True))
    age_s = beat_age(beats, row["now"], settings.market_clock_skew_s)
    if epoch is None or not epoch.isdigit() or int(epoch) != row["epoch"] or age_s is None:
        return None
    return LiveReport(age_s, _trading(row, trading, settings), _market(market, row["now"], settings))


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
