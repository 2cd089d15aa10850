"""Limits of sessions whose agents are remote, from report to consequence; the wall set by hand."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import orjson
import pytest
from hosting import S, T, shared
from rules_world import DAY, NEW_YORK, RuledDesk, ruled_desk

from fntx_sessions.automation import alerts
from fntx_sessions.automation.market_clock import MARKET_CLOCK, watch_publisher
from fntx_sessions.lifecycle import orders
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.redis_client import key

CHRISTMAS_EVE = datetime(2018, 12, 24, tzinfo=NEW_YORK)
RISK = "RiskManagerAgent"


@pytest.fixture
def desk(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[RuledDesk]:
    with ruled_desk(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def report(desk, session_id, *, agent="TheirAgent", raw=None, **trading):
    data = orjson.dumps(trading) if raw is None else raw
    LiveState(desk.desk.redis, desk.desk.settings).report(Report(session_id, 1, agent, {"trading": data}))
    desk.desk.redis.hset(key(session_id, "live"), f"beat:{agent}", int(desk.now().timestamp() * 1000))


def judged(desk, session_id, **trading):
    """Report, sweep twice, and return what the session is told to be broken."""
    desk.publish()
    report(desk, session_id, **trading)
    for _ in range(2):
        desk.sweep()
    return [event["description"] for event in desk.events(session_id, "limit_broken")]


def test_a_broken_position_limit_pauses_and_calls_a_person_once(desk):
    """More contracts than position_limit: paused, told once with what a pause does not do, a person is called."""
    desk.at("11:00:00")
    session_id = desk.remote()
    [told] = judged(desk, session_id, open_positions=[desk.leg(-4)])
    assert (desk.status(session_id), desk.row(session_id)["holds"]) == (S.PAUSED, ["rule"])
    assert told.startswith("4 contracts are open, position_limit is 3; a pause closes nothing")
    assert desk.events(session_id, "limit_broken")[0]["requires_action"]


def test_a_broken_limit_stops_where_the_session_says_so(desk):
    """`on_breach` stop: the session is closing, by its own policy."""
    desk.at("11:00:00")
    session_id = desk.remote(on_breach="stop")
    judged(desk, session_id, open_positions=[desk.leg(-4)])
    assert desk.status(session_id) is S.CLOSING


@pytest.mark.parametrize(("clock", "broken"), [("12:45:30", 0), ("12:46:30", 1)])
def test_flat_by_of_a_half_day(desk, clock, broken):
    """On Christmas Eve remote positions have to be gone by 12:45, and have a minute of grace."""
    desk.at("11:00:00", day=CHRISTMAS_EVE)
    session_id = desk.remote()
    desk.at(clock, day=CHRISTMAS_EVE)
    assert len(judged(desk, session_id, open_positions=[desk.leg()])) == broken
    assert desk.status(session_id) is (S.PAUSED if broken else S.ACTIVE)


def test_hold_time_acts_once_so_that_a_person_may_resume_what_closes_it(desk):
    """A breach that a pause cannot mend pauses once a day: whoever resumes the session is not overruled again."""
    desk.at("11:00:00")
    session_id = desk.remote(max_position_hold_time=60)
    held = desk.leg(minutes=90)
    judged(desk, session_id, open_positions=[held])
    assert desk.status(session_id) is S.PAUSED
    desk.do(T.RESUME, session_id)
    assert len(judged(desk, session_id, open_positions=[held])) == 1
    assert desk.status(session_id) is S.ACTIVE


def test_eighty_percent_of_the_days_loss_is_told_without_any_rule(desk):
    """A session that has no rules is warned at 80 % of its limit, once; at the limit its account is latched."""
    desk.at("11:00:00")
    session_id = desk.remote()
    assert judged(desk, session_id, daily_pnl=-1600) == []
    assert len(desk.events(session_id, "limit_near")) == 1
    judged(desk, session_id, daily_pnl=-2000)
    account = desk.row(session_id)["account_id"]
    assert orders.account_day(desk.desk.engine, account, DAY.date()).latched
    assert desk.status(session_id) is S.PAUSED
    refused = desk.ask(T.RESUME, session_id).error["message"]
    assert "the loss limit of account" in refused


@pytest.mark.parametrize(
    "told",
    [
        {"daily_pnl": -1e300},
        {"daily_pnl": -9000, "open_positions": [{"quantity": -1}]},
        {"daily_pnl": -9000, "trades_today": 0, "open_positions": "none"},
    ],
)
def test_an_absurd_report_is_missing_and_neither_good_nor_bad(desk, told):
    """What cannot be true breaks no limit, and proves none whole: a stop rule says that data is missing."""
    desk.at("11:00:00")
    session_id = desk.remote(stop=[{"condition": "daily_loss_exceeded", "value": True}])
    key = f"fntx:{{{session_id}}}:live"
    report(desk, session_id, daily_pnl=0)
    [live] = [name for name in desk.desk.redis.keys("*") if str(session_id).encode() in name and b"live" in name] or [
        key
    ]
    desk.desk.redis.hset(live, "part:trading", orjson.dumps(told))
    desk.publish()
    desk.sweep()
    assert desk.status(session_id) is S.ACTIVE
    assert desk.events(session_id, "limit_broken") == []
    assert len(desk.events(session_id, "rule_data_missing")) == 1


def test_a_mixed_roster_is_judged_on_what_its_remote_agents_say(desk):
    """A hosted watcher beside a remote agent that trades: the hosted one's empty book hides nothing."""
    desk.at("11:00:00")
    session_id = desk.remote(agents=["EnvironmentWatcherAgent", "TheirAgent"])
    assert len(judged(desk, session_id, open_positions=[desk.leg(-9)])) == 1
    assert desk.status(session_id) is S.PAUSED


def test_a_hosted_risk_manager_keeps_its_own_limits(desk):
    """Where a hosted RiskManagerAgent keeps the limits, what somebody else reports of them is not judged."""
    desk.at("11:00:00")
    session_id = desk.remote(agents=[RISK, "TheirAgent"])
    assert judged(desk, session_id, open_positions=[desk.leg(-9)], daily_pnl=-9000) == []
    assert desk.status(session_id) is S.ACTIVE


def test_a_publishers_wrong_clock_is_an_alert_until_it_is_set(desk):
    """A market dated in the future is told as an alert, which goes once its date can be right."""
    desk.at("11:00:00")
    desk.publish(ago_s=-3600)
    [raised] = watch_publisher(desk.desk).raised
    assert "dated 3600 s in the future" in raised.description
    desk.publish(ago_s=-1)
    assert [one.name for one in watch_publisher(desk.desk).cleared] == [MARKET_CLOCK]
    assert MARKET_CLOCK not in {one.name for one in alerts.standing(desk.desk.engine)}
