"""Limits of sessions whose agents are remote: what breaks one, what only looks so, and what no report can be."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import orjson
import pytest

from fntx_sessions.automation.limits import breaches
from fntx_sessions.automation.reported import count_of, read_report
from fntx_sessions.automation.rules.model import Facts, MarketFacts, PositionFacts, SessionFacts
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import RiskParameters, SessionConfig, SessionStatus
from fntx_sessions.state.parts import TRADING, checked_report
from fntx_sessions.trading.calendars import get_calendar

NYSE = get_calendar()
S = SessionStatus


def on(day, clock):
    return datetime.fromisoformat(f"{day} {clock}").replace(tzinfo=NYSE.zone).astimezone(UTC)


NOON = on("2018-01-09", "12:00")


def position(opened_at=NOON - timedelta(minutes=30), **changes):
    values = {"trade_id": "t", "symbol": "SPY180109P00270000", "quantity": -1, "right": "put", "opened_at": opened_at}
    return PositionFacts(**{**values, "strike": Decimal(270), "expiry": date(2018, 1, 9), **changes})


def facts(now=NOON, status=S.ACTIVE, positions=(), spot=275.0, **session):
    told = {
        "age_s": 1.0,
        "daily_pnl": Decimal(0),
        "loss_limit": Decimal(2000),
        "position_count": sum(abs(one.quantity) for one in positions),
        "positions": tuple(positions),
    }
    market = MarketFacts(1.0, spot)
    return Facts(UUID(int=1), now, status, NYSE, market=market, session=SessionFacts(**{**told, **session}))


def found(given, risk=None, **config):
    return breaches(given, SessionConfig(**config), risk or RiskParameters())


def limits_of(given, **config):
    return [one.limit.value for one in found(given, **config)]


@pytest.mark.parametrize(
    ("loss", "broken"), [("-1999.99", []), ("-2000", ["max_daily_risk"]), ("-9000", ["max_daily_risk"]), ("500", [])]
)
def test_the_days_loss(loss, broken):
    """At the limit, not before it, the account's day is to be latched and the session paused, as hosted ones are."""
    given = found(facts(daily_pnl=Decimal(loss)))
    assert [one.limit for one in given] == broken
    assert all(one.latches and one.standing and one.action == "pause" for one in given)


@pytest.mark.parametrize(
    "session",
    [
        {"daily_pnl": None},
        {"loss_limit": None},
        {"daily_pnl": Decimal("NaN")},
        {"age_s": 31.0},
        {"age_s": -5.0},
        {"age_s": float("nan")},
        {"pnl_age_s": 31.0},
        {"latched": True},
        {"guarded": True},
    ],
)
def test_what_is_not_known_or_already_done_breaks_nothing(session):
    """No number, one too old or from the future, a latch that holds, an agent of ours: nothing new is told."""
    assert found(facts(**{"daily_pnl": Decimal(-9000), **session})) == []


def test_the_position_limit():
    """More contracts than position_limit are a breach that says that a pause does not close them."""
    given = found(facts(positions=[position(quantity=-4)]), RiskParameters(position_limit=3))
    assert [(one.limit, one.standing) for one in given] == [("position_limit", True)]
    assert "4 contracts are open, position_limit is 3; a pause closes nothing" in given[0].why
    assert found(facts(positions=[position(quantity=-3)]), RiskParameters(position_limit=3)) == []


@pytest.mark.parametrize(
    ("day", "clock", "broken"),
    [
        ("2018-01-09", "15:45:59", False),
        ("2018-01-09", "15:46:01", True),
        ("2018-01-09", "20:00:00", True),
        ("2018-07-03", "12:46:01", True),
        ("2018-07-03", "12:45:59", False),
        ("2018-12-24", "12:46:01", True),
        ("1996-01-08", "13:46:01", True),
        ("2018-01-06", "12:00:00", True),
        ("2018-12-05", "12:00:00", True),
        ("2018-03-12", "15:44:00", False),
    ],
)
def test_positions_past_flat_by(day, clock, broken):
    """A minute past flat-by of that very day, on half days and days of snow, and on days without any trading."""
    now = on(day, clock)
    held = position(opened_at=now - timedelta(minutes=5), expiry=date(2099, 1, 2))
    assert limits_of(facts(now, positions=[held])) == (["allow_overnight_positions"] if broken else [])
    assert limits_of(facts(now, positions=[held]), allow_overnight_positions=True) == []
    assert limits_of(facts(now)) == []


def test_positions_of_an_earlier_trade_date():
    """In the morning what was carried over is a breach, without waiting for flat-by."""
    held = position(opened_at=on("2018-01-05", "15:00"), expiry=date(2018, 2, 2))
    given = found(facts(on("2018-01-08", "09:31"), positions=[held]))
    assert [one.limit for one in given] == ["allow_overnight_positions"]
    assert "opened on an earlier trade date" in given[0].why


def test_hold_time_is_a_trades_not_a_legs():
    """A trade held longer than allowed and a minute is told once, however many legs it has, by the oldest of them."""
    legs = [position(NOON - timedelta(minutes=minutes), symbol=f"{minutes}") for minutes in (62, 5)]
    given = found(facts(positions=[*legs, position(trade_id="young")]), max_position_hold_time=60)
    assert [one.key for one in given] == ["max_position_hold_time/t"]
    assert limits_of(facts(positions=legs)) == []
    assert (
        limits_of(facts(positions=[position(NOON - timedelta(minutes=60, seconds=59))]), max_position_hold_time=60)
        == []
    )


@pytest.mark.parametrize(
    ("right", "spot", "broken"),
    [
        ("put", 269.0, True),
        ("put", 271.3, True),
        ("put", 271.5, False),
        ("call", 271.0, True),
        ("call", 268.7, True),
        ("call", 268.5, False),
        ("put", None, False),
    ],
)
def test_nothing_in_or_near_the_money_is_carried_into_expiry(right, spot, broken):
    """Past flat-by an option of today in the money or within 0.5 % of its strike is a breach, others are not."""
    given = facts(on("2018-01-09", "15:50"), positions=[position(right=right)], spot=spot)
    assert limits_of(given, allow_overnight_positions=True) == (["expiry"] if broken else [])
    early = replace(given, now=on("2018-01-09", "15:40"))
    assert limits_of(early, allow_overnight_positions=True) == []


def test_an_option_that_outlived_its_expiry():
    """A report that still holds what expired is told: somebody has to ask the broker."""
    held = position(opened_at=on("2018-01-08", "10:00"), expiry=date(2018, 1, 8))
    assert limits_of(facts(positions=[held]), allow_overnight_positions=True) == ["expiry"]


@pytest.mark.parametrize(
    ("status", "policy", "action"),
    [
        (S.ACTIVE, "pause", "pause"),
        (S.PAUSED, "pause", None),
        (S.SUSPENDED, "pause", None),
        (S.ACTIVE, "stop", "stop"),
        (S.PAUSED, "stop", "stop"),
        (S.SUSPENDED, "stop", "stop"),
        (S.ERROR, "stop", "stop"),
        (S.CLOSING, "stop", None),
    ],
)
def test_what_a_breach_does_is_the_sessions_policy(status, policy, action):
    """`on_breach` pauses or stops, as far as the status leaves room for it; the breach is told all the same."""
    [breach] = found(facts(status=status, positions=[position(quantity=-9)]), on_breach=policy)
    assert breach.action == action


@pytest.mark.parametrize("status", [S.INITIALIZING, S.CLOSED])
def test_what_is_not_started_or_over_breaks_nothing(status):
    """A session without a run has no limits to keep."""
    assert found(facts(status=status, positions=[position(quantity=-9)])) == []


# Reports


def report(**changes):
    leg = {
        "symbol": "SPY180109P00270000", "right": "put", "strike": 270, "expiry": "2018-01-09", "quantity": -2,
        "average_price": 0.5, "opened_at": "2018-01-09T15:00:00Z", "trade_id": "t",
    }  # fmt: skip
    whole = {"daily_pnl": -12.5, "open_positions": [{**leg, **changes.pop("leg", {})}]}
    return orjson.dumps({**whole, **changes})


def test_a_report_is_read():
    """P&L, count and legs are what the report says."""
    said = read_report(report(), NOON, 2)
    assert (said.daily_pnl, said.position_count, said.positions[0].strike) == (Decimal("-12.5"), 2, Decimal(270))


def test_what_a_report_leaves_out_is_not_zero():
    """An empty report says nothing: neither that nothing was lost nor that nothing is open."""
    said = read_report(b"{}", NOON, 2)
    assert (said.daily_pnl, said.position_count, said.positions) == (None, None, None)
    assert read_report(b'{"open_positions": []}', NOON, 2).position_count == 0


def test_shares_count_in_lots():
    """Contracts count each, shares by the hundred, a broken lot as one."""
    shares = position(right="stock", quantity=150, strike=None, expiry=None)
    assert count_of([shares, position(quantity=-2), position(quantity=1)]) == 5


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"daily_pnl": NaN}',
        b'{"daily_pnl": "NaN"}',
        b'{"daily_pnl": "Infinity"}',
        b'{"daily_pnl": 1e300}',
        b'{"open_positions": -1}',
        b'{"surprise": 1}',
        report(leg={"quantity": 0}),
        report(leg={"quantity": 10**9}),
        report(leg={"quantity": 1.5}),
        report(leg={"opened_at": "2018-01-09T17:00:03Z"}),
        report(leg={"opened_at": "2018-01-09T16:00:00"}),
        report(leg={"strike": -270}),
        report(leg={"strike": None}),
        report(leg={"expiry": None}),
        report(leg={"expiry": "soon"}),
        report(leg={"right": "banana"}),
    ],
)
def test_a_report_that_cannot_be_true_is_no_report(data):
    """Negative and impossible counts, no numbers, moments to come: refused by path, never taken for something good."""
    with pytest.raises(InvalidArgument, match="trading"):
        read_report(data, NOON, 2)


@pytest.mark.parametrize(
    "data",
    [
        b'{"trades_today": -1}',
        b'{"daily_pnl": NaN}',
        b'{"daily_pnl": 1e999}',
        b'{"daily_pnl": "much"}',
        b'{"open_positions": 3}',
        b'{"open_positions": [3]}',
        b"[]",
    ],
)
def test_what_is_plainly_absurd_is_refused_at_the_edge(data):
    """A negative count, no number, no list: the report is refused, and the one before it stays."""
    with pytest.raises(InvalidArgument, match="trading"):
        checked_report(TRADING, data, 10_000)
    assert checked_report(TRADING, report(), 10_000) == report()


def test_a_little_ahead_is_no_lie():
    """Clocks may differ by the skew."""
    assert read_report(report(leg={"opened_at": "2018-01-09T17:00:02Z"}), NOON, 2).position_count == 2
