"""Where a session's market comes from: a day that is played, or what another service publishes, now or recorded."""

import math
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from random import Random
from typing import Protocol

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import FeedConfig, MarketState, SessionType
from fntx_sessions.trading.calendars import Calendar, Hours
from fntx_sessions.trading.clock import SessionClock
from fntx_sessions.trading.days import Day, day_from_json
from fntx_sessions.trading.market import MarketTick
from fntx_sessions.trading.path import STEP_MINUTES, intraday_path
from fntx_sessions.trading.rules import DEFAULT_RULES, TradingRules

INDEX_PER_SPY = 10
_STEP = timedelta(minutes=STEP_MINUTES)
MarketSource = Callable[[], MarketState | None]
RecordedSource = Callable[[datetime], MarketState | None]
# The liquidity of a market that the exchange has stopped.
HALTED = "halted"


class Feed(Protocol):
    """Answers what the market looks like at a moment. simulated_day: the day a simulated clock runs through."""

    kind: str

    @property
    def simulated_day(self) -> date | None:
        """Return the one day this feed knows, None when it follows the wall."""

    def tick(self, now: datetime, *, halted: bool = False) -> MarketTick | None:
        """Return the market at `now`; None when nothing is known."""


class PathFeed:
    """One day along a seeded path; `days` are (previous, day).

    Prices are known up to the last whole five minutes, never interpolated ahead.
    """

    def __init__(
        self,
        kind: str,
        days: tuple[Day, Day],
        config: FeedConfig,
        calendar: Calendar,
        *,
        path: list[float] | None = None,
    ) -> None:
        self.kind = kind
        self._previous, self.day = days
        day = self.day
        self._beta = config.beta
        self._calendar = calendar
        hours = calendar.hours(day.date)
        if hours is None:
            fix = f"Choose a trading day of {calendar.name}."
            raise InvalidArgument("feed.day.date", f"{day.date} is not a trading day", fix)
        self._hours = hours
        steps = round((hours.close - hours.open) / _STEP)
        self.path = path or intraday_path(day, config.seed, steps)

    @property
    def simulated_day(self) -> date:
        """Return the day."""
        return self.day.date

    def tick(self, now: datetime, *, halted: bool = False) -> MarketTick:
        """Return the market at `now`: the previous close before the open, the day's close after it."""
        index = (now - self._hours.open) // _STEP
        price = self._previous.close if index < 0 else self.path[min(index, len(self.path) - 1)]
        return build_tick(
            now,
            self._calendar,
            spot=price / INDEX_PER_SPY,
            previous_close=self._previous.close / INDEX_PER_SPY,
            vix=self._previous.vix,
            beta=self._beta,
            kind=self.kind,
            halted=halted,
        )


class PublishedFeed:
    """The latest MarketState another service sent, as `source` returns it; the previous close rides in key_levels."""

    kind = "published"
    simulated_day: date | None = None

    def __init__(self, source: MarketSource, config: FeedConfig, calendar: Calendar, rules: TradingRules) -> None:
        self._source = source
        self._beta = config.beta
        self._calendar = calendar
        self._rules = rules

    def tick(self, now: datetime, *, halted: bool = False) -> MarketTick | None:
        """Return the published market aged to `now`, marked stale past `quote_max_age_s`; None before the first.

        One dated in the future, beyond the skew, is stale: see `market_age`.
        """
        return self._tick(self._source(), now, halted=halted)

    def _tick(self, state: MarketState | None, now: datetime, *, halted: bool) -> MarketTick | None:
        if state is None:
            return None
        return build_tick(
            now,
            self._calendar,
            spot=state.spy_price,
            previous_close=state.key_levels.get("previous_close", state.spy_price),
            vix=state.vix_level,
            beta=self._beta,
            kind=self.kind,
            halted=halted or state.liquidity_status == HALTED,
            age_s=market_age(state.timestamp, now, self._rules),
            max_age_s=self._rules.quote_max_age_s,
            ahead_s=max((state.timestamp - now).total_seconds(), 0.0),
            regime=state.market_regime,
        )


class RecordedFeed(PublishedFeed):
    """A day as it was published, played again: `source` returns what was known at a moment, and nothing of later."""

    kind = "recorded"

    def __init__(
        self, source: RecordedSource, day: date, config: FeedConfig, calendar: Calendar, rules: TradingRules
    ) -> None:
        super().__init__(_nothing, config, calendar, rules)
        self._known_at = source
        self.simulated_day = day

    def tick(self, now: datetime, *, halted: bool = False) -> MarketTick | None:
        """Return the market that was the latest at `now`, aged to it; None before the first."""
        return self._tick(self._known_at(now), now, halted=halted)


def market_age(published_at: datetime, now: datetime, rules: TradingRules) -> float:
    """Return how old a published market is taken to be, seconds.

    One dated up to `market_clock_skew_s` in the future is new. Further on its publisher's clock is wrong, and how old
    it is nobody knows: it is never fresh, and the older the further its date is off.
    """
    ahead_s = (published_at - now).total_seconds()
    return rules.quote_max_age_s + ahead_s if ahead_s > rules.market_clock_skew_s else max(-ahead_s, 0.0)


def build_tick(
    now: datetime,
    calendar: Calendar,
    *,
    spot: float,
    previous_close: float,
    vix: float | None,
    beta: float,
    kind: str,
    halted: bool = False,
    age_s: float = 0.0,
    ahead_s: float = 0.0,
    max_age_s: float = DEFAULT_RULES.quote_max_age_s,
    regime: str | None = None,
) -> MarketTick:
    """Return the tick for known prices: the calendar decides what is open, the age what is stale."""
    hours = calendar.hours_at(now)
    stock_open = hours is not None and hours.stock_open(now)
    stale = age_s > max_age_s
    return MarketTick(
        now=now,
        trade_date=calendar.trade_date(now) if hours is None else hours.day,
        spot=spot,
        previous_close=previous_close,
        vix=vix,
        beta=beta,
        share_left=_share_left(now, hours),
        age_s=age_s,
        ahead_s=ahead_s,
        stale=stale,
        market_open=stock_open and not halted and not stale,
        option_open=hours is not None and hours.options_open(now) and not halted,
        stock_open=stock_open and not halted,
        extended_hours=hours is not None and hours.extended(now) and not stock_open,
        half_day=hours is not None and hours.half_day,
        halted=halted,
        minutes_to_close=None if hours is None else hours.minutes_to_close(now),
        option_close=None if hours is None else hours.option_close,
        kind=kind,
        received_ns=time.monotonic_ns(),
        regime=regime,
    )


def _share_left(now: datetime, hours: Hours | None) -> float:
    if hours is None:
        return 0.0
    return min(max((hours.close - now) / (hours.close - hours.open), 0.0), 1.0)


def session_feed(
    config: FeedConfig,
    calendar: Calendar,
    *,
    today: date,
    source: MarketSource | None = None,
    recorded: RecordedSource | None = None,
    rules: TradingRules = DEFAULT_RULES,
) -> Feed:
    """Return the feed a session's config asks for. today: the day a synthetic feed without trade_date plays.

    source, recorded: what a published and a recorded feed are asked of. Raises InvalidArgument when a replayed feed
    lacks its day or the previous one, a recorded one its trade_date, or the date is no trading day.
    """
    if config.kind == "published":
        return PublishedFeed(source or _nothing, config, calendar, rules)
    if config.kind == "recorded":
        return RecordedFeed(recorded or _never, recorded_day(config, calendar), config, calendar, rules)
    if config.kind == "replayed":
        return _replayed(config, calendar)
    days = synthetic_day(_synthetic_date(config, calendar, today), config.seed)
    return PathFeed("synthetic", days, config, calendar)


def recorded_day(config: FeedConfig, calendar: Calendar) -> date:
    """Return the day a recorded feed plays; raises InvalidArgument where it names none, or no trading day."""
    if config.trade_date is None:
        raise InvalidArgument("feed.trade_date", "is missing: a recorded feed plays one day again", "Name the day.")
    return _trading_day(config.trade_date, calendar)


def session_clock(
    feed: Feed, calendar: Calendar, config: FeedConfig, session_type: SessionType, at: datetime | None = None
) -> SessionClock:
    """Return the session's clock: the wall for published markets, else the feed's day, taken up at `at` if given.

    A simulated day runs from the open to the option close, for Extended Hours sessions from 04:00 to 20:00.
    """
    if feed.simulated_day is None:
        return SessionClock()
    extended = session_type is SessionType.EXTENDED_HOURS
    span = calendar.extended_hours(feed.simulated_day) if extended else calendar.option_hours(feed.simulated_day)
    if span is None:
        raise InvalidArgument("feed.day.date", f"{feed.simulated_day} is not a trading day", "Choose another day.")
    return SessionClock(span[0] if at is None else max(at, span[0]), span[1], config.step_s)


def synthetic_day(day: date, seed: int) -> tuple[Day, Day]:
    """Return a plausible (previous, day) pair, the same for the same date and seed: no market data, only its manners.

    VIX log-normal around 16; the close a normal return of that volatility; the range as a random walk's is.
    """
    random = Random(f"synthetic/{seed}/{day.isoformat()}")  # noqa: S311 - a simulation, not a secret
    vix = round(min(max(16 * math.exp(random.gauss(0, 0.3)), 9), 60), 2)
    base = round(4000 * math.exp(random.gauss(0, 0.1)), 2)
    sigma = vix / 100 / math.sqrt(252)
    start = base * math.exp(random.gauss(0, sigma / 2))
    end = start * math.exp(random.gauss(0, sigma * math.sqrt(0.75)))
    high = max(start, end) * math.exp(abs(random.gauss(0, sigma / 3)))
    low = min(start, end) * math.exp(-abs(random.gauss(0, sigma / 3)))
    first, top, bottom, last = (round(price, 2) for price in (start, high, low, end))
    return Day(day - timedelta(days=1), base, base, base, base, vix), Day(day, first, top, bottom, last, vix)


def _nothing() -> MarketState | None:
    return None


def _never(_now: datetime) -> MarketState | None:
    return None


def _replayed(config: FeedConfig, calendar: Calendar) -> Feed:
    if config.day is None or config.previous is None:
        fix = "Give feed.day and feed.previous, each with date, open, high, low, close and vix."
        raise InvalidArgument("feed", "a replayed feed needs its day and the day before it", fix)
    day, previous = day_from_json(config.day), day_from_json(config.previous, "feed.previous")
    if previous.date >= day.date:
        raise InvalidArgument(
            "feed.previous.date", f"{previous.date} is not before {day.date}", "Swap or correct them."
        )
    return PathFeed("replayed", (previous, day), config, calendar)


def _synthetic_date(config: FeedConfig, calendar: Calendar, today: date) -> date:
    if config.trade_date is None:
        return today if calendar.is_trading_day(today) else calendar.next_trading_day(today)
    return _trading_day(config.trade_date, calendar)


def _trading_day(text: str, calendar: Calendar) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        problem = f"{text!r} is not a date"
        raise InvalidArgument("feed.trade_date", problem, "Write dates as 2018-02-05.") from None
    if not calendar.is_trading_day(day):
        nearest = calendar.next_trading_day(day)
        raise InvalidArgument("feed.trade_date", f"{day} is not a trading day", f"The next one is {nearest}.")
    return day
