"""Flattening in the process of whoever asks: no Redis, no worker, and positions are closed, or it says why not."""

import os
import re
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import orjson
import pytest
from hosting import ANN, DAY, PUT, Hosting, forget_runtimes, make_hosting, shared

from fntx_sessions.automation import flattening, halts, hosts
from fntx_sessions.automation.flattening_quotes import market_obstacle
from fntx_sessions.automation.halt_arguments import HaltArguments
from fntx_sessions.exceptions import StaleEpoch
from fntx_sessions.lifecycle import orders
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import FeedConfig, MarketState, SessionStatus, Trigger
from fntx_sessions.state.redis_client import build_redis
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.feeds import session_feed
from fntx_sessions.trading.market_store import MARKET_KEY
from fntx_sessions.trading.orders import Fill

S, T = SessionStatus, Trigger
NOON = datetime(2018, 1, 9, 17, 0, tzinfo=UTC)


@pytest.fixture
def hosting(tmp_path, module_database_url, redis_url):
    """A desk without halts."""
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made
        made.run("UPDATE halts SET released_at = now(), released_by = 'test' WHERE released_at IS NULL")


def without_redis(hosting: Hosting) -> Desk:
    """Return the desk as it is while Redis is away; what this process had warm is gone."""
    forget_runtimes()
    return replace(hosting.desk, redis=build_redis("unix:///nonexistent/redis.sock", hosting.desk.settings))


def asked(scope: object) -> HaltArguments:
    """Return a halt of a scope, or of a session, with its positions."""
    return HaltArguments(scope=scope if isinstance(scope, str) else f"session:{scope}", reason="drill", flatten=True)


def hold(hosting: Hosting, session_id: UUID) -> None:
    """Let a session hold a put, at the broker and in its ledger."""
    intent = hosting.intent(session_id)
    fill = Fill(
        f"{intent.client_order_id}:0", session_id, intent.account_id, 1, intent.client_order_id, "t", DAY, PUT, "sell",
        1, Decimal("0.5"), Decimal(0), Decimal(0), opening=True, reason="entry", timestamp=datetime.now(UTC),
    )  # fmt: skip
    hosting.broker.open_account(intent.account_id, Decimal(100_000))
    hosting.run(
        'INSERT INTO paper_positions (session_id, trade_id, symbol, account_id, "right", strike, expiry, quantity, '
        "average_price, opened_at) VALUES (:id, 't', :symbol, :account, 'put', 270, '2018-01-09', -1, 0.5, now())",
        id=session_id,
        symbol=PUT.symbol,
        account=intent.account_id,
    )
    orders.settle(hosting.desk.engine, {intent.client_order_id: "filled"}, [fill])


def flattened(desk: Desk, scope: str, *, live: bool = False):
    """Halt a scope with its positions, straight on Postgres and the broker."""
    placed = halts.halt(desk, ANN, asked(scope), uuid4(), within_s=30)
    assert placed.left == 0
    return flattening.flatten(desk, ANN, placed.halt.halt_id, live=live, within_s=30)


def test_positions_are_closed_without_redis_and_without_a_worker(hosting):
    """The guard closes them on the paper broker and in the ledger; the session closes once Redis is back."""
    session_id = hosting.holding(hosting.started())
    hosting.lose("h1")
    [found] = flattened(without_redis(hosting), f"session:{session_id}")
    assert (found.state, found.positions) == ("flat", 0)
    assert "Redis" in found.why
    assert hosting.broker.positions(session_id) == []
    hosting.check_books(session_id)
    assert hosting.row(session_id)["status"] == S.CLOSING
    hosting.finish()
    assert hosting.row(session_id)["status"] == S.CLOSED


def test_with_redis_up_and_no_agents_worker_the_sessions_are_closed_too(hosting):
    """Nobody waits for a worker: flat books, the final checkpoint, CLOSED."""
    session_id = hosting.holding(hosting.started())
    hosting.lose("h1")
    forget_runtimes()
    [found] = flattened(hosting.desk, f"session:{session_id}", live=True)
    assert (found.state, found.positions, found.why) == ("closed", 0, "")
    hosting.check_books(session_id)


def test_a_worker_that_wakes_up_meanwhile_sends_nothing_more(hosting):
    """Its epoch was raised before the first exit was sent; nothing is closed twice."""
    session_id = hosting.holding(hosting.started())
    before = hosting.row(session_id)["epoch"]
    flattened(without_redis(hosting), f"session:{session_id}")
    assert hosting.row(session_id)["epoch"] > before
    with pytest.raises(StaleEpoch):
        hosting.intent(session_id, 99, before, opening=False)
    forget_runtimes()
    hosting.step()
    hosting.check_books(session_id)
    assert hosting.broker.positions(session_id) == []


def test_what_another_command_flattens_is_left_to_it(hosting):
    """Two at once do not overtake each other; one whose process is dead is overtaken at once."""
    session_id = hosting.holding(hosting.started())
    hosting.lose("h1")
    alive = f"halt:{socket.gethostname()}:{os.getpid()}:other"
    hosts.renew(hosting.desk.engine, hosting.desk.settings, alive, "")
    hosting.run("UPDATE session_work SET host_id = :host WHERE session_id = :id", host=alive, id=session_id)
    placed = halts.halt(hosting.desk, ANN, asked(session_id), uuid4(), within_s=30)
    desk = hosting.desk
    [left] = flattening.flatten(desk, ANN, placed.halt.halt_id, live=True, within_s=1)
    assert (left.state, left.positions) == ("open", 1)
    assert left.why.startswith("there was no more time: a worker stepped it last at")
    dead = alive.replace(f":{os.getpid()}:", f":{2**22 + 1}:")
    hosts.renew(desk.engine, desk.settings, dead, "")
    hosting.run("UPDATE session_work SET host_id = :host WHERE session_id = :id", host=dead, id=session_id)
    [done] = flattening.flatten(desk, ANN, placed.halt.halt_id, live=True, within_s=30)
    assert done.state == "closed"


def test_workers_that_get_on_are_watched_and_one_that_does_not_come_is_not_waited_for(hosting):
    """A worker that lives and steps closes it; where none does for a lease, it is taken over here in the same call."""
    watched, taken = hosting.holding(hosting.started()), hosting.holding(hosting.started())
    said: list[str] = []
    desk = hosting.with_settings(lease_s=0.5).desk

    def flatten(session_id, halting, say):
        placed = halts.halt(hosting.desk, ANN, asked(session_id), uuid4(), within_s=30)
        [found] = flattening.flatten(halting, ANN, placed.halt.halt_id, live=True, within_s=30, say=say)
        return found.state, found.positions

    def worker(who: str) -> None:
        said.append(who)
        hosting.walk(watched, lambda row: row["status"] == S.CLOSED)

    assert flatten(watched, hosting.desk, worker) == ("closed", 0)
    assert said == ["agents workers close the positions"]
    before = hosting.row(taken)["epoch"]
    assert flatten(taken, desk, said.append) == ("closed", 0)
    assert said[1:] == ["agents workers close the positions", "no agents worker steps them: closing positions here"]
    assert hosting.row(taken)["epoch"] == before + 1
    hosting.check_books(taken)


def test_what_is_stepped_and_does_not_close_is_told_with_what_keeps_it(hosting):
    """Not longer than a lease without a move; when it was stepped last, and what its exit waits for."""
    session_id = hosting.holding(hosting.started())
    placed = halts.halt(hosting.desk, ANN, asked(session_id), uuid4(), within_s=30)
    hosting.run(
        "UPDATE session_work SET next_step_at = now() + interval '1 hour' WHERE session_id = :id", id=session_id
    )
    event = {"event_type": "exit_blocked", "event_category": "trading", "severity": "error"}
    hosting.run(
        "INSERT INTO events (event_id, session_id, event_type, event_category, severity, description, requires_action) "
        "VALUES (gen_random_uuid(), :id, :event_type, :event_category, :severity, 'there is no ask', true)",
        id=session_id,
        **event,
    )
    desk = hosting.with_settings(lease_s=0.5).desk
    [found] = flattening.flatten(desk, ANN, placed.halt.halt_id, live=True, within_s=30)
    assert (found.state, found.positions) == ("open", 1)
    assert re.search("a worker stepped it last at .* not closed yet: there is no ask", found.why), found.why


def test_workers_that_live_and_have_no_quotes_are_not_waited_for(hosting):
    """It is said at once that a price is missing, and whom to call; nothing is sent."""
    session_id = hosting.started(config={"feed": {"kind": "published"}, "calendar": "24/7"})
    hold(hosting, session_id)
    hosting.desk.redis.delete(MARKET_KEY)
    hosts.renew(hosting.desk.engine, hosting.desk.settings, "h1", "agents")
    fills = hosting.fills(session_id)
    placed = halts.halt(hosting.desk, ANN, asked(session_id), uuid4(), within_s=30)
    said: list[str] = []
    [found] = flattening.flatten(hosting.desk, ANN, placed.halt.halt_id, live=True, within_s=600, say=said.append)
    assert (found.state, found.positions) == ("open", 1)
    assert "no quotes" in found.why
    assert "Call the broker" in found.why
    assert said == ["agents workers close the positions"]
    assert hosting.fills(session_id) == fills


@pytest.mark.parametrize(
    ("published", "told"),
    [
        (None, "no market was ever saved"),
        ({"timestamp": "2018-01-09T15:00:00+00:00"}, "options are shut|no quotes: what is known"),
    ],
)
def test_without_fresh_quotes_nothing_is_priced(hosting, published, told):
    """A published market that is old, or was never saved, closes nothing: the positions are told, and whom to call."""
    session_id = hosting.started(config={"feed": {"kind": "published"}})
    hold(hosting, session_id)
    if published:
        hosting.desk.redis.set(MARKET_KEY, orjson.dumps({"spy_price": 270.0, "vix_level": 12.0} | published))
        hosting.step()
        hosting.save(session_id)
    fills = hosting.fills(session_id)
    [found] = flattened(without_redis(hosting), f"session:{session_id}")
    assert (found.state, found.positions) == ("open", 1)
    assert re.search(told, found.why), found.why
    assert hosting.fills(session_id) == fills


def tick(**changes):
    """What is known of a market in the middle of a trading day."""
    config = FeedConfig(kind="published")
    state = MarketState(timestamp=NOON, spy_price=275.0, vix_level=20.0, market_open=True)
    feed = session_feed(config, get_calendar("XNYS"), today=DAY, source=lambda: state)
    return feed.tick(NOON + changes.pop("after", timedelta()), **changes)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (tick(), None),
        (tick(after=timedelta(seconds=61)), "no quotes: what is known of the market is 0:01:01 old. Call the broker"),
        (tick(halted=True), "trading is halted. Call the broker"),
        (tick(after=timedelta(hours=8)), "options are shut"),
    ],
)
def test_what_keeps_positions_open_is_told(found, told):
    """By the age of the data, the calendar and the exchange's own halts, never by a guess."""
    said = market_obstacle(found)
    assert said is None if told is None else said.startswith(told)


def test_one_sessions_fault_keeps_no_others_positions_open(hosting):
    """What raises is told of its session; the others are closed."""
    broken, sound = hosting.holding(hosting.started()), hosting.holding(hosting.started())
    hosting.run(
        "UPDATE sessions SET config = jsonb_set(config, '{feed,day}', 'null') WHERE session_id = :id", id=broken
    )
    found = {one.session_id: one for one in flattened(without_redis(hosting), "template:Paper Trading")}
    assert found[sound].state == "flat"
    assert found[broken].state == "open"
    assert "a replayed feed needs its day" in found[broken].why


def test_positions_that_a_stop_leaves_are_told_and_left(hosting):
    """Who stopped it to leave them decided that; the halt says to whom."""
    session_id = hosting.holding(hosting.started())
    hosting.do(T.STOP, session_id, close_positions=False, leave_positions_with="the night desk")
    [found] = flattened(without_redis(hosting), f"session:{session_id}")
    assert (found.state, found.why) == ("left", "its stop leaves what it holds to the night desk")
