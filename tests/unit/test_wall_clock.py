"""The desk's wall: Postgres's time carried on by the monotonic clock; and markets dated in the future."""

from datetime import UTC, datetime, timedelta

import pytest
from trading_harness import Run, flat_path

from fntx_sessions.schemas import FeedConfig, MarketState, RiskParameters
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.clock import SessionClock, WallClock
from fntx_sessions.trading.feeds import PublishedFeed, market_age
from fntx_sessions.trading.rules import DEFAULT_RULES

NOON = datetime(2018, 1, 9, 17, tzinfo=UTC)


@pytest.fixture
def ticking():
    """A wall whose monotonic clock is moved by hand."""
    seconds = [1000.0]
    return WallClock(lambda: seconds[0]), lambda by: seconds.append(seconds.pop() + by)


def test_nobody_knows_the_time_before_postgres_was_asked():
    """Before the first claim there is no time to be had: the machine's own is not taken instead."""
    with pytest.raises(RuntimeError, match="Postgres's time is not known here"):
        WallClock().now()


def test_the_wall_goes_on_from_what_postgres_said(ticking):
    """Between claims it moves with the monotonic clock, whatever the machine's own clock does."""
    wall, move = ticking
    wall.sync(NOON)
    move(2.5)
    clock = SessionClock(wall=wall)
    clock.advance()
    assert clock.now == NOON + timedelta(seconds=2.5)
    assert (clock.simulated, clock.finished) == (False, False)


def test_the_way_of_an_answer_never_turns_the_clock_back(ticking):
    """An answer that took longer than the one before tells an earlier time: the clock waits for it to catch up."""
    wall, move = ticking
    wall.sync(NOON)
    assert wall.now() == NOON
    move(0.1)
    wall.sync(NOON + timedelta(milliseconds=-30))
    assert wall.now() == NOON
    move(1)
    assert wall.now() == NOON + timedelta(milliseconds=970)


@pytest.mark.parametrize("by", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_clock_of_postgres_that_is_set_is_followed(ticking, by):
    """Postgres's clock is the desk's: where it is set, or another server takes over, everybody follows."""
    wall, _ = ticking
    wall.sync(NOON)
    assert wall.now() == NOON
    wall.sync(NOON + by)
    assert wall.now() == NOON + by


@pytest.mark.parametrize(
    ("dated", "age_s", "stale"),
    [(-16, 16, True), (-15, 15, False), (0, 0, False), (2, 0, False), (2.5, 17.5, True), (3600, 3615, True)],
)
def test_a_market_dated_in_the_future_is_never_fresh(dated, age_s, stale):
    """Up to the skew it is new; beyond, nobody knows how old it is, and nothing is opened on it."""
    state = MarketState(timestamp=NOON + timedelta(seconds=dated), spy_price=270, vix_level=12)
    feed = PublishedFeed(lambda: state, FeedConfig(kind="published"), get_calendar(), DEFAULT_RULES)
    tick = feed.tick(NOON)
    assert (tick.age_s, tick.stale, tick.market_open) == (age_s, stale, not stale)
    assert tick.age_s == market_age(state.timestamp, NOON, DEFAULT_RULES)


def test_a_publishers_wrong_clock_is_told_once_with_positions_open():
    """With positions the wrong clock is named as what it is, once, and the session asks to be suspended."""
    run = Run(path=flat_path(), risk=RiskParameters(stop_loss_multiplier=20, take_profit_multiplier=0.999)).go(bars=10)
    honest = run.feed.tick

    def ahead(now, **more):
        state = MarketState(timestamp=now + timedelta(hours=1), spy_price=275, vix_level=12)
        source = PublishedFeed(lambda: state, FeedConfig(kind="published"), run.calendar, DEFAULT_RULES)
        return source.tick(now, **more)

    run.feed.tick = ahead
    run.go(bars=14)
    run.feed.tick = honest
    told = [event[2] for event in run.desk.events if event[1] == "market_data_stale"]
    assert len(told) == 1
    assert told[0].startswith("market data is dated 3600 s in the future, so its publisher's clock is wrong")
    assert len(run.desk.suspends) == 4
    assert run.reasons == ["entry"]
