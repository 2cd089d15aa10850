"""Calendars, days, paths, prices and feeds."""

import itertools
import math
import warnings
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pandas_market_calendars
import pytest
from hypothesis import given
from hypothesis import strategies as some

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import FeedConfig, MarketState, SessionType
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.days import Day, backtest_days, day_from_json, read_days
from fntx_sessions.trading.feeds import session_clock, session_feed, synthetic_day
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.orders import STOCK, Contract
from fntx_sessions.trading.path import intraday_path
from fntx_sessions.trading.pricing import (
    deviation,
    option_delta,
    option_value,
    quote_around,
    strike_for_delta,
    volatility,
)
from fntx_sessions.trading.rules import DEFAULT_RULES as RULES

DATA = Path(__file__).parents[2] / "examples/data/spx_vix_daily_2017_2018.csv"
NYSE = get_calendar()


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


def day(**changes):
    values = {"date": date(2018, 1, 9), "open": 100, "high": 102, "low": 99, "close": 101, "vix": 20}
    return Day(**{**values, **changes})


# Calendars


def test_option_hours_are_the_instruments_not_the_exchanges():
    """SPY options trade 09:30-16:15 exchange time, half days to 13:15, through daylight saving."""
    assert NYSE.option_hours(date(2018, 1, 9)) == (utc(2018, 1, 9, 14, 30), utc(2018, 1, 9, 21, 15))
    assert NYSE.option_hours(date(2018, 7, 9)) == (utc(2018, 7, 9, 13, 30), utc(2018, 7, 9, 20, 15))
    assert NYSE.option_hours(date(2018, 7, 3)) == (utc(2018, 7, 3, 13, 30), utc(2018, 7, 3, 17, 15))


def test_option_hours_agree_with_the_librarys_cboe_calendar_but_for_christmas_eve():
    """Stock close + 15 min is what the library's CBOE index option calendar says, which forgets 24 December."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = pandas_market_calendars.get_calendar("CBOE_Index_Options").schedule("2015-01-01", "2026-12-31")
    theirs = {row.Index.date(): (row.market_open, row.market_close) for row in table.itertuples()}
    ours = {found: NYSE.option_hours(found) for found in NYSE.trading_days(date(2015, 1, 1), date(2026, 12, 31))}
    assert set(theirs) == set(ours)
    differing = {found for found in ours if ours[found] != theirs[found]}
    assert {(found.month, found.day) for found in differing} == {(12, 24)}
    assert all(NYSE.is_half_day(found) for found in differing)


@pytest.mark.parametrize(
    ("shut", "why"),
    [(date(2018, 12, 5), "day of mourning"), (date(2018, 12, 25), "Christmas"), (date(2018, 2, 4), "Sunday")],
)
def test_holidays_are_known(shut, why):
    """The exchange is shut on holidays, mourning included."""
    assert not NYSE.is_trading_day(shut), why
    assert NYSE.session_hours(shut) is None
    assert NYSE.option_hours(shut) is None


def test_extended_hours_are_04_to_20():
    """Pre-market opens at 04:00 and post-market closes at 20:00 exchange time."""
    assert NYSE.extended_hours(date(2018, 1, 9)) == (utc(2018, 1, 9, 9), utc(2018, 1, 10, 1))


def test_the_trade_date_rolls_at_midnight_of_the_exchange():
    """A trade date begins at 00:00 exchange time of a trading day; weekends belong to Friday."""
    assert NYSE.trade_date(utc(2018, 2, 5, 4, 59)) == date(2018, 2, 2)
    assert NYSE.trade_date(utc(2018, 2, 5, 5, 0)) == date(2018, 2, 5)
    assert NYSE.trade_date(utc(2018, 2, 4, 12)) == date(2018, 2, 2)


def test_minutes_to_close_know_half_days():
    """Minutes count to the day's own close and are None once it is past or the exchange is shut."""
    assert NYSE.minutes_to_close(utc(2018, 12, 24, 17, 30)) == 30
    assert NYSE.minutes_to_close(utc(2018, 12, 24, 18, 0)) is None
    assert NYSE.minutes_to_close(utc(2018, 12, 25, 17, 0)) is None


def test_next_open_skips_the_weekend():
    """The next open after Friday's is Monday's."""
    assert NYSE.next_open(utc(2018, 2, 2, 15)) == utc(2018, 2, 5, 14, 30)
    assert NYSE.next_open(utc(2018, 2, 5, 10)) == utc(2018, 2, 5, 14, 30)


def test_an_unknown_calendar_is_named():
    """An unknown calendar is refused with the field and a fix."""
    with pytest.raises(InvalidArgument, match="calendar: 'MOON' is not a known exchange calendar"):
        get_calendar("MOON")


# Days


def test_the_shipped_days_read_whole():
    """Two years of days, half days and a day of mourning among them, have neither gaps nor bad rows."""
    days = read_days(DATA, NYSE)
    assert len(days) == 502
    assert (days[0].date, days[-1].date) == (date(2017, 1, 3), date(2018, 12, 31))
    assert all(day_from_json(one.to_json()) == one for one in days)


HEADER = "date,open,high,low,close,vix"
GOOD = ["2018-01-08,100,102,99,101,20", "2018-01-09,100,102,99,101,20", "2018-01-10,100,102,99,101,20"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["date,open,high,low,close"], "line 1: column vix missing"),
        ([HEADER], "holds no days"),
        ([HEADER, GOOD[0], GOOD[2]], "line 3 column date: 1 trading day.s. of XNYS before 2018-01-10 missing: 2018-"),
        ([HEADER, GOOD[0], GOOD[0]], "line 3 column date: 2018-01-08 is there twice"),
        ([HEADER, GOOD[1], GOOD[0]], "line 3 column date: 2018-01-08 comes after 2018-01-09"),
        ([HEADER, "2018-01-08,100,abc,99,101,20"], "line 2 column high: 'abc' is not a number"),
        ([HEADER, "2018-01-08,100,102,99,101,nan"], "line 2 column vix: 'nan' is not a number"),
        ([HEADER, "2018-01-08,100,102,99,inf,20"], "line 2 column close: 'inf' is not a number"),
        ([HEADER, "2018-01-08,100,102,99,101,-3"], "line 2 column vix: '-3' is not a number"),
        ([HEADER, "2018-01-08,0,102,0,101,20"], "line 2 column open: is zero"),
        ([HEADER, "2018-01-08,100,99,101,100,20"], "line 2 column high/low"),
        ([HEADER, "08.01.2018,100,102,99,101,20"], "line 2 column date: '08.01.2018' is not a date"),
        ([HEADER, "2018-01-07,100,102,99,101,20"], "2018-01-07 is not a trading day"),
        ([HEADER, "2018-01-08,100,102,99"], "line 2: has not as many values"),
        ([HEADER, "2018-01-08,1e308,1e308,1e308,1e308,20"], "line 2 column open: 1e.308 is more than 1,000,000"),
        ([HEADER, "2018-01-08,100,102,99,101,2000"], "line 2 column vix: 2000 is more than 500"),
        (["date,open,open,high,low,close,vix"], "line 1: column open is there twice"),
    ],
)
def test_a_bad_file_is_refused_by_line_and_column(tmp_path, lines, message):
    """Whatever is wrong with a file, the sentence names line, column and fix."""
    path = tmp_path / "days.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(InvalidArgument, match=message):
        read_days(path, NYSE)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    """What a spreadsheet saves as UTF-8 is read as it is."""
    path = tmp_path / "days.csv"
    path.write_text("\n".join([HEADER, *GOOD]), encoding="utf-8-sig")
    assert len(read_days(path, NYSE)) == len(GOOD)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    """A missing or binary file is bad input, not a crash."""
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.csv", "binary.csv"):
        with pytest.raises(InvalidArgument, match="cannot be read as CSV"):
            read_days(tmp_path / name, NYSE)


def test_the_first_day_only_serves_as_previous():
    """A backtest day always comes with the day before it, whose VIX is known at its open."""
    days = read_days(DATA, NYSE)
    pairs = backtest_days(days, date(2018, 2, 5), date(2018, 2, 6))
    assert [(one.date, two.date) for one, two in pairs] == [
        (date(2018, 2, 2), date(2018, 2, 5)),
        (date(2018, 2, 5), date(2018, 2, 6)),
    ]
    with pytest.raises(InvalidArgument, match="no day between"):
        backtest_days(days, date(2020, 1, 1))


# Paths


@given(
    seed=some.integers(0, 2**63 - 1),
    steps=some.sampled_from([42, 78]),
    prices=some.lists(some.floats(50, 5000, allow_nan=False), min_size=4, max_size=4),
)
def test_a_path_joins_open_and_close_and_touches_high_and_low(seed, steps, prices):
    """Every path begins at the open, ends at the close, touches both extremes and leaves the range nowhere."""
    low, first, last, high = sorted(prices)
    bar = day(open=first, high=high, low=low, close=last)
    path = intraday_path(bar, seed, steps)
    assert len(path) == steps + 1
    assert (path[0], path[-1], min(path), max(path)) == (first, last, low, high)


def test_a_path_is_reproducible_and_seeds_differ():
    """The same day and seed give the same path, other seeds and other days another."""
    assert intraday_path(day(), 1, 78) == intraday_path(day(), 1, 78)
    assert intraday_path(day(), 1, 78) != intraday_path(day(), 2, 78)
    assert intraday_path(day(), 1, 78) != intraday_path(day(date=date(2018, 1, 10)), 1, 78)


# Prices


def test_a_black_price_by_hand():
    """At the money a Black price is spot x (2 N(s/2) - 1), delta N(s/2); puts and calls differ by the intrinsic."""
    half = 0.5 * (1 + math.erf(0.01 / 2 / math.sqrt(2)))
    assert option_value("call", 270.0, 270.0, 0.01) == pytest.approx(270 * (2 * half - 1))
    assert option_delta("call", 270.0, 270.0, 0.01) == pytest.approx(half)
    parity = option_value("call", 268.0, 270.0, 0.01) - option_value("put", 268.0, 270.0, 0.01)
    assert parity == pytest.approx(2.0)
    assert option_delta("call", 268.0, 270.0, 0.01) - option_delta("put", 268.0, 270.0, 0.01) == pytest.approx(1.0)


def test_without_variance_left_a_price_is_intrinsic():
    """At the close an option is worth what exercise is, and its delta is all or nothing."""
    assert option_value("put", 271.0, 270.0, 0.0) == 1.0
    assert (option_delta("put", 271.0, 270.0, 0.0), option_delta("put", 269.0, 270.0, 0.0)) == (-1.0, 0.0)


def test_volatility_moves_against_the_market_by_beta():
    """Volatility is VIX x (S / previous close) ^ -beta; beta 0 leaves it alone."""
    assert volatility(20, 95, 100, 0) == 0.2
    assert volatility(20, 95, 100, 4) == pytest.approx(0.2 * 0.95**-4)
    assert deviation(0.2, 0.5, RULES) == pytest.approx(math.sqrt(0.04 * 0.75 / 252 * 0.5))


@pytest.mark.parametrize(
    ("value", "wide", "bid", "ask"),
    [
        (1.00, False, "0.95", "1.05"),  # 5 %
        (1.00, True, "0.90", "1.10"),  # doubled
        (0.10, False, "0.09", "0.11"),  # a cent at least
        (0.123, False, "0.11", "0.14"),  # whole cents, outwards
        (0.004, False, "0.00", "0.02"),  # no bid below zero: zero, as a quote
        (0.0, False, "0.00", "0.01"),
    ],
)
def test_the_half_spread_is_a_cent_or_five_percent(value, wide, bid, ask):
    """Half spread max($0.01, 5 %), doubled when wide, in whole cents away from the middle."""
    quote = quote_around(value, -0.1, RULES, wide=wide)
    assert (quote.bid, quote.ask) == (Decimal(bid), Decimal(ask))


@pytest.mark.parametrize("right", ["put", "call"])
@pytest.mark.parametrize("delta", [0.05, 0.15, 0.3, 0.45])
def test_the_strike_is_the_nearest_to_the_delta(right, delta):
    """No $1 strike out of the money has a delta nearer to the wanted one."""
    spot, std_dev = 270.4, 0.011
    found = strike_for_delta(right, spot, std_dev, delta)
    outside = [Decimal(strike) for strike in range(230, 310) if (strike <= 270 if right == "put" else strike >= 271)]
    best = min(outside, key=lambda strike: abs(abs(option_delta(right, float(strike), spot, std_dev)) - delta))
    assert found == best


def test_todays_vix_would_turn_a_loss_into_a_profit():
    """Pricing with the same day's VIX close invents profit: it is over $1,000 a contract better over 2018."""
    results = {}
    for ahead in (False, True):
        total = 0.0
        for previous, one in backtest_days(read_days(DATA, NYSE), date(2018, 1, 1)):
            spot, std_dev = one.open / 10, deviation((one if ahead else previous).vix / 100, 1.0, RULES)
            strike = strike_for_delta("put", spot, std_dev, 0.15)
            credit = option_value("put", float(strike), spot, std_dev)
            total += 100 * (credit - max(float(strike) - one.close / 10, 0))
        results[ahead] = total
    assert results[False] < 0 < results[True]
    assert results[True] - results[False] > 1000


# Feeds and clocks


def replayed(**changes):
    config = {"kind": "replayed", "day": day().to_json(), "previous": day(date=date(2018, 1, 8)).to_json()}
    return FeedConfig(**{**config, **changes})


def make(config, today=date(2018, 1, 9), source=None):
    return session_feed(config, NYSE, today=today, source=source)


def test_a_replayed_day_is_a_tenth_of_the_index_with_yesterdays_vix():
    """Spot is a tenth of the index; the volatility known is the previous day's, never the same day's."""
    feed = make(replayed(previous=day(date=date(2018, 1, 8), close=98, low=98, vix=13).to_json()))
    tick = feed.tick(utc(2018, 1, 9, 14, 30))
    assert (tick.spot, tick.previous_close, tick.vix, tick.share_left) == (10.0, 9.8, 13, 1.0)
    assert feed.tick(utc(2018, 1, 9, 21, 0)).spot == 10.1
    assert feed.tick(utc(2018, 1, 9, 10, 0)).spot == 9.8


def test_between_bars_nothing_ahead_is_known():
    """A tick between two five-minute points shows the earlier one, not a way towards the later one."""
    feed = make(replayed())
    assert feed.tick(utc(2018, 1, 9, 14, 39, 59)).spot == feed.path[1] / 10


def test_half_days_have_42_steps_and_options_trade_a_quarter_hour_longer():
    """A half day's path has 42 steps; its simulated clock ends with the options at 13:15."""
    config = replayed(day=day(date=date(2018, 12, 24)).to_json(), previous=day(date=date(2018, 12, 21)).to_json())
    feed = make(config)
    clock = session_clock(feed, NYSE, config, SessionType.BACKTEST)
    moments = []
    while not clock.finished:
        moments.append(clock.now)
        clock.advance()
    assert len(feed.path) == 43
    assert (moments[0], moments[-1], len(moments)) == (utc(2018, 12, 24, 14, 30), utc(2018, 12, 24, 18, 15), 46)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"day": None}, "needs its day and the day before it"),
        ({"previous": None}, "needs its day and the day before it"),
        ({"previous": day().to_json()}, "is not before"),
        ({"day": {"date": "2018-01-09"}}, "open, high, low, close, vix missing"),
        ({"day": {**day().to_json(), "vix": "x"}}, "feed.day.vix: 'x' is not a number"),
        ({"day": day(date=date(2018, 1, 13)).to_json()}, "2018-01-13 is not a trading day"),
        ({"kind": "synthetic", "trade_date": "soon"}, "feed.trade_date: 'soon' is not a date"),
        ({"kind": "synthetic", "trade_date": "2018-01-13"}, "2018-01-13 is not a trading day"),
    ],
)
def test_a_feed_that_cannot_be_is_refused(changes, message):
    """A feed config that makes no sense is refused by field."""
    with pytest.raises(InvalidArgument, match=message):
        make(replayed(**changes))


def test_synthetic_days_are_reproducible_and_plausible():
    """The same date and seed give the same day, whose prices contain each other."""
    assert synthetic_day(date(2024, 5, 6), 7) == synthetic_day(date(2024, 5, 6), 7)
    for seed in range(50):
        previous, one = synthetic_day(date(2024, 5, 6), seed)
        assert one.low <= min(one.open, one.close) <= max(one.open, one.close) <= one.high
        assert 9 <= previous.vix <= 60
    feed = make(FeedConfig(seed=7), today=date(2024, 5, 5))
    assert feed.simulated_day == date(2024, 5, 6)


def state(**changes):
    values = {"timestamp": utc(2018, 1, 9, 15), "spy_price": 275.0, "vix_level": 20.0, "market_open": True}
    return MarketState(**{**values, **changes})


def test_published_data_ages():
    """No data is None; old data is stale, quotes nothing and leaves the market shut for whoever asks."""
    config = FeedConfig(kind="published")
    assert make(config).tick(utc(2018, 1, 9, 15)) is None
    feed = make(config, source=state)
    fresh, stale = feed.tick(utc(2018, 1, 9, 15, 0, 15)), feed.tick(utc(2018, 1, 9, 15, 0, 16))
    assert (fresh.stale, fresh.market_open) == (False, True)
    assert (stale.stale, stale.market_open, stale.age_s) == (True, False, 16)
    contract = Contract("put", Decimal(272), date(2018, 1, 9))
    assert Board(fresh).quote(contract).ask is not None
    assert Board(stale).quote(contract).ask is None
    assert Board(stale).model(contract) is not None


def test_published_sessions_run_on_the_wall_clock():
    """A published market has the wall's time and never finishes."""
    config = FeedConfig(kind="published")
    clock = session_clock(make(config), NYSE, config, SessionType.REGULAR)
    clock.advance()
    assert not clock.simulated
    assert not clock.finished


def test_a_simulated_clock_is_taken_up_where_it_stood():
    """A clock restored from a moment goes on from it and ends as the whole one does."""
    config = replayed()
    feed = make(config)
    at = utc(2018, 1, 9, 21, 5)
    clock = session_clock(feed, NYSE, config, SessionType.BACKTEST, at)
    seen = []
    while not clock.finished:
        seen.append(clock.now)
        clock.advance()
    assert seen == [at, at + timedelta(minutes=5), at + timedelta(minutes=10)]


def test_extended_hours_only_watch_while_options_are_shut():
    """An Extended Hours clock runs 04:00-20:00; outside option hours there is no quote at all."""
    config = replayed(step_s=3600)
    feed = make(config)
    clock = session_clock(feed, NYSE, config, SessionType.EXTENDED_HOURS)
    contract = Contract("put", Decimal(10), date(2018, 1, 9))
    quoted = []
    while not clock.finished:
        tick = feed.tick(clock.now)
        assert tick.extended_hours is not tick.stock_open or clock.now == utc(2018, 1, 10, 1)
        if Board(tick).quote(contract).ask is not None:
            quoted.append(clock.now.hour)
        clock.advance()
    assert quoted == [15, 16, 17, 18, 19, 20, 21]


def test_a_halted_market_quotes_nothing():
    """A halt shuts market and quotes, whatever the calendar says."""
    tick = make(replayed()).tick(utc(2018, 1, 9, 15), halted=True)
    assert not tick.market_open
    assert Board(tick).quote(STOCK).ask is None


def test_spreads_double_after_stops_and_in_the_last_half_hour():
    """The same model value has twice the half spread once a stop fired, and from 30 minutes before the close on."""
    feed = make(replayed())
    contract = Contract("put", Decimal(10), date(2018, 1, 9))
    before, last = feed.tick(utc(2018, 1, 9, 20, 25)), feed.tick(utc(2018, 1, 9, 20, 30))

    def width(board):
        quote = board.quote(contract)
        return quote.ask - quote.bid

    assert width(Board(before, stressed=True)) > width(Board(before))
    assert width(Board(last)) == width(Board(last, stressed=True))


def test_other_expiries_have_no_quote_rather_than_a_guess():
    """The model prices same-day expiries; for another there is neither quote nor value."""
    board = Board(make(replayed()).tick(utc(2018, 1, 9, 15)))
    later = Contract("put", Decimal(10), date(2018, 1, 10))
    assert board.quote(later).ask is None
    assert board.model(later) is None


def test_symbols_are_the_occs():
    """An option's symbol is the OCC's."""
    assert Contract("put", Decimal("270.5"), date(2018, 2, 5)).symbol == "SPY180205P00270500"
    assert STOCK.symbol == "SPY"
    ids = [Contract(right, Decimal(strike), date(2018, 2, 5)).symbol for right in ("put", "call") for strike in (1, 2)]
    assert all(one != two for one, two in itertools.combinations(ids, 2))
