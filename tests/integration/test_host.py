"""Hosting: sessions are stepped by one process at a time, under their epoch, whatever becomes of others beside them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from hosting import DAY, FEED, SYSTEM, Hosting, S, T, failing, forget_runtimes, make_hosting, shared
from pydantic import SecretStr

from fntx_sessions.agents import claims, host, runner
from fntx_sessions.automation import hosts
from fntx_sessions.exceptions import Busy, StaleEpoch, Unavailable
from fntx_sessions.lifecycle import orders
from fntx_sessions.schemas import FeedConfig
from fntx_sessions.settings import Settings
from fntx_sessions.stack.folder import Folder
from fntx_sessions.stack.valkey import Valkey
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.parts import agent_part
from fntx_sessions.testing import FailpointReached, failpoints_armed
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.feeds import session_feed
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.market_store import MARKET_KEY

RISK, PLANNER = "RiskManagerAgent", "StrategicPlannerAgent"


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def days_of(hosting: Hosting, session_id) -> list[dict]:
    return hosting.rows("SELECT * FROM session_days WHERE session_id = :id", id=session_id)


def samples_of(hosting: Hosting, session_id) -> list[dict]:
    return hosting.rows("SELECT * FROM samples WHERE session_id = :id ORDER BY timestamp", id=session_id)


def live_of(hosting: Hosting, session_id):
    return LiveState(hosting.desk.redis, hosting.desk.settings).read([session_id])[0]


def written(hosting: Hosting, session_id) -> tuple:
    """Everything a step may write for a session."""
    events = hosting.rows("SELECT count(*) AS n FROM events WHERE session_id = :id", id=session_id)[0]["n"]
    cut = live_of(hosting, session_id)
    marks = (cut.epoch, cut.revision, cut.parts) if cut else None
    days = [
        {name: value for name, value in day.items() if name != "updated_at"} for day in days_of(hosting, session_id)
    ]
    clock = hosting.row(session_id)["clock_at"]
    return len(samples_of(hosting, session_id)), days, events, marks, clock, hosting.fills(session_id)


# A whole day


def test_a_day_ends_flat_with_all_books_agreeing(hosting):
    """CLOSED, flat; ledger = the broker's book = the session's day, to the cent; a verified final checkpoint."""
    session_id = hosting.started("backtest")
    hosting.walk(session_id, lambda row: row["status"] == S.CLOSED)
    assert hosting.broker.positions(session_id) == []
    hosting.check_books(session_id)
    fills = hosting.broker.executions(session_id)
    assert fills, "the day traded"
    [day] = days_of(hosting, session_id)
    net = sum((fill.cash - fill.fee for fill in fills), Decimal(0))
    assert (day["realized"] - day["fees"], day["unrealized"], day["open_risk"]) == (net, 0, 0)
    assert samples_of(hosting, session_id)[-1]["net_pnl"] == net
    assert hosting.broker.account(f"paper:{session_id}").cash == Decimal(100_000) + net
    verified = "SELECT count(*) AS n FROM checkpoints WHERE session_id = :id AND checkpoint_type = 'final' AND verified"
    assert hosting.rows(verified, id=session_id)[0]["n"] == 1


def test_the_same_seed_trades_the_same_day(hosting):
    """Two sessions on one feed and seed fill alike, bar by bar or in one go."""
    first, second = hosting.started("backtest"), hosting.started()
    for session_id in (first, second):
        hosting.walk(session_id, lambda row: row["status"] == S.CLOSED)
    kept = ("symbol", "side", "quantity", "price", "fee", "slippage", "reason", "timestamp")
    one, other = ([{name: fill[name] for name in kept} for fill in hosting.fills(found)] for found in (first, second))
    assert one == other
    assert one


# What a status lets happen


def test_paused_only_reduces_and_says_when_it_is_quiet(hosting):
    """A pause opens nothing, its exits run on, and quiesced_at is set once nothing is in flight."""
    session_id = hosting.holding(hosting.started())
    intent = hosting.intent(session_id, 99, opening=False)
    outcome = hosting.do(T.PAUSE, session_id)
    assert outcome.extra == {"in_flight": [intent.client_order_id], "quiet": False}
    hosting.step()
    assert hosting.row(session_id)["quiesced_at"] is None
    orders.settle(hosting.desk.engine, {intent.client_order_id: "rejected"})
    hosting.step()
    version = hosting.row(session_id)["version"]
    assert hosting.row(session_id)["quiesced_at"] is not None
    hosting.step()
    assert hosting.row(session_id)["version"] == version, "said once"
    hosting.walk(session_id, lambda _: not hosting.broker.positions(session_id))
    assert [fill["opening"] for fill in hosting.fills(session_id)] == [True, False]
    assert hosting.row(session_id)["status"] == S.PAUSED


def test_a_paused_session_opens_nothing_all_day(hosting):
    """No opening while PAUSED, even though its entry time comes."""
    session_id = hosting.started()
    hosting.do(T.PAUSE, session_id)
    hosting.walk(session_id, lambda row: row["status"] == S.CLOSED)
    assert hosting.fills(session_id) == []


@pytest.mark.parametrize("trigger", [T.SUSPEND, T.FAIL])
def test_what_is_open_is_guarded_until_flat(hosting, trigger):
    """SUSPENDED and ERROR: the guard closes what is open, at the latest by flat-by, then the session is unscheduled."""
    session_id = hosting.holding(hosting.started(risk_parameters={"take_profit_multiplier": 0.99}))
    hosting.do(trigger, session_id, actor=SYSTEM)
    hosting.walk(session_id, lambda row: row["next_step_at"] is None)
    hosting.check_books(session_id)
    assert hosting.broker.positions(session_id) == []
    assert [fill["reason"] for fill in hosting.fills(session_id)] == ["entry", "flat_by"]
    assert hosting.step() == 0


def test_the_guard_leaves_the_agents_memory_alone(hosting):
    """What agents said last is what a recovery finds: a guard reports under a name of its own."""
    session_id = hosting.holding(hosting.started())
    before = live_of(hosting, session_id).parts
    hosting.do(T.SUSPEND, session_id)
    for _ in range(2):
        hosting.step()
    after = live_of(hosting, session_id).parts
    agents = {name: data for name, data in before.items() if name.startswith("agent/")}
    assert {name: after[name] for name in agents} == agents
    assert agent_part("Guard.RiskManagerAgent") in after


def test_a_session_of_remote_agents_is_guarded_too(hosting):
    """Where no agent of ours is, a SUSPENDED session's positions are ours to protect, from one process or another."""
    session_id = hosting.started(config={"agents": ["Theirs"], "wait_ready_s": 30})
    hosting.run("UPDATE session_agents SET ready_at = now()")
    hosting.finish()
    assert hosting.row(session_id)["status"] == S.ACTIVE
    assert hosting.step() == 0, "its agents are not ours to step"
    open_by_hand(hosting, session_id)
    hosting.do(T.SUSPEND, session_id)
    for _ in range(100):
        forget_runtimes()
        if not hosting.step():
            break
    assert hosting.broker.positions(session_id) == []
    hosting.check_books(session_id)
    assert len(hosting.fills(session_id)) == 2


def open_by_hand(hosting: Hosting, session_id) -> None:
    """Sell one put for a session, as a remote agent would: at the day's open, by the same gate and broker."""
    feed = session_feed(FeedConfig.model_validate(FEED), get_calendar("XNYS"), today=DAY)
    now = datetime(2018, 1, 9, 15, 0, tzinfo=UTC)
    epoch = hosting.row(session_id)["epoch"]
    intent = hosting.intent(session_id, 1, epoch)
    hosting.broker.open_account(intent.account_id, Decimal(100_000))
    placed = hosting.broker.place(intent, Board(feed.tick(now)), now)
    assert placed.fills
    orders.settle(hosting.desk.engine, {placed.client_order_id: placed.status}, placed.fills)


def test_a_stop_of_remote_agents_session_climbs_until_it_fills(hosting):
    """The guard remembers how often it tried: from mid to ask, until the stop finds the book flat."""
    session_id = hosting.started(config={"agents": ["Theirs"], "wait_ready_s": 30})
    hosting.run("UPDATE session_agents SET ready_at = now()")
    hosting.finish()
    open_by_hand(hosting, session_id)
    hosting.do(T.STOP, session_id)
    hosting.walk(session_id, lambda row: row["status"] == S.CLOSED, limit=10)
    assert [fill["opening"] for fill in hosting.fills(session_id)] == [True, False]


# Agents that fail


def test_an_agent_that_raises_is_charged_and_the_others_go_on(hosting):
    """One fault: an event, one failure on that agent's account, and the session's day goes on to its end."""
    session_id = hosting.started()
    once = iter([True])
    with failing(PLANNER, ZeroDivisionError("bad"), lambda _: next(once, False)):
        hosting.step()
    row = hosting.row(session_id)
    assert (row["status"], row["agent_failures"]) == (S.ACTIVE, {PLANNER: 1})
    assert [event["source_agent"] for event in hosting.events(session_id, "agent_failed")] == [PLANNER]
    assert samples_of(hosting, session_id), "the evaluator went on"
    hosting.walk(session_id, lambda _: hosting.fills(session_id))


def test_an_agent_that_keeps_failing_is_set_aside_and_the_session_suspended(hosting):
    """After `agent_failures_max` the agent is quarantined, said once; a recovery begins with a clean account."""
    session_id = hosting.started()
    with failing(PLANNER, ZeroDivisionError("bad")):
        hosting.walk(session_id, lambda row: row["status"] == S.SUSPENDED, limit=3)
    row = hosting.row(session_id)
    assert row["agent_failures"] == {PLANNER: 3}
    assert "quarantined after 3" in row["status_reason"]
    assert len(hosting.events(session_id, "agent_quarantined")) == 1
    hosting.do(T.RECOVER, session_id)
    hosting.do(T.RESUME, session_id)
    hosting.step()
    row = hosting.row(session_id)
    assert (row["status"], row["agent_failures"]) == (S.ACTIVE, {})


def test_a_session_without_one_of_its_agents_is_suspended_however_often_that_is_refused(hosting, monkeypatch):
    """The suspension is asked at every step until it is done, not only once."""
    session_id = hosting.started()
    system, tried = host._system, []

    def busy(*args, **more):
        tried.append(args[1])
        if len(tried) == 1:
            raise Busy("the session row", 5)
        system(*args, **more)

    monkeypatch.setattr(host, "_system", busy)
    with failing(RISK, ZeroDivisionError("bad")):
        hosting.walk(session_id, lambda row: row["status"] == S.SUSPENDED, limit=5)
    assert len(tried) == 2


def test_an_agent_that_breaks_off_between_broker_and_ledger_costs_no_fill(hosting):
    """Whatever went wrong in the middle of an order, the next step knows what the broker knows."""
    session_id = hosting.started()
    hosting.walk(session_id, lambda row: row["clock_at"] == datetime(2018, 1, 9, 15, 0, tzinfo=UTC))
    with failpoints_armed("order.placed:raise"):
        hosting.step()
    assert len(hosting.broker.positions(session_id)) == 1
    assert hosting.fills(session_id) == []
    hosting.step()
    hosting.check_books(session_id)
    assert len(hosting.fills(session_id)) == 1
    hosting.walk(session_id, lambda row: row["status"] == S.CLOSED)
    assert [fill["reason"] for fill in hosting.fills(session_id)] == ["entry", "profit"]


# Sessions beside each other


def test_what_cannot_be_stepped_is_in_error_with_the_reason_and_stops_no_other(hosting):
    """A feed that cannot be played: ERROR, the sentence names the field, and the neighbours are stepped."""
    broken, sound = hosting.started(), hosting.started()
    hosting.run(
        "UPDATE sessions SET config = jsonb_set(config, '{feed,previous}', 'null') WHERE session_id = :id", id=broken
    )
    hosting.step()
    row = hosting.row(broken)
    assert row["status"] == S.ERROR
    assert "needs its day and the day before it" in row["requires_action"]
    assert hosting.row(sound)["clock_at"] is not None
    assert hosting.step() >= 1
    assert hosting.row(broken)["version"] == row["version"], "it is not tried for ever"


def test_a_fault_of_ours_is_tried_again_before_it_is_an_error(hosting, monkeypatch):
    """An unforeseen exception of one session: others step on; it is tried again, then in ERROR naming what happened."""
    broken, sound = hosting.started(), hosting.started()
    honest = runner.run_slice

    def faulty(desk, runtime, deadline):
        if runtime.session_id == broken:
            raise KeyError("a bug of ours")
        return honest(desk, runtime, deadline)

    monkeypatch.setattr(host, "run_slice", faulty)
    for tries in range(3):
        assert hosting.row(broken)["status"] == S.ACTIVE, tries
        hosting.step()
    assert hosting.row(broken)["status"] == S.ERROR
    assert "a bug of ours" in hosting.row(broken)["requires_action"]
    assert len(samples_of(hosting, sound)) == 3


def test_a_busy_session_is_left_for_the_next_round(hosting, monkeypatch):
    """A row that stayed locked costs its own session a step and no other anything."""
    busy, sound = hosting.started(), hosting.started()
    honest = runner.run_slice

    def waiting(desk, runtime, deadline):
        if runtime.session_id == busy:
            raise Busy("the session row", 5)
        return honest(desk, runtime, deadline)

    with monkeypatch.context() as patched:
        patched.setattr(host, "run_slice", waiting)
        hosting.step()
    assert (hosting.row(busy)["status"], hosting.row(busy)["agent_failures"]) == (S.ACTIVE, {})
    assert len(samples_of(hosting, sound)) == 1
    hosting.step()
    assert len(samples_of(hosting, busy)) == 1


def test_rubbish_on_the_market_channel_is_no_market_data(hosting):
    """What another service publishes may be anything: the session waits for better, its neighbours go on."""
    published = hosting.started(config={"feed": {"kind": "published"}})
    other = hosting.started()
    hosting.desk.redis.set(MARKET_KEY, b'{"spy_price": "rubbish"}')
    hosting.step()
    assert hosting.row(published)["status"] == S.ACTIVE
    assert len(samples_of(hosting, other)) == 1
    state = {"timestamp": datetime.now(UTC).isoformat(), "spy_price": 270.0, "vix_level": 12.0}
    hosting.desk.redis.set(MARKET_KEY, orjson.dumps(state))
    hosting.step()
    assert len(samples_of(hosting, published)) == 1


def test_nobody_steps_a_session_twice_at_a_time(hosting, monkeypatch):
    """Several steppers of one host at once: no session is ever in two of them, and none is left out."""
    # What other tests left due in the module's database would have its turns too, again and again.
    hosting.run("UPDATE session_work SET next_step_at = NULL")
    sessions = {hosting.started() for _ in range(4)}
    inside, stepped, lock = set(), [], threading.Lock()
    honest = runner.run_slice

    def watched(desk, runtime, deadline):
        with lock:
            assert runtime.session_id not in inside
            inside.add(runtime.session_id)
        try:
            return honest(desk, runtime, deadline)
        finally:
            with lock:
                inside.discard(runtime.session_id)
                stepped.append(runtime.session_id)

    monkeypatch.setattr(host, "run_slice", watched)
    small = hosting.with_settings(step_batch=1)
    with ThreadPoolExecutor(2) as pool:
        # Which of the due ones a stepper claims is not promised; that every one has its turn is.
        for _ in range(50):
            # Whose turn has not come keeps its place: sessions due at the very same moment have no order.
            small.run("UPDATE session_work SET next_step_at = now() WHERE next_step_at > now()")
            list(pool.map(lambda _: host.step_due(small.desk, "h1"), range(2)))
            if set(stepped) == sessions:
                break
    assert set(stepped) == sessions
    assert all(hosting.row(session_id)["status"] == S.ACTIVE for session_id in sessions)


def test_another_hosts_session_is_left_to_it(hosting):
    """A session stays with the host that has it, even when that host is lost: only a recovery moves it."""
    session_id = hosting.started()
    hosting.step("h1")
    assert hosting.step("h2") == 0
    hosting.lose("h1")
    assert hosting.step("h2") == 0
    assert hosting.row(session_id)["host_id"] == "h1"


def test_a_session_its_host_does_not_get_to_is_taken_by_another(hosting):
    """Hosts share one queue of ticks: what a living host leaves overdue moves on, under the same epoch."""
    session_id = hosting.started()
    hosting.step("h1")
    hosts.renew(hosting.desk.engine, hosting.desk.settings, "h2", "agents")
    hosting.run("UPDATE session_work SET next_step_at = now() - interval '6 s' WHERE host_id = 'h1'")
    assert host.step_due(hosting.desk, "h2") == 1
    row = hosting.row(session_id)
    assert (row["host_id"], row["epoch"], row["status"]) == ("h2", 1, S.ACTIVE)


# Memory


def test_a_runtime_is_not_used_after_somebody_else_reported(hosting):
    """What this process remembers counts only while Redis stands where it left it."""
    session_id = hosting.started()
    hosting.step()
    live = LiveState(hosting.desk.redis, hosting.desk.settings)
    said = orjson.loads(live_of(hosting, session_id).parts[agent_part("EvaluatorAgent")])
    said["internal_state"]["steps"] = 1000
    live.report(Report(session_id, 1, "EvaluatorAgent", {agent_part("EvaluatorAgent"): orjson.dumps(said)}))
    hosting.step()
    found = orjson.loads(live_of(hosting, session_id).parts[agent_part("EvaluatorAgent")])
    assert found["internal_state"]["steps"] == 1001


def test_a_runtime_is_not_used_after_somebody_else_began_a_step(hosting):
    """A process that died in its step left no report, yet may have traded: its sibling loads the book anew."""
    session_id = hosting.started()
    hosting.walk(session_id, lambda row: row["clock_at"] == datetime(2018, 1, 9, 15, 0, tzinfo=UTC))
    warm = host._runtimes[session_id]
    host._runtimes.clear()
    with failpoints_armed("step.reported:raise"), pytest.raises(FailpointReached):
        hosting.step()
    assert len(hosting.broker.positions(session_id)) == 1
    host._runtimes.clear()
    warm.revision = live_of(hosting, session_id).revision
    host._runtimes[session_id] = warm
    assert warm.book.flat
    hosting.walk(session_id, lambda row: row["status"] == S.CLOSED)
    assert [fill["reason"] for fill in hosting.fills(session_id)] == ["entry", "profit"]


def test_a_step_under_an_old_epoch_writes_nothing(hosting, monkeypatch):
    """Superseded in the middle of its step, a host leaves no sample, day, event, clock or live state behind."""
    session_id = hosting.started()
    hosting.step()
    honest, seen = runner.run_slice, {}

    def superseded(desk, runtime, deadline):
        done = honest(desk, runtime, deadline)
        hosting.do(T.SUSPEND, session_id)
        hosting.do(T.RECOVER, session_id)
        seen["before"] = written(hosting, session_id)
        done.events.append({"timestamp": datetime.now(UTC), "event_type": "late", "event_category": "x"})
        return done

    with monkeypatch.context() as patched:
        patched.setattr(host, "run_slice", superseded)
        hosting.step()
    assert hosting.row(session_id)["epoch"] == 2
    assert written(hosting, session_id) == seen["before"]
    assert session_id not in host._runtimes
    hosting.step("h2")
    assert hosting.row(session_id)["host_id"] == "h2"


def test_an_order_under_an_old_epoch_is_refused_at_the_gate_and_at_the_broker(hosting):
    """A host that was superseded between gate and broker places nothing."""
    session_id = hosting.started()
    hosting.step()
    intent = hosting.intent(session_id)
    hosting.do(T.SUSPEND, session_id)
    outcome = hosting.do(T.RECOVER, session_id)
    assert outcome.extra["reconciled"]["never_sent"] == [intent.client_order_id]
    with pytest.raises(StaleEpoch):
        hosting.broker.cancel(session_id, 1, intent.client_order_id)
    with pytest.raises(StaleEpoch):
        hosting.intent(session_id, 2)


def test_the_clock_never_runs_back_past_a_fill(hosting):
    """A process that died after a fill and before its clock was stored: the next one begins at the fill, not before."""
    session_id = hosting.holding(hosting.started())
    fill = hosting.fills(session_id)[0]
    hosting.run("UPDATE session_work SET clock_at = :at", at=fill["timestamp"] - timedelta(minutes=20))
    forget_runtimes()
    hosting.step()
    assert hosting.row(session_id)["clock_at"] == fill["timestamp"] + timedelta(minutes=5)
    hosting.walk(session_id, lambda row: row["status"] == S.CLOSED)
    stamps = [found["timestamp"] for found in hosting.fills(session_id)]
    assert stamps == sorted(stamps)


def test_an_update_takes_effect_at_the_next_step(hosting):
    """Config, risk and strategies changed by a command are what the next step goes by, in a warm process too."""
    session_id = hosting.started()
    hosting.step()
    hosting.do(T.UPDATE, session_id, enabled_strategies=["sell_call"], risk_parameters={"take_profit_multiplier": 0.3})
    hosting.step()
    runtime = host._runtimes[session_id]
    assert (runtime.enabled_strategies, runtime.risk.take_profit_multiplier) == (["sell_call"], 0.3)
    hosting.walk(session_id, lambda _: hosting.fills(session_id))
    assert hosting.fills(session_id)[0]["right"] == "call"


# Redis


def test_a_session_that_redis_forgot_goes_on_from_its_save(hosting):
    """Flushed in the middle: suspended, put back from the save under a new epoch, PAUSED; nothing begins anew."""
    session_id = hosting.holding(hosting.started())
    hosting.save(session_id)
    before = live_of(hosting, session_id)
    hosting.desk.redis.flushdb()
    hosting.step()
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"], row["holds"]) == (S.PAUSED, 2, ["recovery"])
    assert row["recovery_data"]["source"].startswith("latest save")
    after = live_of(hosting, session_id)
    memory = {name: data for name, data in before.parts.items() if name.startswith("agent/")}
    assert {name: after.parts[name] for name in memory} == memory
    hosting.do(T.RESUME, session_id)
    hosting.walk(session_id, lambda found: found["status"] == S.CLOSED)
    assert [fill["reason"] for fill in hosting.fills(session_id)] == ["entry", "profit"]


def test_a_fence_without_memory_is_forgotten_too(hosting):
    """A command that came between the flush and the next step raised an empty fence: that is no live state."""
    session_id = hosting.holding(hosting.started())
    hosting.save(session_id)
    hosting.desk.redis.flushdb()
    hosting.do(T.PAUSE, session_id)
    assert live_of(hosting, session_id).parts == {}
    hosting.step()
    assert hosting.row(session_id)["recovery_data"]["source"].startswith("latest save")
    assert agent_part(PLANNER) in live_of(hosting, session_id).parts


def test_an_older_redis_is_behind_the_save(hosting):
    """A Redis that came back with older state than was saved is not believed."""
    session_id = hosting.started()
    hosting.step()
    key = f"fntx:{{{session_id}}}:live"
    dump = hosting.desk.redis.dump(key)
    hosting.holding(session_id)
    hosting.save(session_id)
    saved = orjson.loads(live_of(hosting, session_id).parts[agent_part("EvaluatorAgent")])["internal_state"]["steps"]
    hosting.desk.redis.restore(key, 0, dump, replace=True)
    hosting.step()
    assert hosting.row(session_id)["epoch"] == 2
    found = orjson.loads(live_of(hosting, session_id).parts[agent_part("EvaluatorAgent")])["internal_state"]["steps"]
    assert found == saved


@pytest.fixture
def own_redis(settings: Settings, tmp_path) -> Iterator:
    """A Redis of this test's own that it may stop, on a port that stays."""
    server = Valkey.of(Folder(tmp_path)).prepare()
    log = tmp_path / "valkey.log"
    running = []

    def start():
        process = server.start(log)
        running.append(process)
        server.wait_ready(log, lambda: process.poll() is None)

    def stop():
        process = running.pop()
        process.terminate()
        process.wait()

    start()
    try:
        yield server.url(), start, stop
    finally:
        while running:
            stop()


def test_redis_away_costs_nothing_but_time(settings, own_redis):
    """Steps are refused, orders of a step under way stand in Postgres, nothing is in ERROR; then it goes on."""
    url, start, stop = own_redis
    with make_hosting(settings.model_copy(update={"redis_url": SecretStr(url)})) as hosting:
        session_id = hosting.started()
        hosting.walk(session_id, lambda row: row["clock_at"] == datetime(2018, 1, 9, 15, 0, tzinfo=UTC))
        with pytest.MonkeyPatch.context() as patched:
            honest = runner.run_slice
            patched.setattr(host, "run_slice", lambda *args: (honest(*args), stop())[0])
            with pytest.raises(Unavailable):
                hosting.step()
        row = hosting.row(session_id)
        assert (row["status"], row["step_claimed_until"]) == (S.ACTIVE, None)
        assert len(hosting.fills(session_id)) == 1
        count = len(samples_of(hosting, session_id))
        assert samples_of(hosting, session_id)[-1]["timestamp"] == datetime(2018, 1, 9, 15, 0, tzinfo=UTC)
        with pytest.raises(Unavailable):
            hosting.step()
        assert len(samples_of(hosting, session_id)) == count
        start()
        hosting.walk(session_id, lambda found: found["status"] in (S.CLOSED, S.PAUSED))
        if hosting.row(session_id)["status"] == S.PAUSED:
            hosting.do(T.RESUME, session_id)
            hosting.walk(session_id, lambda found: found["status"] == S.CLOSED)
        assert [fill["reason"] for fill in hosting.fills(session_id)] == ["entry", "profit"]
        hosting.check_books(session_id)


def test_claims_of_a_batch_that_failed_are_given_back(hosting, monkeypatch):
    """What a step could not end is due at once again, not when its claim lapses."""
    session_id = hosting.started()

    def away(*_):
        raise RuntimeError("the process was told to end")

    with monkeypatch.context() as patched:
        patched.setattr(host, "_report", away)
        with pytest.raises(RuntimeError):
            hosting.step()
    assert hosting.row(session_id)["step_claimed_until"] is None
    assert claims.claimants(hosting.desk.engine, "h1") == []
    assert hosting.step() == 1
