"""Rule sweeps and hosts killed around a rule's command: nothing is done twice, nothing forgotten, no claim stuck."""

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hosting import SYSTEM, S, T, make_hosting, shared
from lifecycle_harness import World, check_session
from rules_world import RuledDesk, ruled_desk
from write_kills import deaths

from fntx_sessions.automation.rules import sweep
from fntx_sessions.testing import failpoints_armed

STORM = [{"condition": "market_regime", "value": "high_volatility", "cooldown_s": 3600}]
NOON = datetime(2018, 1, 9, 17, tzinfo=UTC)
_LAPSE = "UPDATE session_work SET rule_claimed_until = now() - interval '1 s' WHERE rule_claimed_until IS NOT NULL"
_DUE = "UPDATE session_work SET next_rule_at = now() WHERE next_rule_at IS NOT NULL"
_PAUSES = "SELECT actor, reason FROM transitions WHERE session_id = :id AND trigger = 'pause_session'"


@pytest.fixture
def desk(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[RuledDesk]:
    with ruled_desk(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def killed_at(place: str, act: Callable[[], object]) -> None:
    """Do something in a process of its own that dies at a failpoint."""
    child = os.fork()
    if child == 0:
        with failpoints_armed(f"{place}:kill"):
            act()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def in_own(desk: RuledDesk, act: Callable[[RuledDesk], object]) -> None:
    with make_hosting(desk.desk.settings) as own:
        act(RuledDesk(own.desk))


def sweep_once(desk: RuledDesk) -> None:
    in_own(desk, lambda own: sweep.evaluate_due(own.desk, SYSTEM))


@pytest.mark.parametrize(
    ("place", "paused"), [("rules.claimed", False), ("rules.answered", True), ("rules.asked", True)]
)
def test_a_killed_sweep_leaves_the_rest_to_the_next(desk, place, paused):
    """Killed before it judged, after a command, before the write: one pause in the end, and the claim lapses."""
    desk.at("11:00:00")
    session_id = desk.running(pause=STORM)
    desk.publish(market_regime="high_volatility")
    desk.run(_DUE)
    killed_at(place, lambda: sweep_once(desk))
    assert (desk.status(session_id) is S.PAUSED) is paused
    assert desk.decisions(session_id) == []
    sweep_once(desk)
    assert desk.decisions(session_id) == [], "the dead one's claim still stands"
    desk.run(_LAPSE)
    sweep_once(desk)
    assert desk.status(session_id) is S.PAUSED
    [pause] = desk.rows(_PAUSES, id=session_id)
    assert pause["actor"] == SYSTEM.name
    assert "high_volatility" in pause["reason"], "the transition says why, whatever became of the decision"
    assert len(desk.decisions(session_id)) == 1
    assert desk.rows("SELECT 1 FROM session_work WHERE rule_claimed_until IS NOT NULL") == []
    check_session(World(desk.desk.engine, desk.desk.settings), session_id)


def test_a_sweep_killed_at_any_write_is_gone_on_with(desk, tmp_path):
    """Before its first write, before its second, and so on: the session is paused once, and decided on record."""
    at = {}

    def fresh():
        desk.run("UPDATE session_work SET next_rule_at = NULL")
        desk.at("11:00:00")
        at["id"] = desk.running(pause=STORM)
        desk.publish(market_regime="high_volatility")
        desk.run(_DUE)

    for died in deaths(lambda: sweep_once(desk), tmp_path, fresh):
        desk.run(_LAPSE)
        desk.run(_DUE)
        sweep_once(desk)
        assert desk.status(at["id"]) is S.PAUSED, died
        assert len(desk.rows(_PAUSES, id=at["id"])) == 1, died
        assert desk.decisions(at["id"])[-1]["status"] in (S.ACTIVE, S.PAUSED), died


@pytest.mark.parametrize("place", ["step.finished", "rules.answered"])
def test_a_host_killed_around_a_rules_command_has_it_done_once(desk, place):
    """Killed with the bar stored and the pause not asked, or asked and not noted: the next process ends the same."""
    noon = [{"condition": "time_after", "value": "12:00:00"}]
    session_id = desk.started("backtest", config={"auto_pause_conditions": noon})

    def step(own: RuledDesk) -> None:
        for _ in range(100):
            own.step()

    if place == "step.finished":
        desk.walk(session_id, lambda row: row["clock_at"] == NOON, limit=200)
    killed_at(place, lambda: in_own(desk, step))
    desk.walk(session_id, lambda row: row["status"] == S.PAUSED)
    assert len(desk.rows(_PAUSES, id=session_id)) == 1
    desk.do(T.STOP, session_id)
