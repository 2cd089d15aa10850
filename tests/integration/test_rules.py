"""Rules over real stores: what fires, what does not and why, and that nobody else's word is broken by it."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import orjson
import pytest
import redis
from hosting import ANN, SYSTEM, S, T, shared
from rules_world import START, STOP, RuledDesk, ruled_desk
from sqlalchemy import event

from fntx_sessions.automation.rules import acting, sweep
from fntx_sessions.automation.rules.facts import read_facts, read_found
from fntx_sessions.lifecycle import orders
from fntx_sessions.schemas import Hold
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.redis_client import key

ALWAYS = [{"condition": "vix_above", "value": 1}]
CALM = [{"condition": "market_regime", "value": "normal"}]
STORM = [{"condition": "market_regime", "value": "high_volatility"}]


@pytest.fixture
def desk(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[RuledDesk]:
    with ruled_desk(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def test_the_specs_start_rules_start_at_the_first_moment_all_of_them_hold(desk):
    """Market open, VIX below 30, after 09:35: at 09:34:59 nothing happens, at 09:35:00 it is started, saying why."""
    session_id = desk.ruled(start=START)
    desk.at("09:34:58")
    desk.publish()
    desk.sweep()
    assert desk.status(session_id) is S.INITIALIZING
    assert "09:34:5" in desk.decisions(session_id)[-1]["why"]
    desk.at("09:35:00")
    desk.publish()
    desk.sweep()
    row = desk.row(session_id)
    assert (row["status"], row["status_actor"]) == (S.ACTIVE, SYSTEM.name)
    assert "VIX 18 < 30" in row["status_reason"]
    assert "market open" in row["status_reason"]
    last = desk.decisions(session_id)[-1]
    assert (last["action"], last["outcome"], last["status"]) == ("start", "done", "initializing")
    assert desk.rows("SELECT state FROM commands WHERE command_id = :id", id=last["command_id"]) == [{"state": "done"}]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"vix_level": 31.2}, "VIX 31.2 >= 30"),
        ({"vix_level": None}, "VIX"),
        ({"ago_s": 40}, "40"),
        ({"liquidity_status": "halted"}, "halted"),
        (None, "no quote"),
    ],
)
def test_what_is_missing_stale_or_too_high_never_starts_a_session(desk, state, told):
    """Old quotes, none at all, no VIX, a halted exchange: not started, and the decision says which it was."""
    session_id = desk.ruled(start=START)
    desk.at("10:00:00")
    if state is not None:
        desk.publish(**state)
    desk.sweep()
    assert desk.status(session_id) is S.INITIALIZING
    assert told in desk.decisions(session_id)[-1]["why"]


def test_the_specs_stop_rules_each_stop_alone(desk):
    """The account's fired limit, the close, an error rate above 10 %: any one of them stops, with its own reason."""
    desk.at("15:59:50")
    lost, erring, closing = (desk.running(stop=STOP) for _ in range(3))
    desk.publish()
    for one in (lost, erring, closing):
        desk.measure(one, error_rate=0.02)
    desk.measure(erring, error_rate=0.11)
    account = desk.row(lost)["account_id"]
    orders.latch(desk.desk.engine, account, desk.at("15:59:55").date(), "test", "it fired")
    desk.sweep()
    assert [desk.status(one) for one in (lost, erring, closing)] == [S.CLOSING, S.CLOSING, S.ACTIVE]
    assert "daily loss limit has fired" in desk.why(lost)
    assert "error rate 11 % > 10 %" in desk.why(erring)
    desk.at("16:00:00")
    desk.measure(closing, error_rate=0.02)
    desk.sweep()
    assert desk.status(closing) is S.CLOSING
    assert "the market has closed" in desk.why(closing)


def test_the_accounts_loss_stops_a_session_that_nobody_stepped_for_a_while(desk):
    """What another session of the account has lost is in the ledger, whenever this one stepped last."""
    desk.at("11:00:00")
    session_id = desk.running(stop=STOP)
    desk.publish()
    desk.measure(session_id, error_rate=0.0)
    other = desk.ruled(account=desk.row(session_id)["account_id"])
    desk.run(
        "INSERT INTO session_days (session_id, trade_date, account_id, realized, fees, updated_at) "
        "SELECT session_id, '2018-01-09', account_id, -1999.99, 0.01, now() FROM sessions WHERE session_id = :id",
        id=other,
    )
    found = read_facts(desk.desk, [session_id])[session_id].session
    assert (found.daily_pnl, found.loss_limit, found.latched) == (-2000, 2000, False)
    desk.later(3600)
    desk.sweep()
    assert desk.status(session_id) is S.CLOSING
    assert "daily loss $2,000.00 >= $2,000.00" in desk.why(session_id)


def test_stop_rules_run_in_every_status_while_positions_are_open_and_the_guard_flattens(desk):
    """Agents dead, session suspended, a short put open: the stop rule fires, and the manager's guard buys it back."""
    desk.at("10:00:01")
    session_id = desk.running(stop=[{"condition": "minutes_to_close_below", "value": 60}], step_interval_s=1)
    flat = desk.running(stop=[{"condition": "minutes_to_close_below", "value": 60}])
    desk.do(T.SUSPEND, flat, actor=SYSTEM, reason="agents are dead")
    desk.publish(vix_level=22.0)
    desk.step()
    assert desk.broker.positions(session_id)
    desk.do(T.SUSPEND, session_id, actor=SYSTEM, reason="agents are dead")
    desk.sweep()
    assert desk.status(session_id) is S.SUSPENDED
    desk.at("15:00:01")
    desk.publish(vix_level=22.0)
    desk.sweep()
    assert (desk.status(session_id), desk.status(flat)) == (S.CLOSING, S.SUSPENDED)
    for _ in range(12):
        desk.later(1)
        desk.publish(vix_level=22.0)
        desk.step()
    assert not desk.broker.positions(session_id)
    desk.check_books(session_id)
    desk.finish()
    assert desk.status(session_id) is S.CLOSED


def test_a_rule_resumes_what_a_rule_paused_and_nothing_else(desk):
    """A storm pauses; calm resumes, but not where a person, too, holds the session, nor where only a person does."""
    desk.at("11:00:00")
    ours, shared_hold, persons = (desk.running(pause=STORM, resume=CALM) for _ in range(3))
    desk.do(T.PAUSE, persons)
    desk.publish(market_regime="high_volatility")
    desk.sweep()
    assert [desk.row(one)["holds"] for one in (ours, shared_hold, persons)] == [["rule"], ["rule"], ["person"]]
    assert "high_volatility" in desk.why(ours)
    desk.do(T.UPDATE, shared_hold, add_hold=Hold.PERSON)
    desk.publish(market_regime="normal")
    desk.sweep()
    assert [desk.status(one) for one in (ours, shared_hold, persons)] == [S.ACTIVE, S.PAUSED, S.PAUSED]
    assert [one["action"] for one in desk.decisions(ours)] == ["pause", "resume"]


def test_a_refused_action_is_asked_again_ever_later(desk):
    """A start that is refused stays wanted: asked again after 30 s, then 60 s, each refusal on record."""
    desk.at("10:00:00")
    session_id = desk.ruled(start=ALWAYS)
    account = desk.row(session_id)["account_id"]
    orders.latch(desk.desk.engine, account, desk.at("10:00:00").date(), "test", "it fired")

    def asked() -> int:
        desk.publish()
        desk.sweep()
        return sum(one["outcome"] == "refused" for one in desk.decisions(session_id))

    assert [asked(), asked()] == [1, 1]
    assert "loss limit of account" in desk.decisions(session_id)[-1]["why"]
    desk.later(31)
    assert [asked(), asked()] == [2, 2]
    desk.later(31)
    assert asked() == 2
    desk.later(30)
    assert asked() == 3
    orders.unlatch(desk.desk.engine, account, desk.now().date(), "test", "lifted")
    desk.later(121)
    asked()
    assert desk.status(session_id) is S.ACTIVE
    assert desk.rule_state(session_id)["retry_at"] is None


def test_a_start_that_waits_for_agents_is_not_asked_for_again(desk):
    """Pending until agents are ready or the time is over; then it is wanted again, after its pause, not before."""
    desk.at("10:00:00")
    session_id = desk.ruled(start=ALWAYS, agents=["SomebodyElsesAgent"], wait_ready_s=10)
    desk.publish()
    desk.sweep()
    assert desk.row(session_id)["pending"]["trigger"] == T.START
    assert desk.row(session_id)["next_rule_at"] is None
    desk.later(11)
    assert desk.finish() == {"start_refused": 1}
    assert desk.row(session_id)["next_rule_at"] is not None
    desk.publish()
    desk.sweep()
    assert desk.row(session_id)["pending"] is None
    desk.later(20)
    desk.publish()
    desk.sweep()
    assert desk.row(session_id)["pending"] is not None
    assert [one["outcome"] for one in desk.decisions(session_id) if one["outcome"]] == ["pending", "pending"]


def test_a_session_that_moved_meanwhile_is_left_alone_and_judged_anew(desk, monkeypatch):
    """Between the look and the command somebody pauses it: the rule's pause is not done, and is due again at once."""
    desk.at("11:00:00")
    session_id = desk.running(pause=STORM)
    desk.publish(market_regime="high_volatility")

    def look(*arguments):
        found = read_found(*arguments)
        if desk.status(session_id) is S.ACTIVE:
            desk.do(T.PAUSE, session_id, actor=ANN, reason="mine")
        return found

    monkeypatch.setattr(sweep, "read_found", look)
    desk.sweep()
    row = desk.row(session_id)
    assert (row["holds"], row["status_reason"]) == (["person"], "mine")
    assert desk.decisions(session_id)[-1]["outcome"] == "moved"
    assert row["next_rule_at"] <= desk.now()
    desk.sweep()
    assert desk.row(session_id)["holds"] == ["person"]


def test_two_sweeps_at_once_judge_each_session_once(desk, monkeypatch):
    """However many sweeps run, a due session is claimed by one of them, and is due again after its interval."""
    desk.at("11:00:00")
    sessions = {desk.running(pause=ALWAYS) for _ in range(12)}
    desk.publish()
    desk.run("UPDATE session_work SET next_rule_at = now() WHERE next_rule_at IS NOT NULL")
    asked, lock = [], threading.Lock()
    honest = acting.ask

    def ask(on, actor, judged, *rest):
        with lock:
            asked.append(judged.session_id)
        return honest(on, actor, judged, *rest)

    monkeypatch.setattr(acting, "ask", ask)
    small = desk.with_settings(rule_batch=3)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: sweep.evaluate_due(small.desk, SYSTEM), range(2)))
    assert sorted(asked) == sorted(sessions)
    assert all(desk.status(one) is S.PAUSED for one in sessions)
    left = desk.rows("SELECT 1 FROM session_work WHERE rule_claimed_until IS NOT NULL")
    assert left == []


def test_a_sweep_asks_the_stores_as_often_for_many_sessions_as_for_one(desk):
    """One claim, one read, one write a batch, whatever is in it; remote agents cost one pipeline more."""
    desk.at("11:00:00")
    desk.publish()
    seen: list[str] = []

    def statements(count: int) -> int:
        for _ in range(count):
            desk.running(pause=STORM, stop=STOP)
        desk.sweep()
        desk.run("UPDATE session_work SET next_rule_at = now() WHERE next_rule_at IS NOT NULL")
        seen.clear()
        sweep.evaluate_due(desk.desk, SYSTEM)
        return len(seen)

    event.listen(desk.desk.engine, "before_cursor_execute", lambda *found: seen.append(found[2]))
    assert statements(1) == statements(4) == 3


def test_lost_data_of_a_stop_rule_is_told_once_and_dated(desk):
    """A stop rule that cannot be judged does not fire: an event once, the time since when, and both end with it."""
    desk.at("11:00:00")
    session_id = desk.running(stop=[{"condition": "vix_above", "value": 40}])
    for _ in range(2):
        desk.sweep()
    assert desk.status(session_id) is S.ACTIVE
    [told] = desk.events(session_id, "rule_data_missing")
    assert (told["severity"], told["requires_action"]) == ("error", True)
    since = desk.rule_state(session_id)["missing_since"]
    assert since is not None
    desk.later(5)
    desk.sweep()
    assert desk.rule_state(session_id)["missing_since"] == since
    desk.publish()
    desk.sweep()
    assert desk.rule_state(session_id)["missing_since"] is None
    desk.later(60)
    desk.sweep()
    assert len(desk.events(session_id, "rule_data_missing")) == 2


def test_a_cooldown_does_not_run_for_what_was_refused_and_does_for_what_was_done(desk, monkeypatch):
    """A pause with a cooldown of an hour: not done as the session moved, it comes the next time; done, it waits."""
    desk.at("11:00:00")
    session_id = desk.running(pause=[{"condition": "vix_above", "value": 25, "cooldown_s": 3600}])
    desk.publish(vix_level=26)

    def moving(*arguments):
        found = read_found(*arguments)
        desk.do(T.UPDATE, session_id, config={"tags": ["moved"]})
        return found

    with monkeypatch.context() as patched:
        patched.setattr(sweep, "read_found", moving)
        desk.sweep()
    assert (desk.status(session_id), desk.decisions(session_id)[-1]["outcome"]) == (S.ACTIVE, "moved")
    desk.sweep()
    assert desk.status(session_id) is S.PAUSED
    desk.do(T.RESUME, session_id)
    desk.sweep()
    assert desk.status(session_id) is S.ACTIVE
    desk.later(3601)
    desk.publish(vix_level=26)
    desk.sweep()
    assert desk.status(session_id) is S.PAUSED


def test_decisions_are_kept_where_something_changed_and_only_the_newest(desk):
    """Other figures are no other decision; of many, as many are kept as the setting says."""
    desk.at("11:00:00")
    session_id = desk.running(pause=[{"condition": "vix_above", "value": 25}])
    for vix in (18, 18.1, 19, 26):
        desk.publish(vix_level=vix)
        desk.sweep(rule_decisions_kept=3)
    assert [one["action"] for one in desk.decisions(session_id)] == [None, "pause"]
    for vix in (26, 18, 26, 18, 26):
        desk.publish(vix_level=vix)
        desk.sweep(rule_decisions_kept=3)
    kept = desk.decisions(session_id)
    assert len(kept) == 3
    assert kept[-1]["seq"] == desk.rule_state(session_id)["decision_seq"]


def remote(desk: RuledDesk, trading: dict | None, **config) -> UUID:
    """A started session whose risk manager is another service's, with what that reports of its money."""
    session_id = desk.remote(**config)
    report(desk, session_id, trading)
    return session_id


def report(desk: RuledDesk, session_id: UUID, trading: dict | None) -> None:
    parts = {} if trading is None else {"trading": orjson.dumps(trading)}
    LiveState(desk.desk.redis, desk.desk.settings).report(Report(session_id, 1, "TheirAgent", parts))
    desk.desk.redis.hset(key(session_id, "live"), "beat:TheirAgent", int(desk.now().timestamp() * 1000))


def test_what_remote_agents_report_is_judged_like_a_step(desk):
    """P&L and positions of the report, aged by its heartbeat; an old or silent one is no data, and says so."""
    desk.at("11:00:00")
    session_id = remote(desk, {"daily_pnl": -500}, stop=[{"condition": "daily_loss_exceeded", "value": 600}])
    desk.publish()
    found = read_facts(desk.desk, [session_id])[session_id].session
    assert (found.daily_pnl, found.guarded, found.position_count) == (-500, False, None)
    desk.sweep()
    assert desk.status(session_id) is S.ACTIVE
    desk.later(60)
    desk.sweep()
    assert len(desk.events(session_id, "rule_data_missing")) == 1
    report(desk, session_id, {"daily_pnl": -600})
    desk.sweep()
    assert desk.status(session_id) is S.CLOSING


def test_a_limit_that_remote_agents_break_pauses_latches_and_is_told_once(desk):
    """At 80 % a warning, at the limit the account is latched and the session held; no rule resumes it meanwhile."""
    desk.at("11:00:00")
    stop = [{"condition": "daily_loss_exceeded", "value": True}]
    session_id = remote(desk, {"daily_pnl": -1700}, resume=ALWAYS)
    warned = remote(desk, {"daily_pnl": -1700}, stop=stop)
    desk.publish()
    for _ in range(2):
        desk.sweep()
    assert (desk.status(session_id), desk.status(warned)) == (S.ACTIVE, S.ACTIVE)
    assert len(desk.events(warned, "limit_near")) == 1
    for _ in range(2):
        report(desk, session_id, {"daily_pnl": -2000.01})
        desk.publish()
        desk.sweep()
    assert desk.row(session_id)["holds"] == ["rule"]
    assert "reached the limit" in desk.why(session_id)
    assert len(desk.events(session_id, "limit_broken")) == 1
    day = orders.account_day(desk.desk.engine, desk.row(session_id)["account_id"], desk.now().date())
    assert day.latched


def test_without_redis_rules_of_the_clock_and_the_ledger_are_judged(desk, monkeypatch):
    """Redis gone in the middle of a sweep: the close stops what it has to; what needs quotes is not known."""
    desk.at("15:59:00")
    closing = desk.running(stop=[{"condition": "market_close", "value": True}])
    watching = remote(desk, None, stop=ALWAYS)
    desk.publish()
    desk.at("16:00:00")

    def gone(*_, **__):
        raise redis.ConnectionError("gone")

    for name in ("get", "pipeline"):
        monkeypatch.setattr(type(desk.desk.redis), name, gone)
    desk.sweep()
    monkeypatch.undo()
    assert (desk.status(closing), desk.status(watching)) == (S.CLOSING, S.ACTIVE)
    assert len(desk.events(watching, "rule_data_missing")) == 1


def test_a_session_that_cannot_be_judged_stops_no_other(desk):
    """A calendar nobody knows, a config that is none: passed over, due again, and the session beside it is stopped."""
    desk.at("16:00:00")
    stop = [{"condition": "vix_above", "value": 1}]
    lost, odd, sound = (desk.running(stop=stop) for _ in range(3))
    desk.run("""UPDATE sessions SET config = config || '{"calendar": "NOWHERE"}' WHERE session_id = :id""", id=lost)
    desk.run("""UPDATE session_work SET measures = '{"drawdown": "much"}' WHERE session_id = :id""", id=odd)
    desk.publish()
    desk.sweep()
    assert [desk.status(one) for one in (lost, odd, sound)] == [S.ACTIVE, S.ACTIVE, S.CLOSING]
    assert all(desk.row(one)["next_rule_at"] > desk.now() for one in (lost, odd))
