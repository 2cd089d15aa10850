"""Each condition: when it holds, when not, when that is not known, and what it says."""

from datetime import timedelta
from decimal import Decimal

import pytest
from rules_harness import NOW, S, condition, facts, judged, rules, truth, utc

from fntx_sessions.automation.rules.conditions import GROUPS, LEAVES
from fntx_sessions.automation.rules.registry import known_conditions

ISSUE = """market_open, market_close, time_after, time_before, minutes_after_open_above, minutes_to_close_below,
day_of_week, vix_below, vix_above, spy_change_above, spy_change_below, market_regime, liquidity_status,
daily_loss_exceeded, daily_profit_reached, drawdown_above, error_rate_above, position_count_above,
decision_latency_above, duration_above, all_of, any_of, none_of"""


def test_the_conditions_that_were_asked_for_are_there():
    """All 23, under the names they were given."""
    assert {name.strip() for name in ISSUE.split(",")} == set(LEAVES) | set(GROUPS)
    assert set(known_conditions()) >= set(LEAVES) | set(GROUPS)


HALF_DAY = utc(2018, 11, 23, 17, 59)  # the day after Thanksgiving, 12:59 in New York
CLOSED_FOR_BUSH = utc(2018, 12, 5, 16, 0)
BEFORE_DST, AFTER_DST = utc(2018, 3, 9, 14, 30), utc(2018, 3, 12, 13, 30)  # 09:30 in New York, both

CLOCK = [
    ("market_open", True, facts(), True, "market open, quote 4 s old"),
    ("market_open", False, facts(), False, "market open, quote 4 s old"),
    ("market_open", True, facts(utc(2018, 2, 5, 14, 29, 59)), False, "market shut, opens at 09:30:00"),
    ("market_open", True, facts(utc(2018, 2, 5, 21, 0)), False, "market shut, closed at 16:00:00"),
    ("market_open", True, facts(CLOSED_FOR_BUSH), False, "market shut, no trading today"),
    ("market_open", True, facts(HALF_DAY), True, "market open, quote 4 s old"),
    ("market_open", True, facts(HALF_DAY + timedelta(minutes=1)), False, "market shut, closed at 13:00:00"),
    ("market_open", True, facts(BEFORE_DST), True, "market open, quote 4 s old"),
    ("market_open", True, facts(AFTER_DST), True, "market open, quote 4 s old"),
    ("market_open", True, facts(utc(2018, 2, 5, 9, 0), extended=True), True, "market open, quote 4 s old"),
    ("market_open", True, facts(utc(2018, 2, 6, 1, 0), extended=True), False, "market shut, closed at 20:00:00"),
    ("market_open", True, facts(market={"halted": True}), False, "trading is halted by the exchange, quote 4 s old"),
    ("market_open", True, facts(market={"stale": True}), None, "market not known: data 4 s old, too old to trade on"),
    ("market_open", True, facts(market=False), None, "market not known: the exchange is open, but there is no quote"),
    ("market_open", True, facts(utc(2018, 2, 5, 9, 0), market=False), False, "market shut, opens at 09:30:00"),
    ("market_close", True, facts(), False, "no close yet"),
    ("market_close", True, facts(utc(2018, 2, 5, 21, 0)), True, "the market has closed"),
    ("market_close", True, facts(HALF_DAY, started_at=HALF_DAY - timedelta(hours=2)), False, "no close yet"),
    ("market_close", True, facts(utc(2018, 2, 6, 15), started_at=NOW), True, "the market has closed"),
    ("market_close", True, facts(utc(2018, 2, 5, 23), started_at=utc(2018, 2, 5, 22)), False, "no close yet"),
    ("market_close", True, facts(utc(2018, 2, 10, 15), started_at=utc(2018, 2, 10, 14)), False, "no close yet"),
    ("market_close", True, facts(utc(2018, 2, 5, 23), extended=True), False, "no close yet"),
    ("market_close", True, facts(started_at=None), False, "no close yet"),
    ("market_close", True, facts(utc(2018, 2, 5, 22), started_at=None), True, "the market has closed"),
    ("market_close", True, facts(CLOSED_FOR_BUSH, started_at=None), True, "market closed, no trading today"),
    ("time_after", "10:00:00", facts(), True, "10:00:00 is at or after 10:00:00"),
    ("time_after", "10:00", facts(NOW - timedelta(microseconds=1)), False, "09:59:59 is before 10:00:00"),
    ("time_after", "09:30:00", facts(AFTER_DST - timedelta(seconds=1)), False, "09:29:59 is before 09:30:00"),
    ("time_after", "09:30:00", facts(AFTER_DST), True, "09:30:00 is at or after 09:30:00"),
    ("time_before", "10:00:00", facts(), False, "10:00:00 is at or after 10:00:00"),
    ("time_before", "10:00:01", facts(), True, "10:00:00 is before 10:00:01"),
    ("minutes_after_open_above", 30, facts(), False, "minutes since the open 30 <= 30"),
    ("minutes_after_open_above", 29.5, facts(), True, "minutes since the open 30 > 29.5"),
    ("minutes_after_open_above", 0, facts(CLOSED_FOR_BUSH), False, "no trading today"),
    ("minutes_to_close_below", 2, facts(HALF_DAY), True, "minutes to the close 1 < 2"),
    ("minutes_to_close_below", 2, facts(HALF_DAY + timedelta(hours=1)), True, "minutes to the close -59 < 2"),
    ("minutes_to_close_below", 30, facts(), False, "minutes to the close 360 >= 30"),
    ("minutes_to_close_below", 30, facts(CLOSED_FOR_BUSH), False, "no trading today"),
    ("day_of_week", "mon", facts(), True, "it is monday"),
    ("day_of_week", ["Tuesday", "fri"], facts(), False, "it is monday, not tuesday or friday"),
    ("day_of_week", "sunday", facts(utc(2018, 2, 5, 4, 59)), True, "it is sunday"),
    ("duration_above", 19, facts(), True, "minutes since the start 20 > 19"),
    ("duration_above", 20, facts(), False, "minutes since the start 20 <= 20"),
    ("duration_above", 0, facts(started_at=NOW + timedelta(hours=1)), False, "minutes since the start 0 <= 0"),
    ("duration_above", 0, facts(started_at=None), None,
     "minutes since the start not known: the session has not started"),
]  # fmt: skip

MARKETS = [
    ("vix_below", 30, facts(market={"vix": 31.2}), False, "VIX 31.2 >= 30, quote 4 s old"),
    ("vix_below", 30, facts(market={"vix": 30}), False, "VIX 30 >= 30, quote 4 s old"),
    ("vix_below", 30, facts(), True, "VIX 18 < 30, quote 4 s old"),
    ("vix_above", 30, facts(market={"vix": 30}), False, "VIX 30 <= 30, quote 4 s old"),
    ("vix_above", 30, facts(market={"vix": 31.2}), True, "VIX 31.2 > 30, quote 4 s old"),
    ("spy_change_above", 1, facts(market={"spot": 278.0}), True, "SPY +1.09 % > +1.00 %, quote 4 s old"),
    ("spy_change_above", -2, facts(), True, "SPY -1.82 % > -2.00 %, quote 4 s old"),
    ("spy_change_below", -1, facts(), True, "SPY -1.82 % < -1.00 %, quote 4 s old"),
    ("spy_change_below", -2, facts(), False, "SPY -1.82 % >= -2.00 %, quote 4 s old"),
    ("spy_change_below", -2, facts(market={"previous_close": 0.0}), None, "SPY not known: no value came"),
    ("market_regime", "high_volatility", facts(), False, "market regime normal, not high_volatility, quote 4 s old"),
    ("market_regime", ["low_volatility", "normal"], facts(), True, "market regime normal, quote 4 s old"),
    ("market_regime", "normal", facts(market={"regime": "unknown"}), None, "market regime not known: no value came"),
    ("liquidity_status", "thin", facts(), False, "liquidity normal, not thin, quote 4 s old"),
    ("liquidity_status", ["thin", "normal"], facts(), True, "liquidity normal, quote 4 s old"),
    ("liquidity_status", "thin", facts(market={"liquidity": "stale"}), None, "liquidity not known: no value came"),
    ("liquidity_status", ["thin", "stale"], facts(market={"liquidity": "stale", "stale": True}), True,
     "liquidity stale, quote 4 s old"),
]  # fmt: skip

MONEY = [
    ("daily_loss_exceeded", 100, facts(), True, "daily loss $100.00 >= $100.00, report 2 s old"),
    ("daily_loss_exceeded", 100.01, facts(), False, "daily loss $100.00 < $100.01, report 2 s old"),
    ("daily_loss_exceeded", True, facts(), False, "daily loss $100.00 < $500.00, report 2 s old"),
    ("daily_loss_exceeded", True, facts(session={"daily_pnl": Decimal(-500)}), True,
     "daily loss $500.00 >= $500.00, report 2 s old"),
    ("daily_loss_exceeded", True, facts(session={"latched": True, "daily_pnl": Decimal(50), "age_s": 9999.0}), True,
     "the account's daily loss limit has fired"),
    ("daily_loss_exceeded", True, facts(session={"loss_limit": None}), None,
     "daily loss not known: the account's daily loss limit is not known"),
    ("daily_profit_reached", 50, facts(), False, "daily profit -$100.00 < $50.00, report 2 s old"),
    ("daily_profit_reached", 50, facts(session={"daily_pnl": Decimal(50)}), True,
     "daily profit $50.00 >= $50.00, report 2 s old"),
    ("drawdown_above", 150, facts(), False, "drawdown $150.00 <= $150.00, report 2 s old"),
    ("drawdown_above", 149, facts(), True, "drawdown $150.00 > $149.00, report 2 s old"),
    ("error_rate_above", 0.05, facts(), False, "error rate 5 % <= 5 %, report 2 s old"),
    ("error_rate_above", 0.01, facts(), True, "error rate 5 % > 1 %, report 2 s old"),
    ("error_rate_above", 0.01, facts(session={"error_rate": None}), None,
     "error rate not known: too few attempts in the last 5 min"),
    ("position_count_above", 1, facts(), True, "positions 2 > 1, report 2 s old"),
    ("position_count_above", 2, facts(), False, "positions 2 <= 2, report 2 s old"),
    ("decision_latency_above", 10, facts(), True, "decision latency 12 ms > 10 ms, report 2 s old"),
    ("decision_latency_above", 12, facts(), False, "decision latency 12 ms <= 12 ms, report 2 s old"),
]  # fmt: skip

GROUPED = [
    ("all_of", [condition("vix_above", 10), condition("vix_above", 40)], facts(), False,
     "all_of (VIX 18 <= 40, quote 4 s old)"),
    ("any_of", [condition("vix_above", 10), condition("vix_above", 40)], facts(), True,
     "any_of (VIX 18 > 10, quote 4 s old)"),
    ("none_of", [condition("vix_above", 10), condition("vix_above", 40)], facts(), False,
     "none_of (VIX 18 > 10, quote 4 s old)"),
    ("none_of", [condition("vix_above", 40)], facts(), True, "none_of (VIX 18 <= 40, quote 4 s old)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "found", "holds", "why"), [*CLOCK, *MARKETS, *MONEY, *GROUPED])
def test_a_condition_holds_or_not_or_is_not_known_and_says_so(name, value, found, holds, why):
    """Every sentence names what was found, the limit, on which side it lies, and how old the data is."""
    came = truth(condition(name, value), found)
    assert (came.holds, came.met, came.why) == (holds, holds is True, why)


_NEEDS_DATA = [name for name, one in LEAVES.items() if one.source in ("market", "session")]
_VALUES = {
    "market_open": True, "daily_loss_exceeded": 100, "market_regime": "normal", "liquidity_status": "normal",
    "error_rate_above": 0.01,
}  # fmt: skip
_USELESS = {
    "nothing came": ({"market": False, "session": False}, True),
    "too old": ({"market": {"age_s": 31.0}, "session": {"age_s": 31.0}}, True),
    "from the future": ({"market": {"age_s": -31.0}, "session": {"age_s": -31.0}}, True),
    "age is no number": ({"market": {"age_s": float("nan")}, "session": {"age_s": float("nan")}}, True),
    "unusable": ({"market": {"stale": True}, "session": {"age_s": 31.0}}, True),
}


@pytest.mark.parametrize("why", _USELESS)
@pytest.mark.parametrize("name", _NEEDS_DATA)
def test_data_that_is_missing_or_too_old_is_no_data(name, why):
    """It neither holds nor fails to hold; a stop rule that stands so is reported."""
    changes, _ = _USELESS[why]
    verdict = judged(rules(stop=[condition(name, _VALUES.get(name, 1))]), facts(**changes))
    assert verdict.truths["stop"][0].holds is None
    assert verdict.missing == ("stop.0",)
    assert verdict.action is None


@pytest.mark.parametrize("rubbish", [None, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["vix_below", "vix_above", "spy_change_above", "spy_change_below"])
def test_a_price_that_is_no_number_starts_and_stops_nothing(name, rubbish):
    """None, NaN and the infinities are not known, whatever a comparison with them would say."""
    found = facts(status=S.INITIALIZING, market={"vix": rubbish, "spot": rubbish}, started_at=None)
    verdict = judged(rules(start=[condition(name, 1)]), found)
    assert (verdict.action, verdict.truths["start"][0].holds) == (None, None)
    assert "not known" in verdict.why


def test_a_decimal_that_is_no_number_is_not_known():
    """The ledger's own type can say NaN as well."""
    assert truth(condition("daily_loss_exceeded", 1), facts(session={"daily_pnl": Decimal("NaN")})).holds is None


def test_a_rule_may_take_older_data_or_insist_on_younger():
    """max_age_s counts instead of the desk's own limit, and over the feed's own word on staleness."""
    old = facts(market={"age_s": 50.0, "stale": True, "vix": 40.0})
    assert truth(condition("vix_above", 30), old).holds is None
    assert truth(condition("vix_above", 30, max_age_s=60), old).holds is True
    assert truth(condition("vix_above", 30, max_age_s=3), facts()).holds is None


def test_a_night_without_quotes_is_not_missing_data():
    """While the exchange is shut nobody quotes: a stop rule cannot tell, and nobody is alarmed."""
    night = facts(utc(2018, 2, 6, 5, 0), market={"age_s": 30_000.0})
    verdict = judged(rules(stop=[condition("vix_above", 40)]), night)
    assert (verdict.truths["stop"][0].holds, verdict.missing) == (None, ())


def test_what_a_sound_session_does_not_have_yet_is_not_missing_data():
    """Too few attempts for a rate, no decision for a latency: not known, and no fault."""
    found = facts(session={"error_rate": None, "decision_latency_ms": None})
    verdict = judged(rules(stop=[condition("error_rate_above", 0.1), condition("decision_latency_above", 5)]), found)
    assert [one.holds for one in verdict.truths["stop"]] == [None, None]
    assert verdict.missing == ()


def test_nearing_a_loss_or_drawdown_limit_warns_before_it_is_reached():
    """From 80 % of the limit on, once it is known, and only for what stops or pauses."""
    both = [condition("daily_loss_exceeded"), condition("drawdown_above", 200)]
    near = facts(session={"daily_pnl": Decimal(-400), "drawdown": Decimal(-160)})
    assert judged(rules(stop=both), near).warnings == (
        ("daily_loss_exceeded:True", "daily loss $400.00 < $500.00: 80% of the limit"),
        ("drawdown_above:200.0", "drawdown $160.00 <= $200.00: 80% of the limit"),
    )
    assert judged(rules(stop=both), facts(session={"daily_pnl": Decimal(-399), "drawdown": None})).warnings == ()
    assert judged(rules(stop=both), facts(session={"daily_pnl": Decimal(-400), "age_s": 99.0})).warnings == ()
    assert judged(rules(stop=both), facts(session={"daily_pnl": Decimal(-500)})).warnings == ()
