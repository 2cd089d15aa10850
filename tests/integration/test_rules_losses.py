"""Loss rules in dollars: warned of beside the account's own limit, and latching the account's day when they fire."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hosting import ANN, S, T, shared
from rules_world import RuledDesk, ruled_desk

from fntx_sessions.automation.rules import latching
from fntx_sessions.exceptions import IllegalTransition, OrderRefused, Unavailable
from fntx_sessions.lifecycle import orders
from fntx_sessions.trading.paper import PaperBroker

CALM = [{"condition": "market_regime", "value": "normal"}]


def loss(value):
    return {"condition": "daily_loss_exceeded", "value": value}


@pytest.fixture
def desk(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[RuledDesk]:
    with ruled_desk(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def lose(desk: RuledDesk, session_id, dollars: float) -> None:
    """Book a realised loss of the day on a session's account."""
    desk.run(
        "INSERT INTO session_days (session_id, trade_date, account_id, realized, fees, updated_at) "
        "SELECT session_id, '2018-01-09', account_id, :lost, 0, now() FROM sessions WHERE session_id = :id "
        "ON CONFLICT (session_id, trade_date) DO UPDATE SET realized = excluded.realized",
        id=session_id,
        lost=-dollars,
    )


def is_latched(desk: RuledDesk, session_id, day=None) -> bool:
    account = desk.row(session_id)["account_id"]
    return orders.account_day(desk.desk.engine, account, day or desk.now().date()).latched


def test_eighty_percent_of_a_rule_in_dollars_is_warned_of_where_agents_of_ours_keep_the_accounts_limit(desk):
    """The agents know the account's own limit alone, and say that themselves: written as true or as its dollars."""
    desk.at("11:00:00")
    ours = desk.running(stop=[loss(105), loss(value=True), loss(2000)])
    lose(desk, ours, 92.36)
    for _ in range(2):
        desk.publish()
        desk.sweep()
    assert ["88%" in one["description"] for one in desk.events(ours, "limit_near")] == [True]
    lose(desk, ours, 104)
    guarded = desk.running(stop=[loss(value=True), loss(2000)])
    lose(desk, guarded, 1700)
    desk.sweep()
    assert desk.events(guarded, "limit_near") == []


@pytest.mark.parametrize("name", ["stop", "pause"])
def test_a_loss_rule_that_fires_latches_its_account_for_the_day(desk, name):
    """Nothing starts or resumes on the account, by rule or by hand, until a risk manager clears it."""
    desk.at("11:00:00")
    rule = [{"condition": "any_of", "value": [{"condition": "vix_above", "value": 90}, loss(100)]}]
    session_id = desk.running(**{name: rule}, resume=CALM)
    desk.publish()
    desk.sweep()
    assert not is_latched(desk, session_id)
    lose(desk, session_id, 100)
    desk.sweep()
    assert desk.status(session_id) is (S.CLOSING if name == "stop" else S.PAUSED)
    assert is_latched(desk, session_id)
    told = desk.events(session_id, "loss_limit_fired")
    assert [one["severity"] for one in told] == ["critical"]
    assert "--clear-latch" in told[0]["description"]
    other = desk.ruled(account=desk.row(session_id)["account_id"], start=[{"condition": "vix_above", "value": 1}])
    desk.publish()
    desk.sweep()
    assert desk.status(other) is S.INITIALIZING
    why = desk.decisions(other)[-1]["why"]
    assert why.startswith("start asked for: VIX 18 > 1")
    assert "refused: " in why
    assert "started" not in why
    assert desk.ask(T.START, other).error["error"] == "PreconditionFailed"


def test_a_rule_that_fires_for_another_reason_latches_nothing(desk):
    """A loss condition that does not hold, or stands in a none_of, is no loss limit that fired."""
    desk.at("11:00:00")
    high = {"condition": "vix_above", "value": 10}
    rules = [high, {"condition": "all_of", "value": [high, {"condition": "none_of", "value": [loss(100)]}]}]
    session_id = desk.running(stop=rules)
    desk.publish()
    desk.sweep()
    assert desk.status(session_id) is S.CLOSING
    assert not is_latched(desk, session_id)


def test_a_ledger_that_does_not_answer_keeps_no_session_from_being_stopped(desk, monkeypatch):
    """The latch comes first, but what protects does not wait for it."""
    desk.at("11:00:00")
    session_id = desk.running(stop=[loss(100)])
    lose(desk, session_id, 100)
    desk.publish()

    def gone(*_):
        raise Unavailable("postgres", "busy", "Ask again.")

    monkeypatch.setattr(latching.orders, "latch", gone)
    desk.sweep()
    assert desk.status(session_id) is S.CLOSING


def test_a_simulated_day_is_latched_by_its_loss_rule(desk):
    """At the very bar, for the simulated trade date; no resume rule lifts it that day."""
    config = {"auto_pause_conditions": [loss(0.5)], "auto_resume_conditions": [{"condition": "vix_above", "value": 1}]}
    session_id = desk.started("backtest", config=config)
    desk.walk(session_id, lambda row: row["status"] in (S.CLOSING, S.CLOSED), limit=200)
    day = desk.rows("SELECT trade_date FROM session_days WHERE session_id = :id", id=session_id)[0]["trade_date"]
    assert is_latched(desk, session_id, day)
    moves = [(one["action"], one["outcome"]) for one in desk.decisions(session_id) if one["outcome"] == "done"]
    assert moves == [("pause", "done")]
    assert len(desk.events(session_id, "loss_limit_fired")) == 1


def test_a_limit_that_has_fired_is_not_near_any_more(desk):
    """Agents say that the account's limit is reached, with cents, and do not warn of it afterwards."""
    desk.at("11:00:00")
    session_id = desk.running(step_interval_s=1)
    lose(desk, desk.ruled(account=desk.row(session_id)["account_id"]), 2405.36)
    for _ in range(3):
        desk.publish(vix_level=22.0)
        desk.step()
        desk.later(6)
    assert desk.events(session_id, "loss_limit_near") == []
    told = [one["description"] for one in desk.events(session_id, "loss_limit_fired")]
    assert [one.partition(":")[0] for one in told] == ["day's loss $2405.36 reached the limit $2000.00"]


def test_who_pauses_what_a_rule_paused_is_told_how_to_keep_it_paused(desk):
    """The refusal names the command; once a person holds it too, it names nothing of the kind."""
    desk.at("11:00:00")
    session_id = desk.running(pause=[{"condition": "vix_above", "value": 10}])
    desk.publish()
    desk.sweep()
    refusal = desk.ask(T.PAUSE, session_id).error
    assert refusal["error"] == IllegalTransition.__name__
    assert f"`fntx update {session_id} --add-hold person` to keep it paused" in refusal["message"]
    desk.do(T.UPDATE, session_id, actor=ANN, add_hold="person")
    assert "--add-hold" not in desk.ask(T.PAUSE, session_id).error["message"]


def test_calls_of_the_broker_count_in_the_error_rate_and_in_the_samples(desk, monkeypatch):
    """One that fails counts as attempted and failed beside its step, an answered one as attempted, a refusal not."""
    desk.at("10:00:01")

    def step_one() -> tuple[int, int]:
        session_id = desk.running(step_interval_s=1)
        desk.publish(vix_level=22.0)
        desk.with_settings(agent_failures_max=99).step()
        found = desk.rows("SELECT steps FROM samples WHERE session_id = :id", id=session_id)[-1]["steps"]
        agents = desk.rows("SELECT count(*) AS n FROM session_agents WHERE session_id = :id", id=session_id)[0]["n"]
        return found["attempted"] - agents, found["failed"]

    assert step_one() == (1, 0)
    with monkeypatch.context() as broken:
        broken.setattr(PaperBroker, "place", lambda *_: (_ for _ in ()).throw(RuntimeError("no line to the broker")))
        assert step_one() == (1, 2)
    with monkeypatch.context() as refusing:
        refusing.setattr(
            PaperBroker, "place", lambda *_: (_ for _ in ()).throw(OrderRefused("s", "t", "collar", "too far off"))
        )
        assert step_one() == (0, 0)
