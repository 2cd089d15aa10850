"""Questions about sessions, asked of the real tables: what is committed is what is answered."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from lifecycle_harness import World
from redis import Redis
from reference_metrics import RunFacts, session_metrics
from sqlalchemy import text

from fntx_sessions.cli import details
from fntx_sessions.exceptions import InvalidArgument, NotFound
from fntx_sessions.lifecycle.arguments import ListArguments
from fntx_sessions.lifecycle.orders import settle
from fntx_sessions.lifecycle.reads import checkpoints, history, metrics, sessions, trades
from fntx_sessions.schemas import SessionStatus, TradingSession, Trigger
from fntx_sessions.settings import Settings
from fntx_sessions.state.checkpoints import create_checkpoint
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.redis_client import build_redis
from fntx_sessions.state.saves import save_sessions
from fntx_sessions.state.tiers.memory import get_memory
from fntx_sessions.trading.ledger import trades_of
from fntx_sessions.trading.orders import Contract, Fill

OPEN = datetime(2018, 1, 2, 15, 0, tzinfo=UTC)
PUT = Contract("put", Decimal(265), OPEN.date())
CALL = Contract("call", Decimal(271), OPEN.date())
STATUS = SessionStatus.ACTIVE


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    made = World.over(settings.database_url.get_secret_value())
    yield made
    made.close()


@pytest.fixture
def client(settings: Settings) -> Iterator[Redis]:
    made = build_redis(settings.redis_url.get_secret_value(), settings)
    yield made
    made.close()


def fill(session_id: UUID, trade: str, minute: int, side: str, price: str, contract: Contract = PUT) -> Fill:
    """Return one contract traded."""
    return Fill(
        fill_id=f"{session_id}/{trade}/{minute}/{contract.right}",
        session_id=session_id,
        account_id=f"paper:{session_id}",
        epoch=1,
        client_order_id=f"{trade}/{minute}",
        trade_id=f"2018-01-02/sell_put/{trade}",
        trade_date=OPEN.date(),
        contract=contract,
        side=side,  # type: ignore[arg-type]
        quantity=2,
        price=Decimal(price),
        fee=Decimal("1.36"),
        slippage=Decimal("0.50"),
        opening=side == "sell",
        reason="" if side == "sell" else "profit",
        timestamp=OPEN + timedelta(minutes=minute),
    )


def traded(world: World, *, still_open: bool = False) -> tuple[UUID, list[Fill]]:
    """Return an active session with a win, a loss, a scratch, and perhaps a trade that is open; and its fills."""
    session_id = world.in_status(STATUS)
    fills = [
        fill(session_id, "1", 0, "sell", "0.50"), fill(session_id, "1", 5, "buy", "0.20"),
        fill(session_id, "2", 10, "sell", "0.50"), fill(session_id, "2", 15, "buy", "1.10"),
        fill(session_id, "3", 20, "sell", "0.50"), fill(session_id, "3", 25, "buy", "0.4864"),
    ]  # fmt: skip
    if still_open:
        fills += [fill(session_id, "4", 30, "sell", "0.60"), fill(session_id, "4", 30, "sell", "0.40", CALL)]
    settle(world.engine, {}, fills)
    return session_id, fills


def sample(world: World, session_id: UUID, minute: int, net: str, **steps: Any) -> None:
    world.execute(
        "INSERT INTO samples (session_id, timestamp, epoch, net_pnl, steps) VALUES (:id, :at, 1, :net, :steps)",
        id=session_id,
        at=OPEN + timedelta(minutes=minute),
        net=Decimal(net),
        steps=orjson.dumps(steps).decode(),
    )


def listed(world: World, **asked: Any) -> list[UUID]:
    found = sessions.list_sessions(world.engine, ListArguments.model_validate(asked))
    return [one.session_id for one in found]


def test_metrics_are_those_of_the_trading_definitions(world: World) -> None:
    """The one SELECT and the definitions in `trading.metrics` come to the same figures."""
    session_id, fills = traded(world)
    curve = ["10", "60", "-90", "-64.08"]
    for minute, net in enumerate(curve):
        sample(world, session_id, minute, net, attempted=10, failed=1)
    found = metrics.get_metrics(world.engine, session_id)
    facts = RunFacts(
        session_id, OPEN, started_at=found.start_time, net_curve=[Decimal(net) for net in curve], attempts=40, failed=4
    )
    expected = session_metrics(facts, fills)
    clocked = {"active_duration", "pause_duration"}
    assert found.model_dump(exclude=clocked) == expected.model_dump(exclude=clocked)
    assert (found.total_trades, found.winning_trades, found.losing_trades, found.scratch_trades) == (3, 1, 1, 1)
    assert (found.max_drawdown, found.error_rate) == (Decimal(-150), 0.1)
    assert "no money is at stake" in found.notice


def test_a_loss_after_the_last_sample_is_a_drawdown_too(world: World) -> None:
    """What was realised and sampled in no bar still counts."""
    session_id, _ = traded(world)
    sample(world, session_id, 0, "40")
    assert metrics.get_metrics(world.engine, session_id).max_drawdown == Decimal("-105.44")


def test_open_trades_count_at_their_marks(world: World) -> None:
    """Net is the last sample's while something is open; gross is net before fees."""
    session_id, fills = traded(world, still_open=True)
    sample(world, session_id, 31, "55.5")
    found = metrics.get_metrics(world.engine, session_id)
    assert found.total_trades == 3
    assert found.net_pnl == Decimal("55.5")
    assert found.gross_pnl - found.fees == found.net_pnl
    assert found.fees == sum(one.fee for one in fills)


def test_metrics_tell_the_time_in_each_status(world: World) -> None:
    """Active and paused seconds come from the transitions; the status is of the same moment."""
    session_id = world.in_status(SessionStatus.PAUSED)
    world.execute(
        "SET LOCAL session_replication_role = replica;"  # history is append-only: its trigger has to look away
        "UPDATE transitions SET timestamp = CAST(:start AS timestamptz) + CASE to_status WHEN 'initializing' "
        "THEN interval '0' WHEN 'active' THEN interval '10 s' ELSE interval '70 s' END WHERE session_id = :id",
        start=OPEN,
        id=session_id,
    )
    found = metrics.get_metrics_and_status(world.engine, session_id)
    assert found["metrics"].active_duration == 60
    assert found["metrics"].pause_duration > 60
    assert found["session"] == {"session_id": session_id, "status": "paused", "version": 3, "epoch": 1}


def test_trades_are_flat_to_flat_oldest_first(world: World) -> None:
    """Each trade has its legs, result and exit reason; an open one has neither outcome nor end."""
    session_id, fills = traded(world, still_open=True)
    found = trades.get_trades(world.engine, session_id, 100)
    assert [trade.outcome for trade in found] == ["win", "loss", "scratch", None]
    assert [trade.net_pnl for trade in found] == [result.net for result in trades_of(fills)]
    assert (found[0].exit_reason, found[3].exit_reason, found[3].closed_at) == ("profit", None, None)
    assert [len(trade.fills) for trade in found] == [2, 2, 2, 2]
    assert [trade.trade_id[-1] for trade in trades.get_trades(world.engine, session_id, 2)] == ["3", "4"]


def test_the_money_view_is_the_ledgers(world: World, client: Redis, settings: Settings) -> None:
    """Positions are those of the fills, whatever a host reported; its marks value them."""
    session_id, _ = traded(world, still_open=True)
    reported = {
        "daily_pnl": 12.5,
        "trading_enabled": True,
        "open_positions": [
            {"symbol": PUT.symbol, "right": "put", "quantity": -9, "average_price": 0.6, "mark": 0.35, "trade_id": "x",
             "opened_at": OPEN.isoformat()},
        ],
    }  # fmt: skip
    report(world, client, settings, session_id, {"trading": orjson.dumps(reported)})
    view = sessions.get_session(world.engine, client, settings, session_id).trading_state
    assert view is not None
    held = {position.symbol: position for position in view.open_positions}
    assert {symbol: position.quantity for symbol, position in held.items()} == {PUT.symbol: -2, CALL.symbol: -2}
    assert held[PUT.symbol].average_price == Decimal("0.60")
    assert held[PUT.symbol].unrealized_pnl == Decimal(50)
    assert (held[CALL.symbol].mark, held[CALL.symbol].unrealized_pnl) == (None, None)
    assert (view.daily_pnl, view.trading_enabled) == (Decimal("12.5"), True)


def report(world: World, client: Redis, settings: Settings, session_id: UUID, parts: dict[str, bytes]) -> None:
    """Report parts as an agent would."""
    live, epoch = LiveState(client, settings), world.row(session_id)["epoch"]
    live.raise_fence(session_id, epoch)
    live.report(Report(session_id, epoch, "EvaluatorAgent", parts))


def _states() -> dict[str, bytes]:
    agent = {"agent_id": "EvaluatorAgent", "last_update": OPEN.isoformat(), "actions_taken": 3, "memory_usage_mb": 7.5}
    market = {"timestamp": OPEN.isoformat(), "spy_price": 268.5}
    return {"agent/EvaluatorAgent": orjson.dumps(agent), "market": orjson.dumps(market)}


def test_a_session_is_shown_whole(world: World, client: Redis, settings: Settings) -> None:
    """Its row, live states, last events oldest first, checkpoints newest first, children and metrics; as JSON too."""
    session_id = world.in_status(STATUS)
    child = world.create(parent_session_id=session_id)
    report(world, client, settings, session_id, _states())
    kept = [create_checkpoint(world.engine, client, settings, session_id, "manual").checkpoint_id for _ in range(2)]
    found = sessions.get_session(world.engine, client, settings, session_id)
    assert (found.status, found.version, found.epoch) == ("active", 2, 1)
    assert found.agent_states["EvaluatorAgent"].actions_taken == 3
    assert found.market_state is not None
    assert found.market_state.spy_price == 268.5
    assert (found.state_source.tier, found.state_source.revision, found.state_source.saved_at) == ("live", 1, None)
    assert [event.event_type for event in found.events] == ["session_created", "session_started"]
    assert [one.checkpoint_id for one in found.checkpoints] == kept[::-1]
    assert [one.checkpoint_id for one in checkpoints.get_checkpoints(world.engine, session_id, 1)] == kept[1:]
    assert (found.last_checkpoint_id, found.child_session_ids) == (kept[1], [child])
    assert found.metrics is not None
    assert (found.metrics.checkpoint_count, found.metrics.peak_memory_mb) == (2, 7.5)
    assert TradingSession.model_validate(found.model_dump(mode="json")) == found


def test_without_redis_the_last_save_is_shown(
    world: World, client: Redis, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """With Redis out of reach the session still shows, with what was saved last."""
    session_id = world.in_status(STATUS)
    report(world, client, settings, session_id, _states())
    assert save_sessions(world.engine, client, settings, [session_id]).saved == [session_id]
    get_memory().forget(session_id)
    away = build_redis("redis://127.0.0.1:1/0", settings)
    found = sessions.get_session(world.engine, away, settings, session_id)
    assert found.agent_states["EvaluatorAgent"].actions_taken == 3
    source = found.state_source
    assert (source.tier, source.revision, source.saved_at is not None) == ("postgres", 1, True)
    details.show(found.model_dump(mode="json"))
    printed = " ".join(capsys.readouterr().out.split())
    assert "postgres, epoch 1 revision 1, 0." in printed
    assert "(live: Redis is out of reach" in printed
    assert source.age_s >= 0
    assert "Redis is out of reach" in source.problems[0]
    fresh = world.in_status(STATUS)
    assert sessions.get_session(world.engine, away, settings, fresh).agent_states == {}


def test_a_state_that_no_tier_can_give_does_not_hide_the_row(world: World, client: Redis, settings: Settings) -> None:
    """Every copy damaged: the session shows, without states, and says what is wrong with each."""
    session_id = world.in_status(STATUS)
    report(world, client, settings, session_id, _states())
    save_sessions(world.engine, client, settings, [session_id])
    get_memory().forget(session_id)
    client.flushdb()
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE saves SET manifest = substr(manifest, 1, 50)"))
    found = sessions.get_session(world.engine, client, settings, session_id)
    assert (found.agent_states, found.state_source.tier) == ({}, None)
    assert "postgres: " in found.state_source.problems[0]


def test_events_and_transitions_end_with_the_newest(world: World) -> None:
    """The last ones are returned, oldest first, and no more than asked for."""
    session_id = world.in_status(SessionStatus.CLOSED)
    path = history.get_transitions(world.engine, session_id, 100)
    assert [step.to_status for step in path] == ["initializing", "active", "closing", "closed"]
    assert history.get_transitions(world.engine, session_id, 2) == path[2:]
    told = history.get_events(world.engine, session_id, 100)
    assert told[-1].event_type == "session_closed"
    assert history.get_events(world.engine, session_id, 2) == told[-2:]


def test_what_became_of_a_command_can_be_asked(world: World) -> None:
    """Done or refused, the stored outcome comes back; an id nobody committed is not found, nor another session's."""
    session_id = world.create()
    command_id = uuid4()
    refused = world.do(Trigger.PAUSE, session_id, command_id=command_id)
    found = history.get_outcome(world.engine, command_id, session_id)
    assert (found.state, found.error) == ("refused", refused.error)
    for asked in ((uuid4(), None), (command_id, uuid4())):
        with pytest.raises(NotFound, match="did not happen"):
            history.get_outcome(world.engine, *asked)


def test_filters_hold_together(world: World) -> None:
    """Every filter narrows; order and limit apply; an unknown status is refused by name."""
    first = world.create(config={"tags": ["a", "b"], "account": "desk-1"})
    second = world.in_status(STATUS, config={"tags": ["b"]})
    third = world.in_status(SessionStatus.PAUSED)
    assert listed(world) == [third, second, first]
    assert listed(world, order="oldest", limit=2) == [first, second]
    assert listed(world, status=["active", "paused"]) == [third, second]
    assert listed(world, tag="b", status=["initializing"]) == [first]
    assert listed(world, account_id="desk-1") == [first]
    assert listed(world, template_name="Paper Trading", session_type="paper_trading") == [third, second, first]
    assert listed(world, session_type="regular") == []
    assert listed(world, id_prefix=second.hex[:20]) == [second]
    with pytest.raises(InvalidArgument, match="open"):
        listed(world, status=["open"])


def test_backtest_days_alone_are_left_out_until_asked_for(world: World) -> None:
    """A list for people shows what trades, forks too; the days of a backtest come when all are asked for."""
    parent = world.create()
    child = world.create(parent_session_id=parent)
    day = world.create()
    run_id = uuid4()
    world.execute("INSERT INTO backtests (run_id, actor) VALUES (:run, 'ann')", run=run_id)
    world.execute(
        "INSERT INTO backtest_units (run_id, trade_date, seed, session_id) VALUES (:run, :date, 1, :id)",
        run=run_id,
        date=OPEN.date(),
        id=day,
    )
    assert set(listed(world)) == {parent, child}
    assert listed(world, parent_session_id=parent) == [child]
    assert set(listed(world, include_children=True)) == {parent, child, day}


def test_an_unknown_session_is_named(world: World, client: Redis, settings: Settings) -> None:
    """Every question about a session that is not there says so."""
    nobody = uuid4()
    for ask in (
        lambda: sessions.get_session(world.engine, client, settings, nobody),
        lambda: metrics.get_metrics(world.engine, nobody),
        lambda: trades.get_trades(world.engine, nobody, 1),
        lambda: history.get_events(world.engine, nobody, 1),
        lambda: history.get_transitions(world.engine, nobody, 1),
        lambda: checkpoints.get_checkpoints(world.engine, nobody, 1),
    ):
        with pytest.raises(NotFound, match=str(nobody)):
            ask()
