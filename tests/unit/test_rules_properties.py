"""What holds for every course of the market: dwell, hysteresis, cooldown, restarts, clocks that jump, unknowns."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some
from rules_harness import NOW, RULE_HELD, S, condition, facts, judged, rules

from fntx_sessions.automation.rules.checking import check_rules
from fntx_sessions.automation.rules.compile import compile_stored
from fntx_sessions.automation.rules.conditions import GROUPS, LEAVES
from fntx_sessions.automation.rules.conditions.groups import all_of, any_of, none_of
from fntx_sessions.automation.rules.model import Action, Memory
from fntx_sessions.automation.rules.options import KEYS
from fntx_sessions.exceptions import InvalidArgument

three = some.sampled_from([True, False, None])
levels = some.one_of(some.none(), some.integers(20, 40).map(float))
courses = some.lists(some.tuples(some.integers(0, 40), levels), min_size=1, max_size=25)


def run(ruleset, course, *, restarts=False):
    """Yield (seconds, vix, truth of the one pause rule) along a course of (seconds later, VIX)."""
    memory, second = Memory(), 0
    for later, vix in course:
        second += later
        verdict = judged(ruleset, facts(NOW + timedelta(seconds=second), market={"vix": vix}), memory)
        memory = Memory(json.loads(json.dumps(verdict.memory.rules))) if restarts else verdict.memory
        yield second, vix, verdict.truths["pause"][0]


@given(courses, some.integers(1, 60))
def test_nothing_fires_before_it_was_seen_to_hold_for_so_long(course, for_s):
    """At every firing there is an unbroken run of looks that held, at least for_s long; and such a run does fire."""
    began = None
    for second, vix, found in run(rules(pause=[condition("vix_above", 30, for_s=for_s)]), course):
        holds = vix is not None and vix > 30
        began = (second if began is None else began) if holds else None
        assert found.met is (holds and second - began >= for_s)


@given(courses, some.integers(20, 30))
def test_between_value_and_clear_value_a_rule_stays_as_it_was(course, clear):
    """It begins above the value, ends at or below clear_value, and changes nowhere else; the dark is neither."""
    held = False
    for _, vix, found in run(rules(pause=[condition("vix_above", 30, clear_value=clear)]), course):
        if vix is None:
            assert found.holds is None
            continue
        held = vix > 30 or (held and vix > clear)
        assert found.holds is held


@given(courses, some.integers(0, 30), some.integers(20, 30), some.integers(0, 90))
def test_a_restart_between_any_two_looks_changes_nothing(course, for_s, clear, cooldown_s):
    """What is remembered is all in Memory, and survives being stored as JSON."""
    ruleset = rules(pause=[condition("vix_above", 30, for_s=for_s, clear_value=clear, cooldown_s=cooldown_s)])
    assert list(run(ruleset, course)) == list(run(ruleset, course, restarts=True))


@given(courses, some.integers(1, 90))
def test_two_firings_of_a_rule_are_a_cooldown_apart(course, cooldown_s):
    """However the market moves between them."""
    ruleset = rules(pause=[condition("vix_above", 30, cooldown_s=cooldown_s)])
    fired = [second for second, _, found in run(ruleset, course) if found.met]
    assert all(later - first >= cooldown_s for first, later in pairwise(fired))


@given(some.lists(some.integers(-100_000, 100_000), min_size=1, max_size=10), some.integers(1, 60))
def test_a_clock_that_jumps_back_costs_at_most_one_more_wait(jumps, for_s):
    """Wherever the clock went before, for_s and cooldown_s of steady looks later the rule fires; never at once."""
    ruleset = rules(pause=[condition("vix_above", 30, for_s=for_s, cooldown_s=for_s)])
    memory = Memory()
    for second in jumps:
        found = facts(NOW + timedelta(seconds=second), market={"vix": 31.0})
        memory = judged(ruleset, found, memory).memory
    last = NOW + timedelta(seconds=jumps[-1])
    assert all(entry["since"] <= last.isoformat(timespec="microseconds") for entry in memory.rules.values())
    after = judged(ruleset, facts(last + timedelta(seconds=for_s), market={"vix": 31.0}), memory)
    assert after.truths["pause"][0].met


@pytest.mark.parametrize("combine", [all_of, any_of])
@given(some.lists(three, max_size=6), some.data())
def test_more_truth_never_makes_a_group_less_true(combine, parts, data):
    """Monotony: turning a part from false to not known to true moves the group the same way or not at all."""
    order = [False, None, True]
    better = [data.draw(some.sampled_from(order[order.index(part) :])) for part in parts]
    assert order.index(combine(better)) >= order.index(combine(parts))
    assert order.index(none_of(better)) <= order.index(none_of(parts))


@given(some.lists(three, min_size=1, max_size=6))
def test_what_is_not_known_is_as_if_either_could_come_true(parts):
    """A group that is known stays what it is, whatever its unknown parts turn out to be."""
    for combine in (all_of, any_of, none_of):
        found = combine(parts)
        if found is not None:
            assert combine([True if one is None else one for one in parts]) is found
            assert combine([False if one is None else one for one in parts]) is found


@given(some.floats(15, 45), some.floats(15, 45), some.floats(0, 10))
def test_a_higher_vix_never_turns_vix_above_off_nor_vix_below_on(limit, vix, more):
    """Monotony of the ordered conditions."""
    for name, order in (("vix_above", 1), ("vix_below", -1)):
        ruleset = rules(stop=[condition(name, limit)])
        first, second = (
            judged(ruleset, facts(market={"vix": level})).truths["stop"][0].holds for level in (vix, vix + more)
        )
        assert (second - first) * order >= 0


@given(some.sets(some.sampled_from(["vix", "regime", "spot", "market", "session"])))
def test_less_data_only_ever_takes_starts_and_resumes_away(lost):
    """Nor does a rule in the negative act on what it cannot see, nor any while what stops it is not seen."""
    needs = [
        condition("none_of", [condition("vix_above", 90)]),
        condition("any_of", [condition("market_regime", "normal"), condition("vix_above", 90)]),
    ]
    market = replace(facts().market, **dict.fromkeys(lost & {"vix", "regime", "spot"}))
    found = replace(facts(), **{"market": market} | dict.fromkeys(lost & {"market", "session"}))
    blind = bool(lost & {"vix", "regime", "market"})
    guards = [condition("vix_above", 95), condition("any_of", [condition("spy_change_below", -90)])]
    guarded = dict.fromkeys(("stop", "pause"), guards)
    unseen = bool(lost & {"vix", "spot", "market"})
    begun = judged(rules(start=[condition("time_after", "00:00")], **guarded), replace(found, status=S.INITIALIZING))
    assert begun.action is (None if unseen else Action.START)
    begun = judged(rules(start=needs), replace(found, status=S.INITIALIZING))
    assert begun.action is (None if blind else Action.START)
    resumed = judged(rules(resume=needs), replace(found, status=S.PAUSED), holds=RULE_HELD)
    assert resumed.action is (None if blind else Action.RESUME)


def _odd(name, value, options):
    return {"condition": name, "value": value, **options}


NAMES = [*LEAVES, *GROUPS, "gone", ""]
json_values = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
options = some.dictionaries(some.sampled_from([*KEYS[2:], "nonsense"]), json_values, max_size=2)
odd_rules = some.recursive(
    json_values | some.builds(_odd, some.sampled_from(NAMES), json_values, options),
    lambda inner: some.builds(_odd, some.sampled_from([*GROUPS]), some.lists(inner, max_size=3), options),
    max_leaves=4,
)


@given(json_values | some.lists(odd_rules, max_size=3), some.sampled_from(list(S)))
def test_no_stored_rule_breaks_an_evaluation_and_no_written_one_the_edge(found, status):
    """Reading takes whatever is stored; the edge takes it too, or refuses it by path."""
    sets = {f"auto_{name}_conditions": found for name in ("start", "stop", "pause", "resume")}
    with suppress(InvalidArgument):
        check_rules(sets)
    written = json.dumps(sets)
    verdict = judged(compile_stored(written), facts(status=status), holds=RULE_HELD)
    assert verdict.why
    json.dumps([one.to_json() for truths in verdict.truths.values() for one in truths], allow_nan=False)
    again = judged(compile_stored(written), facts(status=status), verdict.memory, holds=RULE_HELD)
    assert again.why
