"""The regime of a market whose publisher names none, by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fntx_sessions.trading.regime import LEAST_RETURNS, YEAR_S, market_regime, realised_volatility


def swinging(by, count=LEAST_RETURNS, seconds=60.0, price=100.0):
    """Return marks that go up by a factor and down again, each so many seconds after the one before."""
    return [(i * seconds, price * (by if i % 2 else 1.0)) for i in range(count + 1)]


@pytest.mark.parametrize(
    ("by", "percent"),
    [
        # Ten returns of ln(by) in 600 s of a year's 5,896,800: 100 x sqrt(5,896,800 x 10 x ln(by)^2 / 600).
        (1.001, 31.334),  # ln^2 = 9.990009e-7: sqrt(0.0981818)
        (1.0005, 15.671),  # ln^2 = 2.498750e-7: sqrt(0.0245577)
        (1.0002, 6.269),  # ln^2 = 3.999200e-8: sqrt(0.0039304)
        (1.0, 0.0),
    ],
)
def test_realised_volatility_by_hand(by, percent):
    """Squared log returns over the time they took, as a year of trading."""
    assert YEAR_S == 5_896_800
    assert realised_volatility(swinging(by)) == pytest.approx(percent, abs=0.001)


def test_too_little_is_not_known():
    """Nine returns tell nothing; nor do marks further apart than five minutes, or two of one moment."""
    assert realised_volatility(swinging(1.001, count=9)) is None
    assert realised_volatility(swinging(1.001, count=20, seconds=301)) is None
    assert realised_volatility([(0.0, 100.0 + i) for i in range(20)]) is None
    assert realised_volatility([]) is None


def test_a_gap_is_no_return():
    """A night between two runs of quotes counts neither as a move nor as time."""
    evening = swinging(1.001)
    morning = [(at + 63_000, price * 1.05) for at, price in evening]
    assert realised_volatility([*evening, *morning]) == pytest.approx(31.334, abs=0.001)


@given(some.floats(0.0001, 0.01), some.integers(10, 60), some.floats(1, 300), some.floats(1, 1e6))
def test_it_is_the_same_at_any_price_and_grows_with_the_move(step, count, seconds, price):
    """Twice the log return is twice the volatility, whatever the price, however long."""
    once = realised_volatility(swinging(math.exp(step), count, seconds, price))
    twice = realised_volatility(swinging(math.exp(2 * step), count, seconds, 100.0))
    assert twice == pytest.approx(2 * once, rel=1e-6)


@pytest.mark.parametrize(
    ("vix", "realised", "regime"),
    [
        (14.99, None, "low_volatility"),
        (15.0, None, "normal"),
        (24.99, None, "normal"),
        (25.0, None, "high_volatility"),
        (12.0, 6.3, "low_volatility"),
        (12.0, 15.7, "normal"),
        (12.0, 31.3, "high_volatility"),
        (30.0, 6.3, "high_volatility"),
        (None, 14.9, "low_volatility"),
        (None, 31.3, "high_volatility"),
        (None, None, "unknown"),
    ],
)
def test_the_greater_of_both_decides(vix, realised, regime):
    """VIX and realised volatility are percent a year alike; without either nothing is known."""
    assert market_regime(vix, realised) == regime
