"""The market a session's rules look at: what is published to its feed, what its agents report, or its simulated day."""

from collections.abc import Iterable
from datetime import date, datetime
from functools import lru_cache
from typing import Any

import orjson
import structlog

from fntx_sessions.automation.rules.model import MarketFacts
from fntx_sessions.automation.rules.moments import market_facts
from fntx_sessions.exceptions import InvalidArgument, Unavailable
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import FeedConfig, MarketState, SessionType
from fntx_sessions.settings import Settings
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.feeds import HALTED, market_age, session_clock, session_feed
from fntx_sessions.trading.market_history import recorded
from fntx_sessions.trading.market_store import latest_markets
from fntx_sessions.trading.rules import TradingRules

log = structlog.get_logger(__name__)


def published(desk: Desk, feeds: Iterable[str], now: datetime) -> dict[str, MarketFacts]:
    """Return the published markets of feeds as of `now`, Postgres's clock; those without are left out.

    None is there while Redis is away: the rules of the clock and of the ledger are judged all the same.
    """
    try:
        found = latest_markets(desk.redis, feeds)
    except Unavailable as error:
        log.warning("rules_without_market", problem=str(error))
        return {}
    return {feed: facts_of(market.state, now, desk.settings) for feed, market in found.items()}


def facts_of(state: MarketState, now: datetime, settings: Settings) -> MarketFacts:
    """Return what rules may know of a MarketState; one dated in the future is never fresh, beyond the skew."""
    age_s = market_age(state.timestamp, now, TradingRules.from_settings(settings))
    return MarketFacts(
        age_s=age_s,
        spot=state.spy_price,
        previous_close=state.key_levels.get("previous_close"),
        vix=state.vix_level,
        regime=state.market_regime,
        liquidity=state.liquidity_status,
        stale=age_s > settings.quote_max_age_s,
        halted=state.liquidity_status == HALTED,
    )


def market_of(desk: Desk, row: dict[str, Any], wall: MarketFacts | None, own: MarketFacts | None) -> MarketFacts | None:
    """Return the market of a session: own is what its remote agents report, wall what is published to its feed."""
    if row["feed_kind"] == "published":
        return wall
    if row["started_at"] is not None and not row["hosted"]:
        return own or wall
    calendar = get_calendar(row["calendar"])
    today = calendar.local_date(row["started_at"] or row["now"])
    at = row["clock_at"] if row["started_at"] is not None else None
    feed = orjson.dumps(row["config"]["feed"], option=orjson.OPT_SORT_KEYS)
    asked = feed, row["calendar"], today, SessionType(row["session_type"]), at
    # What is recorded of a day may still grow: it is read anew.
    return _simulated(*asked, desk) if row["feed_kind"] == "recorded" else _remembered(*asked)


def _simulated(
    feed: bytes, calendar: str, today: date, session_type: SessionType, at: datetime | None, desk: Desk | None = None
) -> MarketFacts | None:
    """Return the market of a simulated day at its clock, at its first moment where it has not begun.

    Not later: what has not begun must not know how its day will go. None where the feed cannot be played. desk: where
    days are recorded.
    """
    hours, config = get_calendar(calendar), FeedConfig.model_validate_json(feed)
    try:
        source = None if desk is None else recorded(desk.engine, config, hours)
        played = session_feed(config, hours, today=today, recorded=source)
        clock = session_clock(played, hours, config, session_type, at)
    except InvalidArgument:
        return None
    tick = played.tick(clock.now)
    return None if tick is None else market_facts(tick)


_remembered = lru_cache(maxsize=1024)(_simulated)
