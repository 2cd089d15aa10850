"""Wrong rules are refused where they are written, with the path to the field and what to write instead."""

import itertools
import math

import orjson
import pytest
from rules_harness import SETTINGS, condition

from fntx_sessions.automation.rules.checking import check_rules
from fntx_sessions.automation.rules.compile import compile_stored
from fntx_sessions.automation.rules.conditions import GROUPS, LEAVES
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.templates import checked_config
from fntx_sessions.schemas import SessionConfig, SessionType

STOP, START = "config.auto_stop_conditions", "config.auto_start_conditions"


def refused(config, session_type=None):
    with pytest.raises(InvalidArgument) as raised:
        checked_config(config, session_type)
    facts = raised.value.named()
    assert facts["fix"]
    return facts["field"], f"{facts['problem']}. {facts['fix']}"


def stop(*found):
    return {"auto_stop_conditions": list(found)}


def start(*found, **config):
    return {"auto_start_conditions": list(found), **config}


def nested(depth):
    found = condition("vix_above", 30)
    for _ in range(depth):
        found = condition("all_of", [found])
    return found


HUGE = 10**18
WRONG = [
    (condition("vix_abov", 30), "0.condition", "Did you mean 'vix_above'?"),
    (condition("full_moon"), "0.condition", "Known: market_open, market_close"),
    ({"value": 3}, "0.condition", "is missing"),
    ({"condition": 7}, "0.condition", "is no name"),
    ("vix_above", "0", "should be a condition"),
    (condition("vix_above", "30"), "0.value", "should be a number, not a text"),
    (condition("vix_above"), "0.value", "should be a number, not true or false"),
    (condition("vix_above", None), "0.value", "should be a number, not nothing"),
    (condition("vix_above", [30]), "0.value", "should be a number, not a list"),
    (condition("vix_above", -1), "0.value", "from 0 to 10,000"),
    (condition("vix_below", 0), "0.value", "more than 0, up to 10,000"),
    (condition("vix_above", math.nan), "0.value", "finite number"),
    (condition("vix_above", math.inf), "0.value", "finite number"),
    (condition("vix_above", HUGE), "0.value", "out of range"),
    (condition("error_rate_above", 10), "0.value", "0.1 is 10 %"),
    (condition("position_count_above", 2.5), "0.value", "whole number"),
    (condition("drawdown_above", -500), "0.value", "from 0"),
    (condition("daily_loss_exceeded", value=False), "0.value", "Write true for the account's limit, or dollars"),
    (condition("daily_loss_exceeded", -500), "0.value", "more than 0"),
    (condition("daily_profit_reached"), "0.value", "should be a number"),
    (condition("market_open", "yes"), "0.value", "should be true or false, not a text"),
    (condition("market_close", 1), "0.value", "should be true or false"),
    (condition("time_after", "9:35"), "0.value", 'Write exchange time as "09:35:00"'),
    (condition("time_after", "25:00:00"), "0.value", "time of day"),
    (condition("time_after", "09:35:00 EST"), "0.value", "time of day"),
    (condition("time_after", 935), "0.value", "time of day"),
    (condition("time_before", "00:00"), "0.value", "never holds"),
    (condition("day_of_week", "someday"), "0.value", "Days are monday"),
    (condition("day_of_week", []), "0.value", "a day's name"),
    (condition("day_of_week", [1]), "0.value", "a day's name"),
    (condition("market_regime", "high_volatilty"), "0.value", "Did you mean 'high_volatility'?"),
    (condition("market_regime", "unknown"), "0.value", "never holds"),
    (condition("market_regime", 3), "0.value", "a regime's name"),
    (condition("liquidity_status", ["normal", ""]), "0.value", "a liquidity's name"),
    (condition("all_of", []), "0.value", "not empty"),
    (condition("any_of", condition("vix_above", 30)), "0.value", "a list of conditions"),
    (condition("none_of"), "0.value", "a list of conditions"),
    (condition("any_of", [condition("vix_above", 30), condition("gone")]), "0.value.1.condition", "no condition"),
    (condition("any_of", [condition("all_of", [condition("vix_above", "x")])]), "0.value.0.value.0.value", "number"),
    (condition("any_of", [{**condition("vix_above", 3), "fors": 1}]), "0.value.0.fors", "Did you mean 'for_s'?"),
    (condition("all_of", [condition("vix_above", 30)], clear_value=1), "0.clear_value", "reads nothing itself"),
    (condition("all_of", [condition("vix_above", 30)], max_age_s=1), "0.max_age_s", "Set it on its conditions"),
    (condition("all_of", [condition("vix_above", 3)] * 51), "0.value", "more than 50"),
    (nested(SETTINGS.rule_depth_max + 1), "0" + ".value.0" * SETTINGS.rule_depth_max + ".value", "nested too deep"),
    (condition("vix_above", 30, hysteresis=3), "0.hysteresis", "Known: condition, value, for_s"),
    (condition("vix_above", 30, for_s=-1), "0.for_s", "from 0"),
    (condition("vix_above", 30, for_s=True), "0.for_s", "should be a number"),
    (condition("vix_above", 30, for_s=HUGE), "0.for_s", "out of range"),
    (condition("vix_above", 30, cooldown_s="1m"), "0.cooldown_s", "should be a number"),
    (condition("vix_above", 30, max_age_s=0), "0.max_age_s", "more than 0"),
    (condition("vix_above", 30, clear_value=31), "0.clear_value", "wrong side of the value 30. Write one at or below"),
    (condition("vix_below", 30, clear_value=29), "0.clear_value", "Write one at or above"),
    (condition("vix_above", 30, clear_value="x"), "0.clear_value", "should be a number"),
    (condition("daily_loss_exceeded", clear_value=3), "0.clear_value", "has no clear_value here"),
    (condition("daily_loss_exceeded", 500, clear_value=True), "0.clear_value", "wrong side"),
    (condition("market_open", clear_value=3), "0.clear_value", "has no clear_value here"),
    (condition("market_regime", "normal", clear_value="thin"), "0.clear_value", "has no clear_value here"),
    (condition("time_after", "10:00", clear_value="09:00"), "0.clear_value", "has no clear_value here"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "path", "says"), WRONG, ids=itertools.count())
def test_a_wrong_rule_is_refused_by_the_path_to_its_field(found, path, says):
    """The path leads to the very field, and the message to what to write."""
    field, told = refused(stop(found))
    assert field == f"{STOP}.{path}"
    assert says in told


@pytest.mark.parametrize(("found", "path", "says"), WRONG, ids=itertools.count())
def test_the_same_rule_stored_long_ago_is_read_and_reported(found, path, says):
    """Reading never raises: what cannot be used is known to be of no use."""
    sets = compile_stored(orjson.dumps(stop(found)).decode())
    assert len(sets.stop) == 1


@pytest.mark.parametrize("found", [{}, "none", None, 7])
def test_a_rule_set_is_a_list(found):
    """Anything else is refused by name."""
    assert refused({"auto_stop_conditions": found})[0] == STOP


def test_rules_hundreds_of_levels_deep_are_refused_like_five():
    """Depth is not a way to break the edge."""
    assert "too deep" in refused(stop(nested(150)))[1]
    assert "too deep" in refused(stop(nested(200)))[1]


def both(first, second):
    return [condition(*first), condition(*second)]


IMPOSSIBLE = [
    (both(("time_after", "10:00"), ("time_before", "10:00")), "1.value", "never hold together"),
    (both(("time_before", "09:00"), ("time_after", "10:00")), "0.value", "never hold together"),
    (both(("vix_above", 30), ("vix_below", 30)), "1.value", "Give vix_below the larger value"),
    (both(("spy_change_above", 1), ("spy_change_below", -1)), "1.value", "never hold together"),
    (both(("day_of_week", "mon"), ("day_of_week", ["tue", "wed"])), "1.value", "no name in common"),
    (both(("market_regime", "normal"), ("market_regime", "high_volatility")), "1.value", "no name in common"),
    ([condition("all_of", both(("vix_above", 30), ("vix_below", 20)))], "0.value.1.value", "never hold together"),
    ([condition("vix_above", 30), condition("all_of", [condition("vix_below", 20)])], "1.value.0.value", "never"),
    ([condition("duration_above", 5)], "0.value", "has not started"),
    ([condition("any_of", [condition("duration_above", 5)])], "0.value.0.value", "has not started"),
    ([condition("none_of", [condition("drawdown_above", 5)])], "0.value.0.value", "has not started"),
    ([condition("position_count_above", 0)], "0.value", "has not started"),
    ([condition("drawdown_above", 5)], "0.value", "has not started"),
    ([condition("daily_loss_exceeded")], "0.value", "refuses every start"),
    (
        both(("market_open", True), ("market_open", False)),
        "1.value",
        "market_open true and market_open false never hold",
    ),
    (both(("market_close", True), ("market_open", True)), "0.value", "today's close has passed"),
    (both(("market_open", True), ("time_before", "09:30:00")), "1.value", "it opens at 09:30:00, and market_open must"),
    (both(("market_open", True), ("day_of_week", "sunday")), "1.value", "XNYS does not trade on a sunday"),
    (both(("market_open", True), ("minutes_after_open_above", 400)), "1.value", "never open for more than 390 minutes"),
    (both(("market_open", True), ("liquidity_status", "stale")), "1.value", "needs fresh quotes, not stale ones"),
    ([condition("vix_below", 30), condition("none_of", [condition("vix_below", 30)])], "1.value.0.value", "exclude"),
    ([condition("vix_below", 30), condition("none_of", [condition("vix_below", 35)])], "1.value.0.value", "exclude"),
    ([condition("all_of", both(("market_open", True), ("day_of_week", "sat")))], "0.value.1.value", "on a saturday"),
]


@pytest.mark.parametrize(("found", "path", "says"), IMPOSSIBLE, ids=itertools.count())
def test_rules_that_could_never_come_true_together_are_refused(found, path, says):
    """In a set where all must hold, and in an all_of anywhere."""
    field, told = refused(start(*found), SessionType.REGULAR)
    assert field == f"{START}.{path}"
    assert says in told


# Of what looks like them, this can come true.
POSSIBLE = [
    [condition("none_of", [condition("vix_below", 25)]), condition("vix_below", 30)],
    [condition("vix_below", 30), condition("none_of", [condition("vix_below", 30, for_s=60)])],
    [condition("any_of", [condition("duration_above", 5), condition("vix_below", 30)])],
    both(("market_open", True), ("time_before", "09:30:01")),
    both(("market_open", True), ("minutes_after_open_above", 389)),
    both(("market_open", True), ("day_of_week", ["sun", "mon"])),
    both(("market_open", False), ("day_of_week", "sunday")),
    both(("market_open", True), ("liquidity_status", ["stale", "normal"])),
    [condition("market_open", max_age_s=600), condition("liquidity_status", "stale")],
    [condition("daily_loss_exceeded", 500)],  # of the others on a shared account
]


@pytest.mark.parametrize("found", POSSIBLE, ids=itertools.count())
def test_what_only_looks_impossible_is_taken(found):
    """The table refuses nothing that could fire."""
    check_rules(start(*found), session_type=SessionType.REGULAR)


def test_what_no_start_can_see_a_resume_may():
    """A session that was paused lasts, holds positions, and has seen a close."""
    found = [condition("duration_above", 5), condition("position_count_above", 0), condition("market_close")]
    check_rules({"auto_resume_conditions": [*found, condition("market_open")]}, session_type=SessionType.REGULAR)


def test_hours_are_those_of_the_calendar_and_the_type():
    """Pre-market opens at four; and what must hold together in an all_of of any set is looked at."""
    early = both(("market_open", True), ("time_before", "09:00:00"))
    check_rules(start(*early), session_type=SessionType.EXTENDED_HOURS)
    check_rules({"auto_stop_conditions": early}, session_type=SessionType.REGULAR)
    in_stop = {"auto_stop_conditions": [condition("all_of", early)]}
    assert refused(in_stop, SessionType.REGULAR)[0] == f"{STOP}.0.value.1.value"


def test_a_rule_without_its_value_is_told_so():
    """Nobody wrote true."""
    field, told = refused(stop({"condition": "vix_above"}))
    assert (field, "is missing: vix_above needs one. Write a number" in told) == (f"{STOP}.0.value", True)


def test_what_is_impossible_together_may_stand_side_by_side():
    """One of them is enough in stop rules and in any_of."""
    apart = both(("vix_above", 30), ("vix_below", 20))
    check_rules({"auto_stop_conditions": apart, "auto_start_conditions": [condition("any_of", apart)]})
    with pytest.raises(InvalidArgument, match="never hold together"):
        check_rules(stop(condition("any_of", [condition("all_of", apart)])))


def test_a_start_after_the_close_is_refused_by_the_sessions_own_calendar_type_and_day():
    """Regular ends 16:00, extended 20:00, the day after Thanksgiving 13:00, London 16:30."""
    late = condition("time_after", "16:00:00")
    field, told = refused(start(late), SessionType.REGULAR)
    assert (field, "XNYS is open: it closes at 16:00:00" in told) == (f"{START}.0.value", True)
    check_rules(start(late), session_type=SessionType.EXTENDED_HOURS)
    check_rules(start(late), session_type=None)
    check_rules(start(condition("time_after", "15:59:59")), session_type=SessionType.REGULAR)
    check_rules(start(late, calendar="XLON"), session_type=SessionType.REGULAR)
    assert refused(start(condition("all_of", [condition("time_after", "20:00")])))[0] == f"{START}.0.value.0.value"
    half_day = {"feed": {"kind": "synthetic", "trade_date": "2018-11-23"}}
    assert "13:00:00" in refused(start(condition("time_after", "14:00"), **half_day), SessionType.PAPER_TRADING)[1]
    check_rules(stop(condition("time_after", "16:20")), session_type=SessionType.REGULAR)


def test_a_rule_on_a_calendar_there_is_not_is_refused_by_the_calendars_name():
    """Which is the field that is wrong."""
    assert refused(start(condition("time_after", "15:00"), calendar="MARS"))[0] == "config.calendar"


def test_every_condition_and_option_that_is_right_is_taken_and_kept_as_written():
    """So that what an operator reads back is what they wrote."""
    values = {
        "market_open": True, "market_close": False, "time_after": "09:35", "time_before": "15:45:00",
        "day_of_week": ["mon", "Friday"], "market_regime": ["normal", "our_own_regime"], "liquidity_status": "thin",
        "error_rate_above": 0.1, "spy_change_below": -2.5,
    }  # fmt: skip
    found = [condition(name, values.get(name, 5), for_s=5, cooldown_s=0.5) for name in LEAVES]
    found += [condition(name, [condition("vix_above", 30, clear_value=25, max_age_s=5)], for_s=1) for name in GROUPS]
    kept = checked_config(stop(*found))["auto_stop_conditions"]
    assert [{key: value for key, value in one.items() if value is not None} for one in kept] == found


def test_a_stored_config_with_a_condition_nobody_knows_any_more_can_be_read():
    """A plug-in that was removed must not take its sessions with it."""
    config = SessionConfig.model_validate(stop(condition("full_moon", {"phase": 1})))
    assert config.auto_stop_conditions[0].condition == "full_moon"


def test_only_the_rule_sets_an_edit_brings_are_checked():
    """An old rule that is refused today stands in nobody's way."""
    config = stop(condition("full_moon")) | start(condition("vix_below", 30)) | {"save_interval_s": 7}
    checked_config(config, changed={"save_interval_s", "auto_start_conditions"})
    with pytest.raises(InvalidArgument, match="full_moon"):
        checked_config(config, changed={"auto_stop_conditions"})
