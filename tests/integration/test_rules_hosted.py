"""What steps leave for rules, and rules of simulated days: judged at each bar, alike each time, in any process."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hosting import FEED, S, T, failing, forget_runtimes, shared
from rules_world import RuledDesk, ruled_desk

from fntx_sessions.agents import measures
from fntx_sessions.agents.measures import Recent
from fntx_sessions.automation.rules.facts import read_facts

# On a simulated day: out for lunch, and back.
_OUT = [{"condition": "time_after", "value": "12:00:00"}, {"condition": "time_before", "value": "13:00:00"}]
LUNCH = {
    "auto_pause_conditions": [{"condition": "all_of", "value": _OUT}],
    "auto_resume_conditions": [{"condition": "time_after", "value": "13:00:00"}],
}
NOON = datetime(2018, 1, 9, 17, tzinfo=UTC)


@pytest.fixture
def desk(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[RuledDesk]:
    with ruled_desk(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def walk_out(desk: RuledDesk, session_id) -> None:
    """Step a session until its day is over."""
    desk.walk(session_id, lambda row: row["status"] in (S.CLOSING, S.CLOSED), limit=200)


def test_a_simulated_day_is_paused_and_resumed_by_its_rules_at_the_same_bars_each_time(desk):
    """Paused at the noon bar, resumed at the one o'clock bar, by the simulated clock; twice the same decisions."""
    told = []
    for kind in ("backtest", "backtest", "paper_trading"):
        session_id = desk.started(kind, config=LUNCH)
        walk_out(desk, session_id)
        moves = [(one["clock_at"], one["action"], one["outcome"], one["why"]) for one in desk.decisions(session_id)]
        fired = [(at, action, outcome) for at, action, outcome, _ in moves if action]
        assert fired == [(NOON, "pause", "done"), (NOON + timedelta(hours=1), "resume", "done")]
        told.append(moves)
        path = [
            (one["trigger"], one["actor"])
            for one in desk.rows(
                "SELECT trigger, actor FROM transitions WHERE session_id = :id ORDER BY version", id=session_id
            )
        ]
        assert [trigger for trigger, _ in path][2:4] == [T.PAUSE, T.RESUME]
        assert len(desk.rows("SELECT 1 FROM samples WHERE session_id = :id", id=session_id)) == 82
    assert told[0] == told[1] == told[2]


def test_a_simulated_sessions_stop_rule_ends_its_day(desk):
    """minutes_to_close_below stops it at that bar, and positions are closed as at any stop."""
    stop = [{"condition": "minutes_to_close_below", "value": 120}]
    session_id = desk.holding(desk.started("backtest", config={"auto_stop_conditions": stop}))
    row = desk.walk(session_id, lambda row: row["status"] == S.CLOSED)
    assert (
        "minutes"
        in desk.rows(
            "SELECT reason FROM transitions WHERE session_id = :id AND trigger = 'stop_session'", id=session_id
        )[0]["reason"]
    )
    assert row["clock_at"] < datetime(2018, 1, 9, 20, tzinfo=UTC)
    desk.check_books(session_id)


def test_what_rules_remember_outlives_the_process(desk):
    """A condition that must hold for 30 minutes counts on in the next process, from the stores."""
    rule = [{"condition": "time_after", "value": "10:00:00", "for_s": 1800}]
    session_id = desk.started("paper_trading", config={"auto_pause_conditions": rule})
    desk.walk(session_id, lambda row: row["clock_at"] and row["clock_at"] > NOON - timedelta(minutes=110))
    forget_runtimes()
    desk.walk(session_id, lambda row: row["status"] == S.PAUSED)
    assert desk.decisions(session_id)[-1]["clock_at"] == NOON - timedelta(minutes=90)


def test_a_simulated_session_that_has_not_begun_is_started_by_the_wall(desk):
    """Its start rules read the wall's time, and the market of its own first moment: nothing of how its day goes."""
    start = [{"condition": "time_after", "value": "09:35:00"}, {"condition": "vix_below", "value": 30}]
    session_id = desk.create("paper_trading", config={"auto_start_conditions": start})
    desk.at("09:34:59")
    market = read_facts(desk.desk, [session_id])[session_id].market
    assert (market.vix, round(market.spot, 3)) == (22.0, round(FEED["day"]["open"] / 10, 3))
    desk.sweep()
    assert desk.status(session_id) is S.INITIALIZING
    desk.at("09:35:00")
    desk.sweep()
    assert desk.status(session_id) is S.ACTIVE
    assert desk.row(session_id)["next_rule_at"] is None


def test_each_step_leaves_measures_that_facts_are_made_of(desk):
    """Money of the account, drawdown, positions, latency: what the ledger says, aged by Postgres's clock alone."""
    desk.at("10:00:01")
    session_id = desk.running(step_interval_s=1)
    for _ in range(2):
        desk.publish(vix_level=22.0)
        desk.step()
    kept = desk.row(session_id)["measures"]
    assert kept["position_count"] == 1
    assert kept["decision_latency_ms"] > 0
    assert kept["error_rate"] is None
    assert kept["loss_limit"] == "2000.00"
    desk.later(7)
    found = read_facts(desk.desk, [session_id])[session_id].session
    assert (found.age_s, found.pnl_age_s, found.position_count, found.guarded) == (7.0, 7.0, 1, True)
    assert found.daily_pnl == Decimal(kept["daily_pnl"]) < 0
    assert found.drawdown == Decimal(kept["drawdown"]) <= found.daily_pnl


def test_error_rate_counts_five_minutes_and_goes_on_in_another_process(desk):
    """None below 20 attempts; then failed over attempted, whoever made the steps; older ones are forgotten."""
    desk.at("10:30:00")
    session_id = desk.running(step_interval_s=1)
    for _ in range(4):
        desk.later(6)
        desk.publish()
        with failing("StrategicPlannerAgent", RuntimeError("broken")):
            desk.with_settings(agent_failures_max=99).step()
    assert desk.row(session_id)["measures"]["error_rate"] == 4 / 20
    forget_runtimes()
    desk.later(6)
    desk.publish()
    desk.with_settings(agent_failures_max=99).step()
    assert desk.row(session_id)["measures"]["error_rate"] == 4 / 26  # an order went to the broker, too
    recent = Recent()
    for number in range(10):
        recent.add(NOON + timedelta(seconds=60 * number), 5, 1)
    assert recent.error_rate == 5 / 25


def test_drawdown_and_history_are_read_in_one_statement(desk):
    """The deepest fall since the session began, continuous over processes, is where measures begin."""
    session_id = desk.started("backtest")
    walk_out(desk, session_id)
    found = measures.load_history(desk.desk.engine, session_id)
    stored = desk.row(session_id)["measures"]
    assert found.drawdown == Decimal(stored["drawdown"]) < 0
    assert found.recent.decision_latency_ms is not None
    sample = desk.rows("SELECT steps FROM samples WHERE session_id = :id LIMIT 1", id=session_id)[0]["steps"]
    assert {"vix", "regime", "liquidity", "previous_close"} <= sample.keys()
