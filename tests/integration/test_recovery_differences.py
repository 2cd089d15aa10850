"""Memory, ledger and broker after a recovery: late fills are no difference, lost ones are, and money simply goes on."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import pytest
from hosting import ANN, DAY, Hosting, S, T, forget_runtimes, make_hosting, shared
from recovery_world import events, layered, live_of, lose_redis

from fntx_sessions.automation import hosts
from fntx_sessions.exceptions import Forbidden, InvalidArgument, PreconditionFailed
from fntx_sessions.lifecycle import orders
from fntx_sessions.lifecycle.reads.metrics import get_metrics
from fntx_sessions.lifecycle.reads.sessions import get_session
from fntx_sessions.lifecycle.recovery.differences import Ledger, compare, read_ledger
from fntx_sessions.lifecycle.recovery.memory import memory_of
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.redis_client import key
from fntx_sessions.testing import FailpointReached, failpoints_armed

RISK = Actor("rita", frozenset({"risk_manager"}))
OPERATOR = Actor("otto", frozenset({"operator"}))
AUTO = {"config": {"auto_resume_after_recovery": True}}


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def holding(hosting: Hosting, **asked) -> UUID:
    """A session with a position, its last step an hour ago, saved and suspended: nothing is in doubt by clocks."""
    session_id = hosting.holding(hosting.started(**asked))
    hosting.step()
    hosting.run("UPDATE fills SET recorded_at = recorded_at - interval '1 hour' WHERE session_id = :id", id=session_id)
    hosting.save(session_id)
    hosting.do(T.SUSPEND, session_id)
    return session_id


def forget_everywhere(hosting: Hosting, session_id: UUID) -> None:
    """Delete every fill of a session from broker and ledger, as two databases restored from an old dump would."""
    for table in ("fills", "paper_fills", "paper_positions"):
        hosting.run(f"DELETE FROM {table} WHERE session_id = :id", id=session_id)


def no_position(hosting: Hosting, session_id: UUID) -> None:
    hosting.run("UPDATE paper_positions SET quantity = 0 WHERE session_id = :id", id=session_id)


def no_execution(hosting: Hosting, session_id: UUID) -> None:
    hosting.run("DELETE FROM paper_fills WHERE session_id = :id", id=session_id)


def unknown_order(hosting: Hosting, session_id: UUID) -> None:
    hosting.run(
        "INSERT INTO paper_orders SELECT 'stray/' || client_order_id, session_id, account_id, epoch, trade_date, "
        "false, 'working', request, created_at FROM paper_orders WHERE session_id = :id LIMIT 1",
        id=session_id,
    )


def lost_order(hosting: Hosting, session_id: UUID) -> None:
    """The ledger saw it working at the broker, which has never heard of it."""
    name = hosting.intent(session_id, 70, opening=False).client_order_id
    hosting.run("UPDATE order_intents SET state = 'working' WHERE client_order_id = :name", name=name)


def remembered_order(hosting: Hosting, session_id: UUID) -> None:
    """Agents remember an order that no gate ever let through."""
    live = LiveState(hosting.desk.redis, hosting.desk.settings)
    view = orjson.loads(live_of(hosting, session_id).parts["trading"])
    view["pending_orders"] = [{"client_order_id": f"{session_id}/1/99"}]
    live.report(Report(session_id, 1, "TacticalExecutorAgent", {"trading": orjson.dumps(view)}))


@pytest.mark.parametrize(
    ("part", "kinds"),
    [
        (forget_everywhere, {"position"}),
        (no_position, {"position"}),
        (no_execution, {"fill"}),
        (unknown_order, {"order"}),
        (lost_order, {"order"}),
        (remembered_order, {"order"}),
    ],
)
def test_a_difference_waits_for_a_risk_manager(hosting, part, kinds):
    """PAUSED, each difference listed in a critical event, resume refused by name until somebody answers for it."""
    session_id = holding(hosting)
    part(hosting, session_id)
    outcome = hosting.do(T.RECOVER, session_id)
    found = outcome.extra["differences"]
    assert {one["kind"] for one in found} == kinds
    row = hosting.row(session_id)
    assert row["status"] == S.PAUSED
    assert f'a risk manager answers for it: `fntx accept {session_id} --reason "..."`' in row["requires_action"]
    [event] = events(hosting, session_id, "reconciliation_difference")
    assert event.description == row["requires_action"]
    assert (event.severity, event.requires_action, event.data["differences"]) == ("critical", True, found)
    with pytest.raises(PreconditionFailed, match=f"fntx accept {session_id}"):
        hosting.do(T.RESUME, session_id)
    with pytest.raises(Forbidden):
        hosting.do(T.ACCEPT, session_id, actor=OPERATOR, reason="fine")
    with pytest.raises(InvalidArgument, match="reason"):
        hosting.do(T.ACCEPT, session_id, actor=RISK)
    hosting.do(T.ACCEPT, session_id, actor=RISK, reason="the broker is right, I called them")
    assert hosting.row(session_id)["requires_action"] is None
    [accepted] = events(hosting, session_id, "differences_accepted")
    assert "rita" in accepted.description
    hosting.do(T.RESUME, session_id)
    assert hosting.row(session_id)["status"] == S.ACTIVE


def test_what_was_accepted_is_not_raised_again(hosting):
    """The same difference at the next recovery is known; nothing is left to accept."""
    session_id = holding(hosting)
    no_position(hosting, session_id)
    hosting.do(T.RECOVER, session_id)
    hosting.do(T.ACCEPT, session_id, actor=RISK, reason="known")
    hosting.do(T.SUSPEND, session_id)
    assert hosting.do(T.RECOVER, session_id).extra["differences"] == []
    with pytest.raises(PreconditionFailed, match="there are no differences to accept"):
        hosting.do(T.ACCEPT, session_id, actor=RISK, reason="again")


def test_a_recovery_that_fails_keeps_what_nobody_accepted(hosting):
    """Differences are not forgotten by asking for another recovery that comes to nothing."""
    session_id = holding(hosting)
    no_position(hosting, session_id)
    hosting.do(T.RECOVER, session_id)
    assert hosting.ask(T.RECOVER, session_id, checkpoint_id=uuid4()).state == "refused"
    with pytest.raises(PreconditionFailed, match="memory, ledger and broker differ: position"):
        hosting.do(T.RESUME, session_id)


def test_a_session_with_differences_does_not_resume_by_itself(hosting):
    """auto_resume_after_recovery is for what agrees."""
    session_id = hosting.holding(hosting.started(**AUTO))
    no_position(hosting, session_id)
    hosts.renew(hosting.desk.engine, hosting.desk.settings, "h2", "agents")
    hosting.lose("h1")
    assert hosting.watch().recovered == [session_id]
    row = hosting.row(session_id)
    assert (row["status"], row["holds"]) == (S.PAUSED, ["recovery"])
    assert row["recovery_data"]["differences"]


def test_late_fills_are_no_difference(hosting):
    """A fill between the save and the crash: ledger and broker agree, agents are given the truth."""
    session_id = hosting.started()
    hosting.walk(session_id, lambda row: row["clock_at"] and row["clock_at"].hour == 15)
    hosting.save(session_id)
    with failpoints_armed("order.placed:raise"):
        hosting.step()
    assert hosting.fills(session_id) == []
    hosting.do(T.SUSPEND, session_id)
    lose_redis(hosting, session_id)
    outcome = hosting.do(T.RECOVER, session_id)
    assert len(outcome.extra["reconciled"]["late_fills"]) == 1
    assert (outcome.extra["differences"], outcome.extra["requires_action"]) == ([], None)
    hosting.do(T.RESUME, session_id)
    hosting.walk(session_id, lambda row: row["status"] == S.CLOSED)
    hosting.check_books(session_id)


def test_recovered_twice_without_a_step_between_is_no_difference(hosting):
    """The first found a late fill, no agent has stepped since: its memory is older than the ledger, and that is all."""
    session_id = hosting.started()
    hosting.walk(session_id, lambda row: row["clock_at"] and row["clock_at"].hour == 15)
    with failpoints_armed("order.placed:raise"):
        hosting.step()
    hosting.do(T.SUSPEND, session_id)
    hosting.do(T.RECOVER, session_id)
    hosting.save(session_id)
    hosting.do(T.SUSPEND, session_id)
    assert hosting.do(T.RECOVER, session_id).extra["differences"] == []


def test_an_old_checkpoint_is_no_difference(hosting):
    """Made before the entry, restored while the position is open: fills recorded since explain it."""
    session_id, made = layered(hosting)
    assert hosting.broker.positions(session_id)
    outcome = hosting.do(T.RECOVER, session_id, checkpoint_id=made.checkpoint_id)
    assert outcome.extra["differences"] == []


def test_a_fill_the_broker_has_and_the_ledger_lost_comes_back(hosting):
    """The ledger is brought up to the broker before anything is compared."""
    session_id = holding(hosting)
    hosting.run("DELETE FROM fills WHERE session_id = :id", id=session_id)
    outcome = hosting.do(T.RECOVER, session_id)
    assert len(outcome.extra["reconciled"]["late_fills"]) == 1
    assert outcome.extra["differences"] == []
    hosting.check_books(session_id)


def test_a_forgotten_exit_is_seen_though_ledger_and_broker_agree(hosting):
    """Agents remember that a trade was closed long ago; both stores hold it open: that is for a person."""
    session_id = hosting.holding(hosting.started())
    hosting.walk(session_id, lambda _: not hosting.broker.positions(session_id))
    hosting.run("UPDATE fills SET recorded_at = recorded_at - interval '1 hour' WHERE session_id = :id", id=session_id)
    if hosting.row(session_id)["status"] == S.ACTIVE:
        hosting.do(T.SUSPEND, session_id)
    ledger = read_ledger(hosting.desk.engine, session_id)
    parts = live_of(hosting, session_id).parts
    seen = memory_of(parts, frozenset({"EvaluatorAgent"}))
    executed = ledger.fill_ids
    assert compare(ledger, seen, hosting.broker, session_id, executed) == []
    [opening] = [fill for fill in ledger.fills if fill["quantity"] < 0]
    found = compare(Ledger([opening], ledger.orders), seen, hosting.broker, session_id, executed)
    assert any(one["remembered"] == 0 and one["ledger"] == -1 for one in found)


def test_a_recovery_that_broke_off_after_settling_still_tells_of_the_lost_order(hosting):
    """Settled, the order looks rejected like any other; what was noted before says what it was."""
    session_id = holding(hosting)
    lost_order(hosting, session_id)
    with failpoints_armed("recovery.reconciled:raise"), pytest.raises(FailpointReached):
        hosting.ask(T.RECOVER, session_id)
    assert hosting.finish() == {"recover_done": 1}
    [found] = hosting.row(session_id)["recovery_data"]["differences"]
    assert (found["kind"], found["ledger"], found["broker"]) == ("order", "working", None)


@pytest.mark.parametrize("how", ["recovery", "hand-over", "restart"])
def test_money_goes_on(hosting, how):
    """P&L, trades, loss used and a latch are after it what they were before: nothing but a new day resets them."""
    session_id = hosting.holding(hosting.started())
    hosting.step()
    account = hosting.row(session_id)["account_id"]
    orders.latch(hosting.desk.engine, account, DAY, "test", "fired")
    before = get_metrics(hosting.desk.engine, session_id)
    day = orders.account_day(hosting.desk.engine, account, DAY)
    assert day.pnl != 0
    hosting.save(session_id)
    if how == "recovery":
        hosting.do(T.SUSPEND, session_id)
        hosting.desk.redis.flushdb()
        hosting.do(T.RECOVER, session_id)
    elif how == "hand-over":
        hosts.leave(hosting.desk.engine, "h1")
    forget_runtimes()
    after = get_metrics(hosting.desk.engine, session_id)
    same = ("net_pnl", "gross_pnl", "fees", "total_trades", "max_drawdown", "execution_slippage")
    assert {name: getattr(after, name) for name in same} == {name: getattr(before, name) for name in same}
    assert orders.account_day(hosting.desk.engine, account, DAY) == day
    hosting.step("h2")
    now = orders.account_day(hosting.desk.engine, account, DAY)
    assert now.latched
    assert abs(now.pnl - day.pnl) < Decimal(60), "a bar's move of one contract, no reset"
    if how == "recovery":
        with pytest.raises(PreconditionFailed, match="loss limit"):
            hosting.do(T.RESUME, session_id, actor=ANN)


def test_an_agents_notes_about_what_was_never_traded_are_a_difference(hosting):
    """The risk manager's quotes name a contract as held; neither ledger nor broker ever had it."""
    session_id = hosting.started()
    hosting.step()
    live = LiveState(hosting.desk.redis, hosting.desk.settings)
    name = "agent/RiskManagerAgent"
    state = orjson.loads(live_of(hosting, session_id).parts[name])
    state["internal_state"]["quotes"] = {"SPY180109P00250000": ["0.10", "0.12"]}
    live.report(Report(session_id, 1, "RiskManagerAgent", {name: orjson.dumps(state)}))
    hosting.do(T.SUSPEND, session_id)
    [found] = hosting.do(T.RECOVER, session_id).extra["differences"]
    assert (found["symbol"], found["ledger"]) == ("SPY180109P00250000", 0)
    assert hosting.desk.redis.exists(key(session_id, "live"))


@pytest.mark.parametrize(
    "view",
    [{"open_positions": "none"}, {"open_positions": [1, {"symbol": []}]}, {"pending_orders": [{"client_order_id": 5}]}],
)
def test_a_view_in_another_shape_says_nothing(hosting, view):
    """Written past our checks it may be anything: what cannot be read as positions and orders is no memory of any."""
    session_id = hosting.started()
    hosting.step()
    hosting.desk.redis.hset(key(session_id, "live"), "part:trading", orjson.dumps(view))
    hosting.do(T.SUSPEND, session_id)
    assert hosting.do(T.RECOVER, session_id).extra["differences"] == []


def test_a_forks_memory_of_its_parents_trades_is_no_difference(hosting):
    """It begins with the other's notes and none of its positions."""
    parent = hosting.started()
    session_id = hosting.started(parent_session_id=parent)
    hosting.step()
    live, name = LiveState(hosting.desk.redis, hosting.desk.settings), "agent/RiskManagerAgent"
    state = orjson.loads(live_of(hosting, session_id).parts[name])
    state["internal_state"]["quotes"] = {"SPY180109P00250000": ["0.10", "0.12"]}
    live.report(Report(session_id, 1, "RiskManagerAgent", {name: orjson.dumps(state)}))
    hosting.do(T.SUSPEND, session_id)
    assert hosting.do(T.RECOVER, session_id).extra["differences"] == []


def surplus(hosting: Hosting, session_id: UUID) -> None:
    """The broker holds two contracts more of what was sold, and calls that no fill here explains."""
    hosting.run(
        "UPDATE paper_positions SET quantity = quantity - 2 WHERE session_id = :id AND quantity < 0", id=session_id
    )
    hosting.run(
        "INSERT INTO paper_positions SELECT session_id, 'T9', 'SPY180109C00276000', account_id, 'call', 276, "
        "expiry, 2, 0.30, opened_at FROM paper_positions WHERE session_id = :id LIMIT 1",
        id=session_id,
    )


def held_by(hosting: Hosting, session_id: UUID) -> dict[str, int]:
    return {one.contract.symbol: one.quantity for one in hosting.broker.positions(session_id)}


def shown(hosting: Hosting, session_id: UUID) -> dict[str, int]:
    found = get_session(hosting.desk.engine, hosting.desk.redis, hosting.desk.settings, session_id)
    return {one.symbol: one.quantity for one in found.trading_state.open_positions}


@pytest.mark.parametrize("part", [surplus, no_position, no_execution])
def test_accepting_books_what_the_broker_holds(hosting, part):
    """Once accepted, ledger and readers hold the broker's positions; asked again, nothing is booked twice."""
    session_id = holding(hosting)
    part(hosting, session_id)
    hosting.do(T.RECOVER, session_id)
    command_id = uuid4()
    accepted = hosting.ask(T.ACCEPT, session_id, actor=RISK, reason="seen", command_id=command_id)
    assert hosting.ask(T.ACCEPT, session_id, actor=RISK, reason="seen", command_id=command_id).extra == accepted.extra
    held = {(one.trade_id, one.contract.symbol): one.quantity for one in hosting.broker.positions(session_id)}
    assert read_ledger(hosting.desk.engine, session_id).positions() == held
    assert shown(hosting, session_id) == held_by(hosting, session_id)
    booked = [fill for fill in hosting.fills(session_id) if fill["reason"] == "reconciliation"]
    assert len(booked) == len(accepted.extra["booked"]) == {surplus: 2, no_position: 1, no_execution: 0}[part]
    [event] = events(hosting, session_id, "differences_accepted")
    assert event.data["booked"] == accepted.extra["booked"]
    hosting.do(T.SUSPEND, session_id)
    assert hosting.do(T.RECOVER, session_id).extra["differences"] == []


def test_a_stop_closes_all_that_the_broker_holds(hosting):
    """What was accepted is managed: limits count it, the stop flattens every contract, the books agree at the end."""
    session_id = holding(hosting)
    surplus(hosting, session_id)
    hosting.do(T.RECOVER, session_id)
    hosting.do(T.ACCEPT, session_id, actor=RISK, reason="the broker is right")
    hosting.do(T.RESUME, session_id)
    hosting.do(T.STOP, session_id, close_positions=True)
    for _ in range(6):
        hosting.step()
    assert hosting.broker.positions(session_id) == []
    hosting.finish()
    assert hosting.row(session_id)["status"] == S.CLOSED
    hosting.check_books(session_id)


def test_agents_count_what_the_broker_holds(hosting):
    """From the first step after a recovery on: contracts, positions and what is left of the limit are the broker's."""
    session_id = holding(hosting)
    surplus(hosting, session_id)
    hosting.do(T.RECOVER, session_id)
    hosting.step()
    view = orjson.loads(live_of(hosting, session_id).parts["trading"])
    contracts = sum(abs(one["quantity"]) for one in view["open_positions"])
    assert contracts + view["position_limit_remaining"] == hosting.row(session_id)["risk_parameters"]["position_limit"]
    assert {one["symbol"]: one["quantity"] for one in view["open_positions"]} == held_by(hosting, session_id)


def test_an_order_nobody_knows_stays_listed_with_what_to_do(hosting):
    """It works at the broker: no booking mends that, and whoever accepts is told."""
    session_id = holding(hosting)
    unknown_order(hosting, session_id)
    hosting.do(T.RECOVER, session_id)
    outcome = hosting.do(T.ACCEPT, session_id, actor=RISK, reason="seen")
    [left] = hosting.row(session_id)["recovery_data"]["at_broker"]
    assert left["what"].startswith("stray/")
    [warning] = outcome.warnings
    assert "cancel it at the broker" in warning


def test_a_stop_says_at_once_what_it_waits_for(hosting):
    """Whoever looks sees the positions in the way, long before the deadline calls a person."""
    session_id = holding(hosting)
    surplus(hosting, session_id)
    hosting.do(T.STOP, session_id, close_positions=True)
    found = get_session(hosting.desk.engine, hosting.desk.redis, hosting.desk.settings, session_id)
    assert "open positions: -3 " in found.waiting_for
    assert "2 SPY180109C00276000" in found.waiting_for
    assert found.requires_action is None
