"""Forks: another session's settings and memory, under a key, an account and a number of its own."""

import multiprocessing
import os
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hosting import ANN, DAY, Hosting, S, T, make_hosting, shared
from state_world import agent_bytes

from fntx_sessions.agents.runtime import account_view
from fntx_sessions.exceptions import Forbidden, InvalidArgument, NotFound, OrderRefused, PreconditionFailed
from fntx_sessions.lifecycle import execute, orders
from fntx_sessions.lifecycle.arguments import ForkArguments
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.reads.sessions import get_session
from fntx_sessions.security.actor import Actor
from fntx_sessions.state import checkpoints
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.testing import failpoints_armed

OPERATOR = Actor("bob", frozenset({"operator"}))
RISK = "RiskManagerAgent"


@pytest.fixture
def hosting(tmp_path, module_database_url, redis_url):
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def fork(
    hosting: Hosting, session_id: UUID, *, actor: Actor = OPERATOR, command_id: UUID | None = None, **more
) -> Outcome:
    arguments = ForkArguments.model_validate({"session_id": session_id} | more)
    return execute.fork(hosting.desk, actor, arguments, command_id or uuid4())


def remember(hosting: Hosting, session_id: UUID, note: str) -> None:
    epoch = hosting.row(session_id)["epoch"]
    live = LiveState(hosting.desk.redis, hosting.desk.settings)
    live.raise_fence(session_id, epoch)
    parts = {f"agent/{RISK}": agent_bytes(RISK, note=note), "trading": b'{"daily_pnl": -5}'}
    live.report(Report(session_id, epoch, RISK, parts))


def parent_of(hosting: Hosting, note: str = "seen", **asked) -> UUID:
    session_id = hosting.started(**asked)
    remember(hosting, session_id, note)
    return session_id


def memory(hosting: Hosting, session_id: UUID) -> dict[str, bytes]:
    return LiveState(hosting.desk.redis, hosting.desk.settings).read([session_id])[0].parts


def test_a_fork_begins_with_its_parents_memory_and_settings(hosting):
    """Started, its agents remember; nothing of the parent's money came along, and the parent names its child."""
    parent = parent_of(hosting, note=os.urandom(9000).hex(), risk_parameters={"position_limit": 3})
    made = fork(hosting, parent)
    child, before = hosting.row(made.session_id), hosting.row(parent)
    assert (made.state, child["status"], child["session_type"]) == ("done", S.INITIALIZING, "paper_trading")
    for same in ("risk_parameters", "enabled_strategies", "strategy_parameters", "roster", "template_version"):
        assert child[same] == before[same]
    assert child["account_id"] == f"paper:{made.session_id}"
    hosting.do(T.START, made.session_id)
    remembered, own = memory(hosting, parent), memory(hosting, made.session_id)
    assert own == {f"agent/{RISK}": remembered[f"agent/{RISK}"]}
    [first] = checkpoints.list_checkpoints(hosting.desk.engine, made.session_id)
    assert (first.checkpoint_type, first.verified, first.created_by) == ("fork", True, "bob")
    assert get_session(*hosting.desk.parts(), parent).child_session_ids == [made.session_id]
    assert hosting.events(parent, "session_forked")[0]["description"].startswith(f"session {made.session_id}")
    assert hosting.broker.positions(made.session_id) == []


def test_a_fork_of_a_checkpoint_remembers_that_moment(hosting):
    """Not what came after it; a checkpoint of another session is refused."""
    parent = parent_of(hosting, "then")
    kept = checkpoints.create_checkpoint(*hosting.desk.parts(), parent, "manual")
    remember(hosting, parent, "now")
    child = fork(hosting, parent, checkpoint_id=kept.checkpoint_id).session_id
    hosting.do(T.START, child)
    assert b'"then"' in memory(hosting, child)[f"agent/{RISK}"]
    with pytest.raises(InvalidArgument, match="of another session"):
        fork(hosting, child, checkpoint_id=kept.checkpoint_id)
    with pytest.raises(NotFound):
        fork(hosting, parent, checkpoint_id=uuid4())
    with pytest.raises(PreconditionFailed, match="Start it first"):
        fork(hosting, hosting.create())


def test_a_fork_is_paper_unless_a_risk_manager_says_otherwise(hosting):
    """An operator's fork trades no live money; whoever may, chooses the type."""
    parent = parent_of(hosting, kind="regular")
    assert hosting.row(fork(hosting, parent).session_id)["session_type"] == "paper_trading"
    with pytest.raises(Forbidden):
        fork(hosting, parent, session_type="regular")
    live = fork(hosting, parent, actor=ANN, session_type="regular").session_id
    assert hosting.row(live)["session_type"] == "regular"


def test_a_fork_cannot_be_a_backtest_of_a_feed_that_is_never_played_again(hosting):
    """What another service published is gone: refused by name, as at a creation; a seeded day is played again."""
    published = parent_on(hosting, {"kind": "published"})
    with pytest.raises(
        InvalidArgument, match=r"config\.feed\.kind.*a backtest runs on a replayed, recorded or synthetic feed"
    ):
        fork(hosting, published, session_type="backtest")
    assert fork(hosting, published).state == "done"
    made = parent_on(hosting, {"kind": "synthetic", "seed": 7, "trade_date": "2018-02-06"})
    assert fork(hosting, made, session_type="backtest").state == "done"


def parent_on(hosting: Hosting, feed: dict) -> UUID:
    return parent_of(hosting, config={"feed": feed})


def test_a_fork_on_its_parents_account_shares_its_loss(hosting):
    """The loss used, and the limit that fired, are the account's: a fork there counts both once."""
    parent = parent_of(hosting)
    account = hosting.row(parent)["account_id"]
    hosting.run(
        "INSERT INTO session_days (session_id, trade_date, account_id, realized) VALUES (:id, :day, :account, -700)",
        id=parent, day=DAY, account=account,
    )  # fmt: skip
    hosting.do(T.STOP, parent)
    hosting.finish()
    same = fork(hosting, parent, account=account).session_id
    view = account_view(hosting.desk, hosting.broker, account, same, DAY)
    assert (view.other_pnl, view.carried) == (-700, 0)
    orders.latch(hosting.desk.engine, account, DAY, "test", "lost")
    assert "has fired for" in hosting.ask(T.START, same).error["message"]


def lost(hosting: Hosting, session_id: UUID, dollars: int, day: date = DAY) -> str:
    """Let a session have lost on a trade date; returns its account."""
    account = hosting.row(session_id)["account_id"]
    orders.account_day(hosting.desk.engine, account, day)
    hosting.run(
        "INSERT INTO session_days (session_id, trade_date, account_id, realized) "
        "VALUES (:id, :day, :account, :realized) ON CONFLICT (session_id, trade_date) "
        "DO UPDATE SET realized = excluded.realized",
        id=session_id, day=day, account=account, realized=-dollars,
    )  # fmt: skip
    return account


def test_a_fork_does_not_get_round_a_limit_that_fired(hosting):
    """On an account of its own it is refused as its parent would be, until a risk manager clears it."""
    parent = parent_of(hosting)
    account = lost(hosting, parent, 700)
    orders.latch(hosting.desk.engine, account, DAY, "test", "lost")
    first = fork(hosting, parent).session_id
    with pytest.raises(PreconditionFailed, match=f"loss limit of account paper:{first} has fired for {DAY}"):
        hosting.do(T.START, first)
    [told] = hosting.events(first, "loss_carried")
    assert f"begins {DAY} with $700.00 of its loss limit used by {account}" in told["description"]
    hosting.do(T.UPDATE, first, clear_latch=True)
    hosting.do(T.START, first)


def test_a_fork_has_left_of_the_limit_what_its_parent_has(hosting):
    """By share of the equity, through forks of forks, at the gate and in its view; its own P&L begins at zero."""
    parent = parent_of(hosting, risk_parameters={"max_daily_risk": 0.02})
    lost(hosting, parent, 1500)
    small = hosting.with_settings(paper_equity_usd=50_000)
    child = fork(small, parent).session_id
    account = hosting.row(child)["account_id"]
    view = account_view(hosting.desk, hosting.broker, account, child, DAY)
    assert (view.equity_at_roll, view.other_pnl, view.carried) == (50_000, 0, -750)
    hosting.do(T.START, child)
    with pytest.raises(OrderRefused, match=r"\$250\.00 remains of \$1000\.00"):
        hosting.intent(child, risk="250.01")
    assert hosting.intent(child, 2, risk="250")
    remember(hosting, child, "seen")
    lost(hosting, child, 100)
    grandchild = fork(small, child).session_id
    assert orders.account_day(hosting.desk.engine, f"paper:{grandchild}", DAY).carried == -850


def test_only_its_own_trade_date_counts_and_a_profit_is_not_carried(hosting):
    """A limit that fired on another trade date, and what was won, are nothing to a fork's day."""
    parent = parent_of(hosting)
    account = lost(hosting, parent, 900, DAY - timedelta(days=1))
    orders.latch(hosting.desk.engine, account, DAY - timedelta(days=1), "test", "lost")
    lost(hosting, parent, -300)
    child = fork(hosting, parent).session_id
    hosting.do(T.START, child)
    found = orders.account_day(hosting.desk.engine, f"paper:{child}", DAY)
    assert (found.carried, found.latched, found.pnl) == (0, False, 0)


def test_a_fork_whose_limit_is_used_up_by_its_parent_opens_nothing(hosting):
    """Stepped, its own agents see the limit reached before it lost a cent, and show nothing left."""
    parent = parent_of(hosting)
    lost(hosting, parent, 50_000)
    child = fork(hosting, parent).session_id
    hosting.do(T.START, child)
    hosting.walk(child, lambda row: row["clock_at"] and row["clock_at"] >= datetime(2018, 1, 9, 15, 30, tzinfo=UTC))
    assert hosting.fills(child) == []
    trading = get_session(*hosting.desk.parts(), child).trading_state
    assert (trading.daily_pnl, trading.max_daily_loss_remaining) == (0, 0)


@pytest.mark.parametrize("place", ["create.before_commit", "create.committed"])
def test_a_killed_fork_is_whole_or_not_there(hosting, place):
    """Killed around its one commit: no session without its memory; asked again it is made once."""
    parent, command_id = parent_of(hosting, os.urandom(9000).hex()), uuid4()
    child = multiprocessing.get_context("fork").Process(
        target=fork_and_die, args=(hosting.desk.settings, place, parent, command_id)
    )
    child.start()
    child.join()
    assert child.exitcode == -9
    made = hosting.rows("SELECT session_id FROM sessions WHERE parent_session_id = :id", id=parent)
    assert len(made) == (place == "create.committed")
    outcome = fork(hosting, parent, command_id=command_id)
    assert outcome.repeated == (place == "create.committed")
    remember(hosting, parent, "later")
    assert fork(hosting, parent, command_id=command_id).session_id == outcome.session_id
    [first] = checkpoints.list_checkpoints(hosting.desk.engine, outcome.session_id)
    checkpoints.load_checkpoint(hosting.desk.engine, hosting.desk.settings, first.checkpoint_id)


def test_memory_survives_a_flush_before_the_start(hosting):
    """It is kept in Postgres, and put into Redis with the start, also one that waited for its agents."""
    parent = parent_of(hosting)
    child = fork(hosting, parent).session_id
    hosting.run("UPDATE session_agents SET ready_at = NULL WHERE session_id = :id", id=child)
    assert hosting.ask(T.START, child).state == "pending"
    hosting.desk.redis.flushdb()
    hosting.run("UPDATE session_agents SET ready_at = now() WHERE session_id = :id", id=child)
    assert hosting.finish() == {"start_done": 1}
    assert b'"seen"' in memory(hosting, child)[f"agent/{RISK}"]


def test_a_fork_that_cannot_be_read_does_not_start_without_its_memory(hosting):
    """Damage is a refusal that says so, not a session that begins with nothing."""
    child = fork(hosting, parent_of(hosting)).session_id
    hosting.run("UPDATE checkpoints SET checksum = sha256('x') WHERE session_id = :id", id=child)
    refused = hosting.ask(T.START, child)
    assert "failed its integrity check" in refused.error["message"]
    assert hosting.row(child)["status"] == S.INITIALIZING


def fork_and_die(settings, place: str, parent: UUID, command_id: UUID) -> None:
    with make_hosting(settings) as hosting, failpoints_armed(f"{place}:kill"):
        fork(hosting, parent, command_id=command_id)
