"""Calendars against what the exchanges published: holidays, half days, late opens, lunch, daylight saving, midnight."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from typer.testing import CliRunner

from fntx_sessions.automation.rules.model import Facts, MarketFacts
from fntx_sessions.automation.rules.registry import known_conditions
from fntx_sessions.cli import app
from fntx_sessions.cli.app import run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import FeedConfig, SessionStatus, SessionType
from fntx_sessions.trading.calendars import calendar_names, get_calendar
from fntx_sessions.trading.feeds import build_tick, session_clock, session_feed

NYSE = get_calendar()


def at(name, day, clock):
    """A moment by an exchange's own clock."""
    moment = datetime.fromisoformat(f"{day} {clock}")
    return moment.replace(tzinfo=get_calendar(name).zone).astimezone(UTC)


def local(name, moment):
    return f"{moment.astimezone(get_calendar(name).zone):%H:%M}"


@pytest.mark.parametrize(
    ("name", "day", "why"),
    [
        ("XNYS", "1994-04-27", "mourning for Nixon"),
        ("XNYS", "2001-09-11", "the attacks"),
        ("XNYS", "2001-09-12", "the attacks"),
        ("XNYS", "2001-09-13", "the attacks"),
        ("XNYS", "2001-09-14", "the attacks"),
        ("XNYS", "2004-06-11", "mourning for Reagan"),
        ("XNYS", "2007-01-02", "mourning for Ford"),
        ("XNYS", "2012-10-29", "hurricane Sandy"),
        ("XNYS", "2012-10-30", "hurricane Sandy"),
        ("XNYS", "2018-12-05", "mourning for George H. W. Bush"),
        ("XNYS", "2025-01-09", "mourning for Carter"),
        ("XNYS", "2022-06-20", "Juneteenth, observed"),
        ("XNYS", "2021-12-24", "Christmas, observed"),
        ("XNYS", "2026-07-03", "Independence Day, observed"),
        ("XNAS", "2025-01-09", "as the NYSE"),
        ("XLON", "2022-09-19", "the Queen's funeral"),
        ("XLON", "2023-05-08", "the coronation"),
        ("XTKS", "2019-05-01", "the accession"),
        ("XETR", "2024-05-01", "Labour Day"),
    ],
)
def test_the_exchange_was_shut(name, day, why):
    """A day without trading has no hours of any kind, and no moment of it is open."""
    calendar, shut = get_calendar(name), date.fromisoformat(day)
    assert calendar.hours(shut) is None, why
    assert not calendar.is_open(at(name, day, "11:00"))
    assert not calendar.options_open(at(name, day, "11:00"))
    assert calendar.trade_date(at(name, day, "11:00")) < shut < calendar.next_trading_day(shut)


@pytest.mark.parametrize(
    ("name", "day", "hours", "half_day"),
    [
        ("XNYS", "2018-07-03", "09:30 13:00 13:15", True),
        ("XNYS", "2018-11-23", "09:30 13:00 13:15", True),
        ("XNYS", "2018-12-24", "09:30 13:00 13:15", True),
        ("XNYS", "2020-12-24", "09:30 13:00 13:15", True),
        ("XNYS", "2025-07-03", "09:30 13:00 13:15", True),
        ("XNYS", "2026-11-27", "09:30 13:00 13:15", True),
        ("XNYS", "2026-12-24", "09:30 13:00 13:15", True),
        ("XNYS", "2022-12-23", "09:30 16:00 16:15", False),
        ("XNYS", "2021-06-18", "09:30 16:00 16:15", False),
        ("XNYS", "1996-01-08", "11:00 14:00 14:15", True),
        ("XNYS", "2001-09-17", "09:33 16:00 16:15", False),
        ("XNYS", "2002-09-11", "12:00 16:00 16:15", False),
        ("IEXG", "2024-12-24", "09:30 13:00 13:15", True),
        ("XTSE", "2024-12-24", "09:30 13:00 13:00", True),
        ("XLON", "2024-12-24", "08:00 12:30 12:30", True),
        ("XLON", "2024-12-23", "08:00 16:30 16:30", False),
        ("XETR", "2024-12-30", "09:00 14:00 14:00", True),
        ("XASX", "2024-12-24", "10:00 14:10 14:10", True),
        ("XTKS", "2024-11-01", "09:00 15:00 15:00", False),
        ("XTKS", "2024-11-05", "09:00 15:30 15:30", False),
        ("XHKG", "2024-12-24", "09:30 12:00 12:00", True),
        ("HKEX", "2024-12-24", "09:30 12:00 12:00", True),
    ],
)
def test_hours_are_the_published_ones(name, day, hours, half_day):
    """Open, close and option close by the exchange's clock; options outlast the stock only where SPY is listed."""
    found = get_calendar(name).hours(date.fromisoformat(day))
    assert " ".join(local(name, moment) for moment in (found.open, found.close, found.option_close)) == hours
    assert found.half_day is half_day
    assert get_calendar(name).is_open(found.open)
    assert not get_calendar(name).is_open(found.close)
    assert not get_calendar(name).is_open(found.open - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("name", "day", "start", "end"),
    [
        ("XTKS", "2024-06-03", "11:30", "12:30"),
        ("XHKG", "2024-06-03", "12:00", "13:00"),
        ("XSHG", "2024-06-03", "11:30", "13:00"),
    ],
)
def test_nothing_trades_at_lunch(name, day, start, end):
    """In a lunch break stock and options are shut, and the next open is its end."""
    calendar = get_calendar(name)
    began, ended = at(name, day, start), at(name, day, end)
    second = timedelta(seconds=1)
    assert [calendar.is_open(one) for one in (began - second, began, ended - second, ended)] == [
        True,
        False,
        False,
        True,
    ]
    assert not calendar.options_open(began)
    assert calendar.next_open(began) == ended
    assert sum((last - first for first, last in calendar.option_spans(calendar.day_at(began))), timedelta()) == (
        calendar.hours(calendar.day_at(began)).close - calendar.hours(calendar.day_at(began)).open - (ended - began)
    )
    tick = build_tick(began, calendar, spot=400, previous_close=400, vix=20, beta=0, kind="published")
    assert (tick.market_open, tick.stock_open, tick.option_open) == (False, False, False)
    assert tick.minutes_to_close == calendar.minutes_to_close(began) > 60


@pytest.mark.parametrize(("name", "day"), [("XKRX", "2024-06-03"), ("XHKG", "2024-12-24"), ("XNYS", "2024-06-03")])
def test_a_break_that_was_given_up_or_falls_behind_the_close_is_none(name, day):
    """Korea has no lunch break since 2000, half days in Hong Kong end with the morning, New York never had one."""
    assert get_calendar(name).hours(date.fromisoformat(day)).break_start is None


@pytest.mark.parametrize(
    ("day", "opens"), [("2018-03-09", 14), ("2018-03-12", 13), ("2018-11-02", 13), ("2018-11-05", 14)]
)
def test_daylight_saving_moves_the_open_in_utc(day, opens):
    """09:30 in New York is 14:30 or 13:30 UTC, from the Monday after the clocks change."""
    found = NYSE.hours(date.fromisoformat(day))
    assert (found.open.hour, found.open.minute) == (opens, 30)


def test_a_day_that_begins_on_the_day_before_in_utc():
    """Sydney opens at 23:00 UTC of the day before; that belongs to Sydney's day."""
    sydney = get_calendar("XASX")
    moment = datetime(2024, 1, 2, 23, 30, tzinfo=UTC)
    assert sydney.is_open(moment)
    assert sydney.trade_date(moment) == sydney.day_at(moment) == date(2024, 1, 3)


@pytest.mark.parametrize(
    ("day", "clock", "counts_to", "is_open"),
    [
        ("2024-01-08", "18:00", "2024-01-09", True),
        ("2024-01-08", "23:59", "2024-01-09", True),
        ("2024-01-09", "00:01", "2024-01-09", True),
        ("2024-01-09", "16:30", "2024-01-09", False),
        ("2024-01-07", "12:00", "2024-01-05", False),
        ("2024-01-07", "17:30", "2024-01-08", True),
        ("2024-01-06", "12:00", "2024-01-05", False),
        ("2024-11-29", "12:30", "2024-11-29", False),
    ],
)
def test_a_day_that_begins_on_the_evening_before(day, clock, counts_to, is_open):
    """Futures of a day begin at 17:00 Chicago time of the evening before; from then on the trade date is theirs."""
    globex = get_calendar("CME Globex Equity")
    moment = at("CME Globex Equity", day, clock)
    assert globex.is_open(moment) is is_open
    assert globex.trade_date(moment) == date.fromisoformat(counts_to)
    assert globex.next_open(moment) > moment


def test_a_simulated_session_runs_over_midnight_on_one_trade_date():
    """A synthetic day of a calendar that crosses midnight ticks on its own trade date from its first bar on."""
    globex = get_calendar("CME Globex Equity")
    config = FeedConfig(kind="synthetic", trade_date="2024-01-09")
    feed = session_feed(config, globex, today=date(2024, 1, 9))
    clock = session_clock(feed, globex, config, SessionType.BACKTEST)
    tick = feed.tick(clock.now)
    assert clock.now == at("CME Globex Equity", "2024-01-08", "17:00")
    assert (tick.trade_date, tick.stock_open, tick.share_left) == (date(2024, 1, 9), True, 1.0)


@pytest.mark.parametrize(
    ("name", "day", "clock", "is_open", "closed"),
    [
        ("XTKS", "2024-06-03", "11:29", True, False),
        ("XTKS", "2024-06-03", "12:00", False, False),
        ("XTKS", "2024-06-03", "12:30", True, False),
        ("CME Globex Equity", "2024-01-08", "16:30", False, True),
        ("CME Globex Equity", "2024-01-08", "17:30", True, False),
        ("XNYS", "2018-12-24", "13:00", False, True),
    ],
)
def test_rules_see_lunch_and_midnight(name, day, clock, is_open, closed):
    """market_open is false at lunch and true on the evening on which a day begins; market_close is its own day's."""
    moment = at(name, day, clock)
    market = MarketFacts(1.0, 400.0)
    facts = Facts(UUID(int=1), moment, SessionStatus.INITIALIZING, get_calendar(name), market=market)
    known = known_conditions()
    assert known["market_open"].read(facts, value=True).value is is_open
    assert known["market_close"].read(facts, value=True).value is closed


def test_sundays_of_tel_aviv_are_no_half_days():
    """A weekday that is always shorter is no half day."""
    assert not get_calendar("XTAE").is_half_day(date(2024, 6, 9))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("XNYZ", "'XNYZ' is not a known exchange calendar. Did you mean .*XNYS"),
        ("xnys", "Did you mean XNYS"),
        ("nasdaq", "Did you mean NASDAQ"),
        ("", "is not a known exchange calendar. Use an exchange's code"),
        ("XBEL", "'XBEL' is an exchange whose hours the library cannot tell"),
    ],
)
def test_a_bad_name_gets_close_matches(name, message):
    """An unknown calendar is refused with the nearest names, one without hours by name, before a session steps."""
    with pytest.raises(InvalidArgument, match=message):
        get_calendar(name)


def test_names_are_listed_and_hold_the_iso_codes():
    """What may be written into a config is listed, codes of SPY's own exchanges among it."""
    assert {"XNYS", "ARCX", "XNAS", "XLON", "XTKS", "CMES"} <= set(calendar_names())


_INTERRUPTED = """
import os, signal, sys
from fntx_sessions.trading.calendars import get_calendar

class TimeIsUp(Exception): ...

def struck(*_):
    raise TimeIsUp

class Strikes:
    def find_spec(self, name, *_):
        if name == "toolz.recipes":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGUSR1)

signal.signal(signal.SIGUSR1, struck)
sys.meta_path.insert(0, Strikes())
try:
    get_calendar()
except TimeIsUp:
    print(get_calendar().zone)
"""


def test_a_time_limit_in_the_first_load_is_told_and_leaves_nothing_broken(tmp_path):
    """A process whose first question of a calendar took too long answers the next."""
    nothing_kept = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    asked = [sys.executable, "-c", _INTERRUPTED]
    found = subprocess.run(asked, env=nothing_kept, capture_output=True, text=True, check=True)
    assert found.stdout == "America/New_York\n"


@pytest.fixture
def fntx(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    runner = CliRunner()
    return lambda *words: runner.invoke(app.app, ["calendar", *words])


def test_the_command_shows_three_clocks_and_marks(fntx):
    """`fntx calendar` shows exchange time, UTC and local time, marks half days and late opens, and the next days."""
    shown = fntx("--day", "2018-12-24", "--next", "1").output
    assert "Mon 2018-12-24  half day" in shown
    assert all(text in shown for text in ("09:30-13:15", "14:30-18:15", "12:45", "Wed 2018-12-26"))
    assert "late open" in fntx("--day", "2002-09-11").output
    assert "shut; the next trading day is 2018-12-06" in fntx("--day", "2018-12-05").output
    assert "11:30-12:30" in fntx("XTKS", "--day", "2024-06-03").output
    assert '"half_day": true' in fntx("--day", "2018-12-24", "--json").output
    assert "XNYS" in fntx("--names").output


@pytest.mark.parametrize("words", [("XNYZ",), ("--day", "yesterday"), ("--next", "-1")])
def test_the_command_refuses_what_it_cannot_read(fntx, words):
    """A bad name, day or count is refused."""
    assert fntx(*words).exit_code != 0


def test_a_day_that_no_calendar_knows_is_refused_by_its_option(capsys):
    """The command line names what was typed, not what it is called inside."""
    for day in ("1850-01-04", "soon"):
        assert run(["calendar", "--day", day]) == Exit.USAGE
        assert "--day: " in capsys.readouterr().err
