"""Which changes of stop rules are wider than what was, and so a risk manager's alone."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fntx_sessions.automation.rules.compile import compile_stored
from fntx_sessions.automation.rules.loosening import loosened
from fntx_sessions.settings import Settings

SETTINGS = Settings()


def rule(condition, *value, **options):
    return {"condition": condition, "value": value[0] if value else True, **options}


def wider(old, new):
    """Return the paths of old rules that the new ones do not cover."""
    sets = [compile_stored(orjson.dumps({"auto_stop_conditions": rules}).decode()) for rules in (old, new)]
    return loosened(sets[0].stop, sets[1].stop, SETTINGS.rule_data_max_age_s)


VIX, LOSS, CLOSE = rule("vix_above", 30), rule("daily_loss_exceeded", 500), rule("market_close")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([], [VIX]),
        ([], []),
        ([VIX], [VIX]),
        ([VIX], [rule("vix_above", 25)]),
        ([VIX, CLOSE], [CLOSE, VIX]),
        ([VIX], [VIX, LOSS]),
        ([LOSS], [rule("daily_loss_exceeded", 499.99)]),
        ([rule("vix_below", 10)], [rule("vix_below", 12)]),
        ([rule("time_after", "15:45:00")], [rule("time_after", "15:30:00")]),
        ([rule("minutes_to_close_below", 10)], [rule("minutes_to_close_below", 15)]),
        ([rule("vix_above", 30, for_s=60)], [rule("vix_above", 30, for_s=30)]),
        ([rule("vix_above", 30, max_age_s=10)], [VIX]),
        ([rule("market_regime", "high_volatility")], [rule("market_regime", ["high_volatility", "normal"])]),
        ([rule("any_of", [VIX, LOSS])], [VIX, LOSS]),
        ([VIX, LOSS], [rule("any_of", [LOSS, VIX])]),
        ([rule("all_of", [VIX, LOSS])], [VIX]),
        ([rule("all_of", [VIX, LOSS, CLOSE])], [rule("all_of", [LOSS, VIX])]),
        ([VIX], [rule("vix_above", 30, clear_value=28)]),
    ],
)
def test_what_stops_at_least_as_early_is_not_wider(old, new):
    """A lower limit, less waiting, one rule more, another order, a group taken apart: an operator may do that."""
    assert wider(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "paths"),
    [
        ([VIX], [], ["stop.0"]),
        ([VIX, CLOSE], [VIX], ["stop.1"]),
        ([VIX], [rule("vix_above", 31)], ["stop.0"]),
        ([LOSS], [rule("daily_loss_exceeded")], ["stop.0"]),
        ([rule("daily_loss_exceeded")], [LOSS], ["stop.0"]),
        ([CLOSE], [{"condition": "market_close", "value": False}], ["stop.0"]),
        ([rule("vix_below", 12)], [rule("vix_below", 10)], ["stop.0"]),
        ([rule("time_after", "15:30:00")], [rule("time_after", "15:45:00")], ["stop.0"]),
        ([rule("minutes_to_close_below", 15)], [rule("minutes_to_close_below", 10)], ["stop.0"]),
        ([VIX], [rule("vix_above", 30, for_s=60)], ["stop.0"]),
        ([VIX], [rule("vix_above", 30, max_age_s=5)], ["stop.0"]),
        ([VIX], [rule("vix_above", 30, cooldown_s=60)], ["stop.0"]),
        ([rule("vix_above", 30, clear_value=28)], [VIX], ["stop.0"]),
        ([rule("market_regime", ["high_volatility", "normal"])], [rule("market_regime", "normal")], ["stop.0"]),
        ([VIX], [rule("all_of", [VIX, LOSS])], ["stop.0"]),
        ([rule("any_of", [VIX, LOSS])], [VIX], ["stop.0"]),
        ([rule("none_of", [VIX])], [rule("none_of", [rule("vix_above", 25)])], ["stop.0"]),
        ([VIX], [rule("spy_change_below", -3)], ["stop.0"]),
    ],
)
def test_what_stops_later_or_not_at_all_is_wider(old, new, paths):
    """A rule gone, a limit raised, more waiting, fresher data asked for, or what cannot be compared."""
    assert wider(old, new) == paths


@given(st.floats(1, 100), st.floats(1, 100), st.integers(0, 600), st.integers(0, 600))
def test_of_two_limits_the_wider_one_is_told(limit, other, waits, wait):
    """Never both ways around unless they are the same; whatever is not wider fires whenever the old one did."""
    one, two = rule("vix_above", limit, for_s=waits), rule("vix_above", other, for_s=wait)
    assert (wider([one], [two]) == []) == (other <= limit and wait <= waits)


@given(st.permutations([VIX, LOSS, CLOSE, rule("all_of", [VIX, CLOSE]), rule("any_of", [LOSS, CLOSE])]))
def test_order_does_not_matter(rules):
    """Rules that only change places are no change of what stops."""
    assert wider([VIX, LOSS, CLOSE], rules) == []
