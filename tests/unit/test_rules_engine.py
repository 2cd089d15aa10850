"""What is done, in which status, by which set, and the sentence that says why, or why not."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from rules_harness import NOW, RULE_HELD, S, condition, facts, judged, rules, stored_rules

from fntx_sessions.automation.rules.model import PAST, Action, Memory
from fntx_sessions.schemas import Hold

TRUE, FALSE = condition("vix_above", 10), condition("vix_above", 90)
UNKNOWN = condition("market_regime", "normal")  # with a regime of None
BLIND = {"regime": None}
SPEC_START = [condition("market_open"), condition("vix_below", 30), condition("time_after", "09:35:00")]


def at(status, **changes):
    started_at = None if status is S.INITIALIZING else NOW - timedelta(minutes=20)
    return facts(status=status, market=BLIND, **{"started_at": started_at, **changes})


@pytest.mark.parametrize(
    ("start", "action"),
    [([], None), ([TRUE], Action.START), ([TRUE, TRUE], Action.START), ([TRUE, FALSE], None), ([TRUE, UNKNOWN], None)],
)
def test_a_session_starts_when_all_start_rules_are_met_and_never_without_any(start, action):
    """All must hold; what is not known does not."""
    assert judged(rules(start=start), at(S.INITIALIZING)).action is action


@pytest.mark.parametrize(
    ("some", "fires"), [([], False), ([TRUE], True), ([FALSE, TRUE], True), ([FALSE, UNKNOWN], False)]
)
def test_one_stop_or_pause_rule_is_enough(some, fires):
    """Any will do; what is not known does not."""
    assert judged(rules(stop=some), at(S.ACTIVE)).action is (Action.STOP if fires else None)
    assert judged(rules(pause=some), at(S.ACTIVE)).action is (Action.PAUSE if fires else None)


def test_a_stop_comes_before_a_pause():
    """When both hold, the session ends."""
    assert judged(rules(stop=[TRUE], pause=[TRUE]), at(S.ACTIVE)).action is Action.STOP


ALL = {"start": [TRUE], "stop": [TRUE], "pause": [TRUE], "resume": [TRUE]}
LOOKED_AT = [
    (S.INITIALIZING, True, {"start"}),
    (S.ACTIVE, False, {"stop", "pause"}),
    (S.PAUSED, False, {"stop", "pause", "resume"}),
    (S.SUSPENDED, True, {"stop"}),
    (S.SUSPENDED, False, set()),
    (S.ERROR, True, {"stop"}),
    (S.ERROR, False, set()),
    (S.CLOSING, True, set()),
    (S.CLOSED, True, set()),
]


@pytest.mark.parametrize(("status", "positions", "looked_at"), LOOKED_AT)
def test_each_status_has_its_rule_sets(status, positions, looked_at):
    """Stop rules follow open positions into SUSPENDED and ERROR; nothing is looked at once a session closes."""
    verdict = judged(rules(**ALL), at(status), positions=positions, holds=RULE_HELD)
    assert set(verdict.truths) == looked_at
    wanted = Action.START if status is S.INITIALIZING else Action.STOP if "stop" in looked_at else None
    assert verdict.action is wanted
    assert verdict.why


@pytest.mark.parametrize(
    "holds", [{Hold.PERSON}, {Hold.PERSON, Hold.RULE}, {Hold.HALT, Hold.RULE}, {Hold.RECOVERY}, set()]
)
def test_no_rule_resumes_what_somebody_else_holds(holds):
    """A person's pause, a halt, a recovery stay until those lift them, whatever the market does."""
    verdict = judged(rules(resume=[TRUE]), at(S.PAUSED), holds=frozenset(holds))
    assert verdict.action is None
    assert verdict.why.startswith("not resumed: held by")


def test_what_a_rule_paused_a_rule_resumes():
    """All resume rules are met, and no stop or pause rule holds."""
    assert judged(rules(resume=[TRUE], pause=[FALSE]), at(S.PAUSED), holds=RULE_HELD).action is Action.RESUME
    assert judged(rules(resume=[TRUE, UNKNOWN]), at(S.PAUSED), holds=RULE_HELD).action is None
    assert judged(rules(resume=[]), at(S.PAUSED), holds=RULE_HELD).action is None


def test_nothing_resumes_while_a_pause_rule_still_holds():
    """Not even when its cooldown would let it pass: what held it would hold it again."""
    cooled = condition("vix_above", 10, cooldown_s=3600)
    ruleset = rules(resume=[TRUE], pause=[cooled])
    paused = judged(ruleset, at(S.ACTIVE))
    verdict = judged(ruleset, at(S.PAUSED, now=NOW + timedelta(seconds=5)), paused.memory, holds=RULE_HELD)
    assert verdict.action is None
    assert "what stops or pauses it holds: VIX 18 > 10" in verdict.why


def test_a_pause_rule_that_cannot_tell_keeps_nobody_from_resuming():
    """Few attempts give no error rate: a paused session, which attempts little, would never go on."""
    found = facts(status=S.PAUSED, session={"error_rate": None})
    ruleset = rules(resume=[TRUE], pause=[condition("error_rate_above", 0.1)])
    assert judged(ruleset, found, holds=RULE_HELD).action is Action.RESUME


DARK = {"vix": None, "regime": "normal"}
NEEDS_VIX = [condition("vix_above", 60), condition("any_of", [condition("vix_above", 60), condition("vix_above", 70)])]


@pytest.mark.parametrize("name", ["stop", "pause"])
@pytest.mark.parametrize("needs", NEEDS_VIX)
def test_nothing_starts_or_resumes_while_what_would_stop_it_cannot_be_seen(name, needs):
    """A feed that loses its VIX in a storm sends nobody back to opening positions."""
    calm = condition("market_regime", "normal")
    ruleset = rules(start=[calm], resume=[calm], **{name: [needs]})
    for status, action in ((S.INITIALIZING, Action.START), (S.PAUSED, Action.RESUME)):
        blind = judged(ruleset, facts(status=status, market=DARK), holds=RULE_HELD)
        assert blind.action is None
        assert blind.why.startswith(f"not {PAST[action]}: what stops or pauses it is not known: ")
        assert "VIX not known" in blind.why
        assert judged(ruleset, facts(status=status, market={"regime": "normal"}), holds=RULE_HELD).action is action


def test_what_nobody_could_know_keeps_nobody_from_starting_or_resuming():
    """Quotes at night, what a session will report once it runs, an error rate of few attempts: all harmless."""
    late = condition("time_after", "17:00")
    ruleset = rules(start=[late], resume=[late], stop=[condition("vix_above", 60)])
    for status, action in ((S.INITIALIZING, Action.START), (S.PAUSED, Action.RESUME)):
        night = facts(NOW + timedelta(hours=9), status=status, market=False)
        assert judged(ruleset, night, holds=RULE_HELD).action is action
    own = rules(start=[TRUE], stop=[condition("drawdown_above", 5), condition("error_rate_above", 0.1)])
    fresh = facts(status=S.INITIALIZING, started_at=None, session=False)
    begun = judged(own, fresh)
    assert (begun.action, set(begun.truths), set(begun.memory.rules)) == (Action.START, {"start"}, {"start.0"})


def test_the_specs_market_awareness():
    """High volatility pauses, its end resumes; what a person paused beside it stays paused."""
    ruleset = rules(
        pause=[condition("market_regime", "high_volatility")],
        resume=[condition("market_regime", ["normal", "low_volatility"])],
    )
    wild, calm = {"regime": "high_volatility"}, {"regime": "normal"}
    assert judged(ruleset, facts(market=wild)).action is Action.PAUSE
    assert judged(ruleset, facts(status=S.PAUSED, market=wild), holds=RULE_HELD).action is None
    assert judged(ruleset, facts(status=S.PAUSED, market=calm), holds=RULE_HELD).action is Action.RESUME
    assert judged(ruleset, facts(status=S.PAUSED, market=calm), holds=RULE_HELD | {Hold.PERSON}).action is None


def test_why_not_names_what_stands_in_the_way_and_nothing_else():
    """The issue's own sentence."""
    found = facts(status=S.INITIALIZING, started_at=None, market={"vix": 31.2})
    assert judged(rules(start=SPEC_START), found).why == "not started: VIX 31.2 >= 30, quote 4 s old"
    assert judged(rules(start=SPEC_START), facts(status=S.INITIALIZING, started_at=None)).why == (
        "started: market open, quote 4 s old; VIX 18 < 30, quote 4 s old; 10:00:00 is at or after 09:35:00"
    )


def test_a_sentence_has_an_end():
    """Fifty rules do not make a reason of ten thousand letters."""
    assert len(judged(rules(stop=[FALSE] * 50), at(S.ACTIVE)).why) <= 1000


def test_unknown_parts_make_a_group_unknown_unless_the_others_decide():
    """Three-valued logic: one true decides any_of, one false all_of, and the opposite of not known is not known."""
    found = at(S.ACTIVE)
    holds = {
        name: [
            judged(rules(stop=[condition(name, parts)]), found).truths["stop"][0].holds
            for parts in ([TRUE, UNKNOWN], [FALSE, UNKNOWN], [TRUE, FALSE], [UNKNOWN])
        ]
        for name in ("all_of", "any_of", "none_of")
    }
    assert holds == {
        "all_of": [None, False, False, None],
        "any_of": [True, None, True, None],
        "none_of": [False, None, False, None],
    }


def test_a_group_without_an_answer_is_reported_for_the_part_that_lacks_data():
    """The rule is named as a whole; one whose answer is known all the same is not."""
    stop = [condition("any_of", [FALSE, UNKNOWN]), condition("any_of", [TRUE, UNKNOWN])]
    assert judged(rules(stop=stop), at(S.ACTIVE)).missing == ("stop.0",)


def test_a_part_that_has_not_held_long_enough_does_not_count_in_its_group():
    """for_s of a part is waited for inside of groups as well."""
    ruleset = rules(stop=[condition("any_of", [condition("vix_above", 10, for_s=60)])])
    first = judged(ruleset, at(S.ACTIVE))
    assert first.action is None
    later = judged(ruleset, at(S.ACTIVE, now=NOW + timedelta(seconds=60)), first.memory)
    assert later.action is Action.STOP


def run(ruleset, course, memory=None):
    """Judge an active session at each (second, VIX) of a course; return the actions."""
    memory, actions = memory or Memory(), []
    for second, vix in course:
        verdict = judged(ruleset, facts(NOW + timedelta(seconds=second), market={"vix": vix}), memory)
        memory = verdict.memory
        actions.append(verdict.action)
    return actions


def test_a_rule_waits_until_it_has_held_long_enough_without_a_gap():
    """A moment on the other side, or a moment in the dark, starts the wait anew."""
    ruleset = rules(pause=[condition("vix_above", 30, for_s=10)])
    assert run(ruleset, [(0, 31), (5, 31), (9, 31), (10, 31)]) == [None, None, None, Action.PAUSE]
    assert run(ruleset, [(0, 31), (5, 29), (6, 31), (15, 31), (16, 31)])[-2:] == [None, Action.PAUSE]
    assert run(ruleset, [(0, 31), (5, None), (6, 31), (15, 31), (16, 31)])[-2:] == [None, Action.PAUSE]


def test_a_rule_holds_until_its_value_is_back_past_the_clear_value():
    """Between value and clear_value it stays as it was, and says so; a moment in the dark does not clear it."""
    ruleset = rules(pause=[condition("vix_above", 30, clear_value=25)])
    p = Action.PAUSE
    assert run(ruleset, [(0, 28), (1, 31), (2, 26), (3, None), (4, 28), (5, 25), (6, 28)]) == [
        None, p, p, None, p, None, None,
    ]  # fmt: skip
    held = judged(ruleset, facts(market={"vix": 31.0})).memory
    assert judged(ruleset, facts(market={"vix": 28.0}), held).why == (
        "paused: VIX 28 <= 30, quote 4 s old, held until <= 25"
    )
    below = rules(pause=[condition("vix_below", 12, clear_value=14)])
    assert run(below, [(0, 13), (1, 11), (2, 13.9), (3, 14), (4, 13)]) == [None, p, p, None, None]


def test_a_rule_that_fired_rests_for_its_cooldown():
    """It goes on holding, and says what it waits for; an action that was refused costs no cooldown."""
    ruleset = rules(pause=[condition("vix_above", 10, cooldown_s=60)])
    fired = judged(ruleset, facts())
    assert fired.action is Action.PAUSE
    resting = judged(ruleset, facts(NOW + timedelta(seconds=59)), fired.memory)
    assert (resting.action, resting.truths["pause"][0].holds) == (None, True)
    assert "fired 59 s ago, not again before 60 s" in resting.why
    assert judged(ruleset, facts(NOW + timedelta(seconds=60)), fired.memory).action is Action.PAUSE
    assert judged(ruleset, facts(NOW + timedelta(seconds=1)), fired.unfired).action is Action.PAUSE


def test_a_cooldown_outlives_the_time_in_which_its_set_is_not_looked_at():
    """Resumed, paused again, resumed too early: the resume rule still knows when it fired."""
    ruleset = rules(resume=[condition("vix_above", 10, cooldown_s=600)])
    resumed = judged(ruleset, at(S.PAUSED), holds=RULE_HELD)
    active = judged(ruleset, at(S.ACTIVE, now=NOW + timedelta(seconds=5)), resumed.memory)
    again = judged(ruleset, at(S.PAUSED, now=NOW + timedelta(seconds=10)), active.memory, holds=RULE_HELD)
    assert (resumed.action, again.action) == (Action.RESUME, None)


def test_how_long_something_held_begins_anew_when_its_set_is_looked_at_again():
    """A resume rule that held an hour ago has not held since."""
    ruleset = rules(resume=[condition("vix_above", 10, for_s=30)])
    before = judged(ruleset, at(S.PAUSED), holds=RULE_HELD)
    active = judged(ruleset, at(S.ACTIVE, now=NOW + timedelta(seconds=5)), before.memory)
    again = judged(ruleset, at(S.PAUSED, now=NOW + timedelta(seconds=60)), active.memory, holds=RULE_HELD)
    assert again.action is None


def test_an_edited_rule_inherits_nothing():
    """What was remembered of the rule in its place was another rule's."""
    held = judged(rules(pause=[condition("vix_above", 10, for_s=60)]), facts()).memory
    edited = rules(pause=[condition("vix_above", 11, for_s=60)])
    assert judged(edited, facts(NOW + timedelta(seconds=120)), held).action is None


def test_memory_is_plain_json():
    """It is kept in a JSON column, and comes back the same."""
    memory = judged(rules(**ALL), at(S.ACTIVE)).memory
    assert json.loads(json.dumps(memory.rules)) == memory.rules


def test_nothing_remembered_changes_while_nothing_changes():
    """So that an unchanged session costs no write."""
    ruleset = rules(stop=[FALSE, condition("all_of", [TRUE, FALSE])], pause=[condition("vix_above", 10, for_s=999)])
    first = judged(ruleset, at(S.ACTIVE))
    assert judged(ruleset, at(S.ACTIVE, now=NOW + timedelta(seconds=30)), first.memory).memory == first.memory


def test_a_decision_is_plain_json():
    """Truths are kept as decisions, groups with their parts."""
    verdict = judged(rules(stop=[condition("any_of", [TRUE, UNKNOWN]), condition("daily_loss_exceeded")]), at(S.ACTIVE))
    kept = [one.to_json() for one in verdict.truths["stop"]]
    assert json.loads(json.dumps(kept)) == kept
    assert [part["path"] for part in kept[0]["children"]] == ["stop.0.any_of.0", "stop.0.any_of.1"]


def test_a_stored_rule_that_cannot_be_used_does_not_silence_the_others():
    """It reads as not known, says why, and is reported; the stop rule beside it fires."""
    broken = [
        condition("full_moon"),
        condition("vix_above", "high"),
        condition("any_of", [condition("gone"), FALSE]),
        7,
    ]
    verdict = judged(stored_rules(stop=broken), at(S.ACTIVE))
    assert [one.holds for one in verdict.truths["stop"]] == [None, None, None, None]
    assert verdict.missing == ("stop.0", "stop.1", "stop.2", "stop.3")
    assert "there is no condition 'full_moon'" in verdict.why
    assert judged(stored_rules(stop=[*broken, TRUE]), at(S.ACTIVE)).action is Action.STOP
    assert judged(stored_rules(start=[condition("full_moon")]), at(S.INITIALIZING)).action is None


def test_a_loss_limit_that_fired_stops_a_suspended_session_with_dead_agents():
    """The latch needs no fresh report."""
    found = facts(status=S.SUSPENDED, session={"latched": True, "age_s": 4000.0, "daily_pnl": Decimal(-510)})
    assert judged(rules(stop=[condition("daily_loss_exceeded")]), found).action is Action.STOP
