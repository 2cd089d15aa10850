"""Conditions of other packages: they work, and one that raises, hangs, lies or dies is contained and says so."""

import os
import signal
import sys
import textwrap
import time
from dataclasses import replace
from datetime import date
from decimal import Decimal

import orjson
import psutil
import pytest
from rules_harness import S, condition, facts, rules, stored_rules, utc

from fntx_sessions.automation.rules import plugin_desk as desks
from fntx_sessions.automation.rules import plugin_process, registry
from fntx_sessions.automation.rules.checking import check_rules
from fntx_sessions.automation.rules.engine import evaluate
from fntx_sessions.automation.rules.model import Action, Memory, PositionFacts
from fntx_sessions.automation.rules.plugin_child import PluginChild
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.settings import Settings

MODULE = """
import os, sys, time
from decimal import Decimal
from fntx_sessions.automation.rules.model import Reading


class Base:
    ordered = 0
    def check(self, value):
        return value
    def read(self, facts, value):
        return Reading(facts.market.vix, facts.market.age_s)
    def holds(self, found, value):
        return found > value


class VixTwice(Base):
    name, ordered = "vix_twice", 1
    def check(self, value):
        if not isinstance(value, int | float):
            raise ValueError("should be a number of points")
        return value * 2
    def read(self, facts, value):
        print("chatter on standard output")
        assert facts.calendar.name == "XNYS" and isinstance(facts.session.daily_pnl, Decimal)
        return Reading(facts.market.vix * 2, facts.market.age_s, note=f"VIX twice {facts.market.vix * 2}")


class HalfDay(Base):
    name = "half_day"
    def read(self, facts, value):
        return Reading(facts.calendar.is_half_day(facts.calendar.local_date(facts.now)))
    def holds(self, found, value):
        return found is value


class ShortLegs(Base):
    name = "short_legs"
    def read(self, facts, value):
        short = [one for one in facts.session.positions if one.quantity < 0]
        return Reading(len(short), facts.session.age_s, note=f"short {short}")


class Raises(Base):
    name = "raises"
    def read(self, facts, value):
        raise RuntimeError("no moon tonight")


class Quits(Raises):
    name = "quits"
    def read(self, facts, value):
        sys.exit(3)


class Dies(Raises):
    name = "dies"
    def read(self, facts, value):
        os.kill(os.getpid(), 9)


class Hangs(Raises):
    name = "hangs"
    def check(self, value):
        if value == 1:
            self.read(None, None)
        return value
    def read(self, facts, value):
        while True:
            try:
                time.sleep(3600)
            except BaseException:
                pass


class Rubbish(Raises):
    name = "rubbish"
    def read(self, facts, value):
        return 42


class Object(Raises):
    name = "an_object"
    def read(self, facts, value):
        return Reading(object())


class Maybe(Base):
    name = "maybe"
    def holds(self, found, value):
        return "yes"


class Endless(Raises):
    name = "endless"
    def read(self, facts, value):
        return Reading("x" * 100_000, decided=True)


class NotANumber(Raises):
    name = "not_a_number"
    def read(self, facts, value):
        return Reading(float("nan"))


class HangsOnCheck(Base):
    name = "hangs_on_check"
    def check(self, value):
        time.sleep(3600)
"""
POINTS = {
    "vix_twice": "moons:VixTwice", "raises": "moons:Raises", "quits": "moons:Quits", "dies": "moons:Dies",
    "hangs": "moons:Hangs", "rubbish": "moons:Rubbish", "an_object": "moons:Object", "maybe": "moons:Maybe",
    "endless": "moons:Endless", "not_a_number": "moons:NotANumber", "hangs_on_check": "moons:HangsOnCheck",
    "gone": "moons_gone:Gone", "half_day": "moons:HalfDay", "short_legs": "moons:ShortLegs",
    "vix_above": "moons:VixTwice", "Bad Name": "moons:VixTwice",
}  # fmt: skip
SETTINGS = Settings(
    rule_plugin_limit_ms=300, rule_plugin_start_s=30, rule_plugin_budget_s=60, rule_plugin_failures_max=100
)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """An installed package of conditions, found by its entry points as any other."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "moons.py").write_text(textwrap.dedent(MODULE))
    info = folder / "moons-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: moons\nVersion: 1.0\n")
    lines = [f"{name} = {target}" for name, target in POINTS.items()]
    (info / "entry_points.txt").write_text("[fntx_sessions.conditions]\n" + "\n".join(lines) + "\n")
    sys.path.insert(0, str(folder))
    registry.forget()
    yield
    sys.path.remove(str(folder))
    registry.forget()


def _of(settings, monkeypatch):
    made = desks.PluginDesk(settings)
    monkeypatch.setattr("fntx_sessions.automation.rules.plugins.plugin_desk", lambda: made)
    return made


@pytest.fixture(scope="module")
def shared_desk(package):
    """One desk for all tests that need no settings of their own; it is made to begin processes anew all the time."""
    made = desks.PluginDesk(SETTINGS)
    yield made
    made.close()


@pytest.fixture
def desk(shared_desk, monkeypatch):
    """The desk that conditions of this test are asked at."""
    monkeypatch.setattr("fntx_sessions.automation.rules.plugins.plugin_desk", lambda: shared_desk)
    return shared_desk


def judged(raw, found=None, memory=None, **sets):
    ruleset = stored_rules(**(sets or {"stop": [raw, condition("vix_above", 10)]}))
    return evaluate(ruleset, found or facts(), memory or Memory(), SETTINGS, holds=frozenset(), positions=True)


def test_a_condition_of_another_package_works_like_our_own(desk):
    """Checked at the edge, read, compared, held by clear_value, told in its own words; its print harms nobody."""
    verdict = judged(condition("vix_twice", 17.5))
    assert verdict.truths["stop"][0].why == "VIX twice 36.0, data 4 s old"
    assert (verdict.action, verdict.truths["stop"][0].value) == (Action.STOP, 36.0)
    held = judged(None, pause=[condition("vix_twice", 17.5, clear_value=10)])
    later = judged(None, facts(market={"vix": 15.0}), held.memory, pause=[condition("vix_twice", 17.5, clear_value=10)])
    assert later.action is Action.PAUSE
    assert judged(None, facts(market={"age_s": 99.0}), stop=[condition("vix_twice", 17.5)]).missing == ("stop.0",)
    check_rules({"auto_stop_conditions": [condition("vix_twice", 17.5, clear_value=10)]})


def test_a_plugin_sees_each_leg_as_it_was_reported(desk):
    """What remote agents report leg by leg reaches it whole: strikes as decimals, moments and days as such."""
    put = PositionFacts("t1", "SPY", -2, utc(2018, 2, 5, 14, 31), "put", Decimal("264.5"), date(2018, 2, 5))
    found = facts(session={"positions": (put, PositionFacts("t2", "SPY", 100, utc(2018, 2, 5, 14, 40)))})
    truth = judged(condition("short_legs", 0), found).truths["stop"][0]
    assert (truth.holds, truth.value) == (True, 1)
    assert truth.why.startswith(f"short {[put]}")


def test_a_plugin_may_take_its_time_to_load_the_calendar(desk):
    """Loading takes seconds, and they are not held against the plug-in's own limit."""
    assert judged(condition("half_day", value=True)).truths["stop"][0].holds is False
    friday = facts(utc(2018, 11, 23, 15, 0))
    assert judged(condition("half_day", value=True), friday).truths["stop"][0].holds is True


def test_a_plugins_values_are_checked_at_the_edge_by_the_plugin(desk):
    """In its own words, at the path of the value."""
    for raw, path in (
        (condition("vix_twice", "much"), "0.value"),
        (condition("vix_twice", 10, clear_value=20), "0.clear_value"),
        (condition("raises", 1, clear_value=0), "0.clear_value"),
    ):
        with pytest.raises(InvalidArgument) as raised:
            rules(stop=[raw])
        assert raised.value.named()["field"] == f"config.auto_stop_conditions.{path}"


BROKEN = {
    "raises": "raised RuntimeError: no moon tonight",
    "quits": "raised SystemExit: 3",
    "dies": "broke its process",
    "hangs": "did not answer within 300 ms",
    "rubbish": "returned rubbish: read gave int",
    "an_object": "returned rubbish: read gave what is no plain JSON",
    "maybe": "returned rubbish: holds gave str",
    "endless": "broke its process",
    "not_a_number": "no value came",
    "gone": "raised ModuleNotFoundError: No module named 'moons_gone'",
    "hangs_on_check": "did not answer within 300 ms",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_reads_as_not_known_with_the_reason_and_the_rules_beside_it_go_on(desk, name):
    """It starts nothing, is reported as missing, and does not keep a sound stop rule from firing."""
    verdict = judged(condition(name, 3))
    broken = verdict.truths["stop"][0]
    assert broken.holds is None
    assert BROKEN[name] in broken.why
    assert verdict.missing == ("stop.0",)
    assert verdict.action is Action.STOP
    started = judged(None, replace(facts(), status=S.INITIALIZING), start=[condition(name, 3)])
    assert started.action is None
    assert judged(condition("vix_twice", 1)).truths["stop"][0].holds is True


@pytest.mark.parametrize("name", ["hangs_on_check", "gone"])
def test_a_plugin_that_cannot_check_a_value_has_its_rule_refused(desk, name):
    """With the reason, and what to mend; nothing hangs."""
    with pytest.raises(InvalidArgument) as raised:
        rules(stop=[condition(name, 3)])
    assert raised.value.named()["field"] == "config.auto_stop_conditions.0.value"
    assert "cannot be checked" in str(raised.value)
    assert f"Mend or remove {POINTS[name]}" in str(raised.value)


def test_names_that_are_taken_or_impossible_are_passed_over_and_reported(package):
    """Nobody replaces a condition of ours, and nothing is lost in silence."""
    assert registry.unusable_conditions() == {
        "vix_above of moons:VixTwice": "a condition of that name comes with this package",
        "Bad Name": "names are lower case letters, digits and underscores",
    }
    with pytest.raises(InvalidArgument, match="cannot be used"):
        rules(stop=[condition("Bad Name", 1)])


def test_a_plugin_that_goes_on_failing_is_set_aside_for_a_while(package, monkeypatch):
    """After so many failures in a row it is not asked any more, which costs nothing, and says until when and why."""
    desk = _of(SETTINGS.model_copy(update={"rule_plugin_failures_max": 2, "rule_plugin_aside_s": 3600}), monkeypatch)
    try:
        whys = [judged(condition("dies", 1)).truths["stop"][0].why for _ in range(4)]
    finally:
        desk.close()
    assert "broke its process" in whys[1]
    assert all("set aside for" in why and "broke its process" in why for why in whys[2:])
    assert desk.failed["dies"] == 2


def test_plugins_together_have_a_share_of_the_time_and_no_more(package, monkeypatch):
    """A sweep over thousands of sessions is not at the mercy of a condition that is merely slow."""
    desk = _of(SETTINGS.model_copy(update={"rule_plugin_budget_s": 1e-6, "rule_interval_s": 3600}), monkeypatch)
    try:
        whys = [judged(condition("vix_twice", 1)).truths["stop"][0].why for _ in range(2)]
    finally:
        desk.close()
    assert whys[0].startswith("VIX twice")
    assert "was not asked: plug-ins took" in whys[1]


def test_an_interruption_in_the_middle_leaves_no_answer_to_the_wrong_question(desk, monkeypatch):
    """A worker told to end by its time limit raises anywhere; the process with the late answer is gone."""
    judged(condition("vix_twice", 1))
    before = desk._child.pid
    with monkeypatch.context() as patched:
        patched.setattr(PluginChild, "_line", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            judged(condition("vix_twice", 1))
    assert not psutil.pid_exists(before)
    assert judged(condition("vix_twice", 1)).truths["stop"][0].holds is True


def _interrupted(*_):
    raise KeyboardInterrupt


def test_a_forked_child_takes_nothing_of_its_parents_plugin_process(package):
    """Pools fork: parent and child must not read each other's answers, nor end each other's process."""
    desks.plugin_desk.cache_clear()
    own = desks.plugin_desk()
    own.settings = SETTINGS
    try:
        assert judged(condition("vix_twice", 1)).truths["stop"][0].holds is True
        child = os.fork()
        if child == 0:
            os._exit(0 if desks.plugin_desk() is not own and own._child._process.stdin.closed else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert judged(condition("vix_twice", 1)).truths["stop"][0].holds is True
    finally:
        own.close()
        desks.plugin_desk.cache_clear()


def test_a_plugin_process_ends_with_the_process_that_began_it(desk):
    """Nobody has to look for it: the end of its input is its end."""
    judged(condition("vix_twice", 1))
    process = desk._child._process
    process.stdin.close()
    assert process.wait(timeout=30) == 0


def test_a_hung_plugin_is_ended_by_the_kernel_where_nobody_is_left_to_end_it(package):
    """The process has an alarm armed that no exception handler of a plug-in can swallow."""
    child = PluginChild()
    soon = 0.5 - plugin_process.GRACE_S
    question = {"name": "hangs", "what": "look", "value": 1, "clear": None, "limit_s": soon, "facts": {}}
    child._write(orjson.dumps(question) + b"\n", time.monotonic() + 5)
    try:
        assert child._process.wait(timeout=60) == -signal.SIGALRM
    finally:
        child.kill()
