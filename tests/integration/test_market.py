"""Markets of other services: what is believed, what is the latest, what is kept, and which sessions read it."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hosting import S, T, shared
from rules_world import DAY, RuledDesk, ruled_desk

from fntx_sessions.agents import runtime as runtimes
from fntx_sessions.automation import markets
from fntx_sessions.automation.flattening_quotes import PublishedQuotes
from fntx_sessions.automation.health.looking import check_session
from fntx_sessions.automation.market_clock import MARKET_CLOCK, watch_publisher
from fntx_sessions.automation.markets import GetArguments, HistoryArguments, PublishArguments
from fntx_sessions.automation.rules.explain import ExplainArguments, explain
from fntx_sessions.exceptions import Forbidden, InvalidArgument, NotFound, Unavailable
from fntx_sessions.schemas import MarketState
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.redis_client import build_redis
from fntx_sessions.trading import market_history, market_store
from fntx_sessions.trading.clock import WALL
from fntx_sessions.trading.market_store import MARKET_KEY, latest_market, market_key

FEEDER = Actor("quotes", frozenset({"agent"}))


class Market:
    """A desk whose wall stands where it was put, and a feeder."""

    def __init__(self, desk: RuledDesk) -> None:
        self.desk = desk

    def publish(self, feed="spy", *, ago_s=0.0, to=None, **state):
        desk = (to or self.desk).desk
        at = self.desk.now() - timedelta(seconds=ago_s)
        told = {"timestamp": at, "spy_price": 270.0, "vix_level": 18.0} | state
        return market_store.publish_market(desk.redis, desk.engine, desk.settings, feed, told, "quotes")

    def asked(self, **arguments):
        return markets.publish(self.desk.desk, FEEDER, PublishArguments(**arguments))

    def latest(self, feed="spy"):
        return latest_market(self.desk.desk.redis, feed)

    def history(self, feed="spy", **asked):
        return market_history.history(self.desk.desk.engine, feed, **asked)

    def counts(self, feed="spy"):
        return market_store.counts(self.desk.desk.redis).get(feed, {})

    def runtime(self, session_id):
        """Load a session as its host would."""
        WALL.sync(self.desk.now())
        row = self.desk.row(session_id) | {"interrupted": False, "hosted_agents": [], "traded_elsewhere": False}
        return runtimes.load_runtime(self.desk.desk, row)

    def shown(self, feed="spy"):
        return markets.show(self.desk.desk, feed)["feeds"][0]


@pytest.fixture
def market(tmp_path, module_database_url, redis_url) -> Iterator[Market]:
    with ruled_desk(shared(tmp_path, module_database_url, redis_url)) as desk:
        desk.run("TRUNCATE market_states")
        desk.at("10:00:00")
        yield Market(desk)


# What is the latest, and what is kept


def test_the_latest_only_moves_forward_and_all_of_it_is_kept(market):
    """Out of order: into history, never the latest. A duplicate: once. Each is told as what it is."""
    assert market.publish(ago_s=10, spy_price=270).became == "latest"
    assert market.publish(ago_s=2, spy_price=272).became == "latest"
    assert market.publish(ago_s=5, spy_price=271).became == "late"
    assert market.publish(ago_s=2, spy_price=272).became == "duplicate"
    assert market.publish(ago_s=5, spy_price=271).became == "duplicate"
    assert market.latest().spy_price == 272
    assert [one.state.spy_price for one in market.history()] == [270, 271, 272]
    assert market.counts() == {"late": 1, "duplicate": 2}


def test_another_market_of_the_same_moment_is_refused(market):
    """One feed has one publisher: the first stands, whoever contradicts it is told so."""
    market.publish(spy_price=270)
    with pytest.raises(InvalidArgument, match=r"state\.timestamp: is the moment of another market .* which quotes"):
        market.publish(spy_price=271)
    assert [one.state.spy_price for one in market.history()] == [270]
    assert market.counts() == {"refused": 1}


def test_feeds_are_apart(market):
    """Each feed has a latest market, a history and counts of its own; the default one keeps its old key."""
    market.publish(spy_price=270)
    market.publish("spy-delayed", ago_s=900, spy_price=265)
    assert (market.latest().spy_price, market.latest("spy-delayed").spy_price) == (270, 265)
    assert market.latest("nobody") is None
    assert [one.state.spy_price for one in market.history("spy-delayed")] == [265]
    assert sorted(market.desk.desk.redis.keys("fntx:market*")) == [b"fntx:market", b"fntx:market:spy-delayed"]
    assert market_key("spy-delayed") == "fntx:market:spy-delayed"


def test_what_redis_lost_is_the_latest_again_when_it_is_sent_again(market):
    """Redis away: told as such, kept all the same; whoever sends it again makes it the latest, and it is kept once."""
    away = build_redis("redis://127.0.0.1:1/0", market.desk.desk.settings)
    desk, state = market.desk.desk, {"timestamp": market.desk.now(), "spy_price": 270.0}
    with pytest.raises(Unavailable):
        market_store.publish_market(away, desk.engine, desk.settings, "spy", state, "quotes")
    assert market.latest() is None
    assert (
        market_store.publish_market(desk.redis, desk.engine, desk.settings, "spy", state, "quotes").became == "latest"
    )
    assert len(market.history()) == 1


def test_many_at_once_leave_the_newest_and_every_one_once(market):
    """Publishers that race, each sending everything twice: the newest is the latest, none is lost or doubled."""
    now = market.desk.now()
    desk = market.desk.desk

    def send(order):
        for second in order:
            state = {
                "timestamp": now - timedelta(seconds=second),
                "spy_price": 270.0 + second,
                "market_regime": "normal",
            }
            market_store.publish_market(desk.redis, desk.engine, desk.settings, "spy", state, "quotes")

    orders = [range(20), reversed(range(20))]
    threads = [threading.Thread(target=send, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert market.latest().spy_price == 270.0
    assert [one.state.spy_price for one in market.history()] == [270.0 + second for second in reversed(range(20))]
    assert market.counts()["duplicate"] == 20


def test_what_was_written_past_the_door_is_read_and_gives_way(market):
    """A bare MarketState under the old key is read, without a publisher; one of the future keeps no true one out."""
    redis = market.desk.desk.redis
    market.desk.publish(ago_s=1, vix_level=30.0)
    assert market.latest().market_regime == "high_volatility"
    assert market.publish().became == "latest"
    ahead = {"timestamp": market.desk.now() + timedelta(hours=1), "spy_price": 999.0}
    redis.set(MARKET_KEY, market_store.Publication(state=MarketState(**ahead)).to_bytes())
    assert market.publish(ago_s=-1, spy_price=271).became == "latest"
    assert market.latest().spy_price == 271
    for rubbish in (b"{", b"[]", b'"270"', b'{"state": 1}', b'{"spy_price": "x"}', b"\xff"):
        redis.set(MARKET_KEY, rubbish)
        assert market.latest() is None


def test_old_history_is_forgotten(market):
    """What came longer ago than it is kept for goes, whatever it is dated; what came since stays."""
    market.publish(ago_s=3, spy_price=270)
    market.publish(ago_s=2, spy_price=271)
    desk = market.desk.desk
    market.desk.run("UPDATE market_states SET received_at = received_at - interval '31 days' WHERE timestamp = :at",
                    at=market.desk.now() - timedelta(seconds=3))  # fmt: skip
    assert market_history.forget_old(desk.engine, desk.settings) == 1
    assert [one.state.spy_price for one in market.history()] == [271]
    assert market_history.forget_old(desk.engine, desk.settings) == 0


# What is refused

NAN, INF = float("nan"), float("inf")


IMPOSSIBLE = [
    ("spy", {"spy_price": NAN}, "state.spy_price"),
    ("spy", {"spy_price": INF}, "state.spy_price"),
    ("spy", {"spy_price": -1.0}, "state.spy_price"),
    ("spy", {"spy_price": 0}, "state.spy_price"),
    ("spy", {"spy_price": 1e308}, "state.spy_price"),
    ("spy", {"spy_price": "lots"}, "state.spy_price"),
    ("spy", {"spy_price": True}, "state.spy_price"),
    ("spy", {"spy_price": "449"}, "state.spy_price"),
    ("spy", {"vix_level": True}, "state.vix_level"),
    ("spy", {"support_levels": [270, "271"]}, "state.support_levels.1"),
    ("spy", {"key_levels": {"high": True}}, "state.key_levels.high"),
    ("spy", {"timestamp": 1_700_000_000}, "state.timestamp"),
    ("spy", {"timestamp": "1700000000"}, "state.timestamp"),
    ("spy", {"vix_level": 1e308}, "state.vix_level"),
    ("spy", {"vix_level": -3}, "state.vix_level"),
    ("spy", {"timestamp": "yesterday"}, "state.timestamp"),
    ("spy", {"timestamp": "2018-01-09T10:00:00"}, "state.timestamp"),
    ("spy", {"timestamp": "0001-01-01T00:00:00Z"}, "state.timestamp"),
    ("spy", {"timestamp": "9999-12-31T00:00:00Z"}, "state.timestamp"),
    ("spy", {"market_regime": "x" * 51}, "state.market_regime"),
    ("spy", {"market_regime": "\x00"}, "state.market_regime"),
    ("spy", {"market_regime": "<script>"}, "state.market_regime"),
    ("spy", {"liquidity_status": ""}, "state.liquidity_status"),
    ("spy", {"support_levels": [1.0] * 101}, "state.support_levels"),
    ("spy", {"resistance_levels": [270, INF]}, "state.resistance_levels.1"),
    ("spy", {"key_levels": {"previous_close": -270}}, "state.key_levels"),
    ("spy", {"key_levels": {"high": 1e308}}, "state.key_levels"),
    ("spy", {"key_levels": {"x" * 51: 1}}, "state.key_levels"),
    ("spy", {"key_levels": {"a\nb": 1}}, "state.key_levels"),
    ("spy", {"colour": "red"}, "state.colour"),
    ("SPY", {}, "feed"),
    ("../etc", {}, "feed"),
    ("x" * 51, {}, "feed"),
]


def test_what_cannot_be_is_refused_by_path_and_counted(market):
    """The field is named, nothing is kept, nothing becomes the latest, and each refusal is counted."""
    for feed, changes, path in IMPOSSIBLE:
        with pytest.raises(InvalidArgument) as refusal:
            market.publish(feed, **changes)
        assert refusal.value.args[0] == path, (feed, changes)
    assert (market.latest(), market.history()) == (None, [])
    unnamed = sum(feed != "spy" for feed, _, _ in IMPOSSIBLE)
    assert market.counts() == {"refused": len(IMPOSSIBLE) - unnamed}
    assert market.counts(market_store.NO_FEED) == {"refused": unnamed}


def test_a_market_of_the_future_is_refused_beyond_the_skew(market):
    """Up to the skew by Postgres's clock it is taken; beyond, the publisher is told to set its clock."""
    assert market.publish(ago_s=-2).became == "latest"
    with pytest.raises(InvalidArgument, match=r"state\.timestamp: is 3 s in the future by the desk's clock"):
        market.publish(ago_s=-3)


def test_only_who_may_publishes(market):
    """Agents and the desk may; viewers, risk managers and tokens that are good for one session may not."""
    asked = PublishArguments(state={"timestamp": market.desk.now().isoformat(), "spy_price": 270})
    for roles, sessions in (({"viewer"}, ()), ({"risk_manager"}, ()), ({"agent"}, ("6f1c",))):
        actor = Actor("eve", frozenset(roles), sessions=frozenset(sessions))
        with pytest.raises(Forbidden):
            markets.publish(market.desk.desk, actor, asked)
    assert market.latest() is None
    assert markets.publish(market.desk.desk, FEEDER, asked).market.publisher == "quotes"


# The regime


def test_the_publishers_regime_stands(market):
    """Whatever the figures say; `unknown` names none."""
    done = market.publish(vix_level=50.0, market_regime="our_own_regime").market
    assert (done.state.market_regime, done.derived) == ("our_own_regime", ())
    done = market.publish(ago_s=-1, vix_level=50.0, market_regime="unknown").market
    assert (done.state.market_regime, done.derived) == ("high_volatility", ("market_regime",))


def test_without_one_it_is_worked_out_from_vix_and_the_feeds_own_past(market):
    """Ten swings of 0.1 %, a minute each, are 31.3 % a year: high, with a VIX of 12. Other feeds know nothing of it."""
    for minute in range(10, 0, -1):
        price = 270.0 * (1.001 if minute % 2 else 1.0)
        done = market.publish(ago_s=60 * minute, spy_price=price, vix_level=12.0).market
        assert done.realised_volatility is None
        assert (done.state.market_regime, done.derived) == ("low_volatility", ("market_regime",))
    done = market.publish(spy_price=270.0, vix_level=12.0).market
    assert done.realised_volatility == pytest.approx(31.334, abs=0.001)
    assert done.state.market_regime == market.latest().market_regime == "high_volatility"
    assert market.publish("other", vix_level=12.0).market.state.market_regime == "low_volatility"
    assert market.publish("blind", vix_level=None).market.state.market_regime == "unknown"


def test_of_many_states_a_minute_the_last_counts_and_nothing_of_later(market):
    """A market that comes late is judged by what came before its own moment; ticks within a minute are no returns."""
    for second in range(600, 0, -10):
        market.publish(ago_s=second, spy_price=270.0 * (1.001 if second % 20 else 1.0), market_regime="normal")
    # Each minute ends on the same price, ten seconds before the next one begins.
    assert market.publish(spy_price=270.0 * 1.001).market.realised_volatility == 0.0
    assert market.publish(ago_s=595, vix_level=12.0).market.realised_volatility is None


# Who reads it


def test_sessions_read_their_own_feed(market):
    """Rules, the host, the guard, health and explain go by the feed of the session's config, and by no other."""
    desk = market.desk
    storm = [{"condition": "vix_above", "value": 40}]
    ours = desk.ruled(pause=storm, feed={"kind": "published", "name": "ours"})
    theirs = desk.ruled(pause=storm)
    for session_id in (ours, theirs):
        desk.do(T.START, session_id)
    market.publish(vix_level=18.0)
    market.publish("ours", spy_price=111.0, vix_level=50.0)
    desk.sweep()
    assert (desk.status(ours), desk.status(theirs)) == (S.PAUSED, S.ACTIVE)
    prices = {}
    for session_id in (ours, theirs):
        prices[session_id] = market.runtime(session_id).feed.tick(desk.now()).spot
    assert prices == {ours: 111.0, theirs: 270.0}
    quotes = PublishedQuotes(desk.desk)
    desk.desk.redis.delete(MARKET_KEY)
    quotes.refresh(desk.row(one)["config"] for one in (ours, theirs))
    told = {one: quotes.obstacle(desk.row(one)["config"], desk.now()) for one in (ours, theirs)}
    assert told[ours] is None
    assert "no market" in told[theirs]
    found = {one: explain(desk.desk, ExplainArguments(session_id=one))["feed"] for one in (ours, theirs)}
    assert found[ours]["market"]["publisher"] == "quotes"
    assert found[ours]["market"]["fresh"]
    assert found[theirs]["problem"] == "nothing is published to the feed 'spy'"
    checks = {check["name"]: check for check in check_session(desk.desk, theirs)["checks"]}
    assert "no market was published to its feed 'spy'" in str(checks["market_data"])


def test_a_start_on_a_feed_nobody_publishes_to_says_so(market):
    """It is no reason to refuse: the publisher may come. It is a warning, an event, and gone once something came."""
    desk = market.desk
    first = desk.ruled(feed={"kind": "published", "name": "quiet"})
    warnings = desk.do(T.START, first).warnings
    assert any("nothing was ever published to its feed 'quiet'" in one for one in warnings)
    market.publish("quiet")
    second = desk.ruled(feed={"kind": "published", "name": "quiet"})
    assert not any("published" in one for one in desk.do(T.START, second).warnings)


def test_a_publisher_whose_clock_was_set_is_an_alert_of_its_feed(market):
    """Written past the door, or Postgres's clock set back: each feed that is ahead is told by name."""
    market.publish()
    market.publish("ours")
    market.desk.later(-60)
    raised = watch_publisher(market.desk.desk).raised
    assert {(one.name, one.subject) for one in raised} == {(MARKET_CLOCK, "ours"), (MARKET_CLOCK, "spy")}
    market.desk.later(60)
    assert len(watch_publisher(market.desk.desk).cleared) == 2


def test_a_halted_market_trades_nothing(market):
    """What is published as halted is halted for who trades on it, not for rules alone."""
    market.publish(liquidity_status="halted")
    session_id = market.desk.running()
    tick = market.runtime(session_id).feed.tick(market.desk.now())
    assert (tick.halted, tick.market_open, tick.regime) == (True, False, "normal")


# A recorded day


def record(market, minutes, **more):
    """Publish a market each minute from 09:30 on, as it happens: SPY goes up by a cent a minute."""
    for minute in range(minutes):
        market.desk.at(f"{9 + (30 + minute) // 60:02}:{(30 + minute) % 60:02}:00")
        market.publish(spy_price=270 + minute / 100, key_levels={"previous_close": 269.0}, **more)


def recorded_session(market, kind="backtest", **feed):
    config = {"feed": {"kind": "recorded", "trade_date": "2018-01-09", **feed}}
    return market.desk.create(kind, config=config)


def test_a_recorded_day_is_played_as_it_was_known(market):
    """At each moment the last market that had come by then, aged to it, with the regime that was told then."""
    record(market, 3, market_regime="our_own_regime")
    market.desk.at("09:45:00")
    market.publish(ago_s=600, spy_price=100.0)  # of 09:35, but nobody knew before 09:45
    market.desk.at("17:30:00")
    session_id = recorded_session(market, step_s=60)
    market.desk.do(T.START, session_id)
    runtime = market.runtime(session_id)
    assert runtime.clock.simulated

    def at(clock):
        local = datetime.fromisoformat(f"2018-01-09T{clock}").replace(tzinfo=DAY.tzinfo)
        return runtime.feed.tick(local.astimezone(UTC))

    assert at("09:29:59") is None
    assert [at(f"09:{minute}:00").spot for minute in (30, 31, 32)] == [270.0, 270.01, 270.02]
    assert at("09:31:59").spot == 270.01
    assert (at("09:31:10").age_s, at("09:31:10").stale, at("09:31:50").stale) == (10.0, False, True)
    assert (at("09:36:00").spot, at("09:45:00").spot) == (270.02, 100.0)
    assert (at("09:31:00").regime, at("09:31:00").previous_close) == ("our_own_regime", 269.0)


def test_a_future_market_of_a_recorded_day_changes_nothing_before_it(market):
    """No look-ahead: what comes at 09:40 changes no sample and no decision of any bar before."""
    record(market, 5)

    def played():
        session_id = recorded_session(market, step_s=60)
        market.desk.do(T.START, session_id)
        market.desk.with_settings(step_sweep_s=20.0).step()
        statement = "SELECT timestamp, spot, net_pnl, steps ->> 'regime' AS regime FROM samples WHERE session_id = :id "
        return market.desk.rows(statement + "ORDER BY timestamp", id=session_id)

    before = played()
    market.desk.at("09:40:00")
    market.publish(spy_price=150.0, vix_level=80.0)
    after = played()
    then = datetime(2018, 1, 9, 9, 40, tzinfo=DAY.tzinfo)
    assert [row for row in before if row["timestamp"] < then] == [row for row in after if row["timestamp"] < then]
    assert len([row for row in before if row["timestamp"] < then]) == 10
    assert [row["spot"] for row in after if row["timestamp"] == then] == [150.0]


def test_a_day_brought_in_afterwards_is_played_by_its_own_dates(market):
    """History of another source, published to a feed of its own later on, has no other times than its own."""
    market.desk.at("10:00:00", day=DAY + timedelta(days=3))
    opened = datetime(2018, 1, 9, 14, 30, tzinfo=UTC)
    for minute in range(3):
        market.publish("old", timestamp=opened + timedelta(minutes=minute), spy_price=270.0 + minute)
    session_id = recorded_session(market, "paper_trading", name="old", step_s=60)
    market.desk.do(T.START, session_id)
    feed = market.runtime(session_id).feed
    assert [feed.tick(opened + timedelta(minutes=minute)).spot for minute in range(3)] == [270.0, 271.0, 272.0]


@pytest.mark.parametrize(
    ("kind", "feed", "problem"),
    [
        ("regular", {}, r"config\.feed\.kind: a recorded day is played in Paper and Backtest sessions"),
        ("backtest", {"trade_date": None}, r"config\.feed\.trade_date: is missing: a recorded feed plays one day"),
        ("backtest", {"trade_date": "2018-01-07"}, r"config\.feed\.trade_date: 2018-01-07 is not a trading day"),
        ("backtest", {"trade_date": "2018-01-08"}, r"config\.feed\.trade_date: nothing is kept of the feed 'spy'"),
        ("paper_trading", {"name": "none"}, r"config\.feed\.trade_date: nothing is kept of the feed 'none'"),
    ],
)
def test_a_recorded_feed_that_cannot_be_played_is_refused(market, kind, feed, problem):
    """Nothing is made that would play an empty day, or a live session on yesterday's market."""
    record(market, 1)
    with pytest.raises(InvalidArgument, match=problem):
        recorded_session(market, kind, **feed)


# What is told


def test_show_tells_freshness_publisher_regime_and_who_waits(market):
    """Each feed that is known or traded on: how old, how fresh, by whom, what of it is derived, how much is kept."""
    market.publish("shown", ago_s=4)
    market.publish("shown", ago_s=3, market_regime="normal")
    market.desk.ruled(feed={"kind": "published", "name": "waited-for"})
    shown = market.shown("shown")
    assert (shown["market"]["age_s"], shown["market"]["fresh"], shown["sessions"]) == (3.0, True, 0)
    assert (shown["market"]["publisher"], shown["market"]["derived"]) == ("quotes", [])
    assert (shown["last_minute"], shown["kept_to"] - shown["kept_from"]) == (2, timedelta(seconds=1))
    waited_for = market.shown("waited-for")
    assert (waited_for["market"], waited_for["sessions"]) == (None, 1)
    assert {one["feed"] for one in markets.show(market.desk.desk, None)["feeds"]} >= {"spy", "shown", "waited-for"}
    market.desk.later(60)
    assert market.shown("shown")["market"]["fresh"] is False
    with pytest.raises(NotFound, match="Nothing was published to it"):
        market.shown("none")


def test_history_is_the_newest_of_a_span_in_order(market):
    """Both ends count; the newest ones where there are more than asked for."""
    for ago_s in (9, 6, 3):
        market.publish(ago_s=ago_s, spy_price=270 + ago_s)
    now = market.desk.now()
    desk = market.desk.desk
    asked = HistoryArguments(first=now - timedelta(seconds=9), last=now - timedelta(seconds=6))
    assert [one.state.spy_price for one in markets.history(desk, asked)] == [279, 276]
    assert [one.state.spy_price for one in markets.history(desk, HistoryArguments(limit=2))] == [276, 273]
    assert GetArguments().feed is None
    assert orjson.loads(orjson.dumps(market.history()[0].model_dump(mode="json")))["state"]["spy_price"] == 279
