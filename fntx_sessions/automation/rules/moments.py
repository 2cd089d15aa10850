"""What was known at each moment of a day that a rule set is rehearsed over: bars of a file of days, or a recording."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from fntx_sessions.agents.watcher import liquidity
from fntx_sessions.automation.rules.model import MarketFacts, SessionFacts
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import FeedConfig
from fntx_sessions.trading.calendars import Calendar
from fntx_sessions.trading.days import Day
from fntx_sessions.trading.feeds import PathFeed
from fntx_sessions.trading.market import MarketTick
from fntx_sessions.trading.path import STEP_MINUTES
from fntx_sessions.trading.regime import market_regime

_STEP = timedelta(minutes=STEP_MINUTES)


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment (UTC) and what was known then; None: nothing was."""

    at: datetime
    market: MarketFacts | None = None
    session: SessionFacts | None = None


def grid(calendar: Calendar, day: date) -> Iterator[datetime]:
    """Yield a trading day's moments, every five minutes from the extended open to the extended close, both included.

    Raises InvalidArgument when the exchange is shut that day.
    """
    hours = calendar.hours(day)
    if hours is None:
        nearest = calendar.next_trading_day(day)
        raise InvalidArgument("day", f"{day} is not a trading day of {calendar.name}", f"The next one is {nearest}.")
    at = hours.extended_open
    while at <= hours.extended_close:
        yield at
        at += _STEP


def day_moments(previous: Day, day: Day, calendar: Calendar, seed: int = 0) -> list[Moment]:
    """Return a day of a file at five-minute bars along its seeded path, the market alone.

    The VIX is the previous day's close: the day's own is not known before its end.
    """
    feed = PathFeed("replayed", (previous, day), FeedConfig(kind="replayed", seed=seed), calendar)
    return [Moment(at, market_facts(feed.tick(at))) for at in grid(calendar, day.date)]


def market_facts(tick: MarketTick) -> MarketFacts:
    """Return what rules may know of a tick."""
    return MarketFacts(
        age_s=tick.age_s,
        spot=tick.spot,
        previous_close=tick.previous_close,
        vix=tick.vix,
        regime=tick.regime or market_regime(tick.vix),
        liquidity=liquidity(tick),
        stale=tick.stale,
        halted=tick.halted,
    )


def times(calendar: Calendar, at: datetime) -> dict[str, Any]:
    """Return a moment in UTC, in the exchange's time, and as a person of the exchange writes it."""
    local = at.astimezone(calendar.zone)
    return {"at": at.isoformat(), "exchange_time": local.isoformat(), "clock": f"{local:%H:%M:%S %Z}"}
