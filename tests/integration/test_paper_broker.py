"""The paper broker on a real Postgres: once per id, fenced by epoch, all legs or none, shares at expiry."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from uuid import uuid4

import pytest
from sqlalchemy import event

from fntx_sessions.database.engine import build_engine
from fntx_sessions.exceptions import NotFound, StaleEpoch
from fntx_sessions.settings import Settings
from fntx_sessions.trading import ledger
from fntx_sessions.trading.book import BookView
from fntx_sessions.trading.broker import begin_bar
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.feeds import build_tick
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.orders import STOCK, Contract, Leg, OrderIntent, OrderRequest, Working
from fntx_sessions.trading.paper import PaperBroker

D = Decimal
TODAY = date(2018, 1, 9)
TEN = datetime(2018, 1, 9, 15, tzinfo=UTC)
CLOSE = datetime(2018, 1, 9, 21, 15, tzinfo=UTC)
PUT = Contract("put", D(273), TODAY)
WING = Contract("put", D(268), TODAY)
CALL = Contract("call", D(277), TODAY)


@pytest.fixture
def engine(module_database_url):
    found = build_engine(module_database_url, Settings())
    yield found
    found.dispose()


@pytest.fixture
def broker(engine):
    return PaperBroker(engine)


class World:
    """A session with an account of its own at the broker."""

    def __init__(self, broker):
        self.broker = broker
        self.session = uuid4()
        self.account = f"paper-{self.session}"
        self.numbers = count(1)
        broker.open_account(self.account, D(100_000))

    def intent(self, legs, side="sell", *, opening=True, limit="0.01", kind="limit", epoch=1, trade="t", at=TEN):
        number = next(self.numbers)
        request = OrderRequest(
            trade, "sell_put", side, tuple(legs), opening=opening, kind=kind, limit=limit and D(limit), reason="entry"
        )
        return OrderIntent(f"{self.session}/{epoch}/{number}", self.session, epoch, self.account, TODAY, at, request)

    def place(self, *args, board=None, **kwargs):
        intent = self.intent(*args, **kwargs)
        return self.broker.place(intent, board or quotes(), intent.created_at)

    def sell(self, *contracts, **kwargs):
        return self.place([Leg(one, "sell", 1, quotes().quote(one).mid) for one in contracts], **kwargs)

    @property
    def held(self):
        return {one.contract: one.quantity for one in self.broker.positions(self.session)}

    @property
    def cash(self):
        return self.broker.account(self.account).cash


@pytest.fixture
def world(broker):
    return World(broker)


def quotes(spot=275.0, at=TEN, **changes):
    tick = build_tick(at, get_calendar(), spot=spot, previous_close=275.0, vix=25.0, beta=0, kind="replayed")
    return Board(replace(tick, **changes))


def test_a_sale_gets_the_bid_and_pays_its_fee(world):
    """Selling at a limit under the bid gets the bid; cash moves by premium less fee; the position is there."""
    placed = world.sell(PUT)
    [fill] = placed.fills
    quote = quotes().quote(PUT)
    assert (placed.status, fill.price, fill.fee) == ("filled", quote.bid, D("0.68"))
    assert fill.slippage == 100 * (quote.mid - quote.bid)
    assert world.held == {PUT: -1}
    assert world.cash == D(100_000) + 100 * quote.bid - D("0.68")
    assert world.broker.executions(world.session) == [fill]


def test_legs_fill_together_or_not_at_all(world):
    """A strangle whose credit is under its limit rests whole; at its limit it fills whole."""
    credit = quotes().quote(PUT).bid + quotes().quote(CALL).bid
    resting = world.sell(PUT, CALL, limit=str(credit + D("0.01")))
    assert (resting.status, world.held) == ("working", {})
    assert world.sell(PUT, CALL, limit=str(credit)).status == "filled"
    assert world.held == {PUT: -1, CALL: -1}


def test_placing_twice_acts_once(world):
    """The same client order id answers the same again and changes nothing, from several threads at once too."""
    intent = world.intent([Leg(PUT, "sell", 1)])
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: world.broker.place(intent, quotes(), TEN), range(4)))
    assert sum(not answer.repeated for answer in answers) == 1
    assert len({answer.fills for answer in answers}) == 1
    assert world.held == {PUT: -1}
    assert len(world.broker.executions(world.session)) == 1


def test_an_old_epoch_is_refused(world):
    """Once a newer epoch has been seen, the older one can neither place, cancel, match nor roll."""
    world.sell(PUT, epoch=2)
    with pytest.raises(StaleEpoch) as refused:
        world.sell(CALL, epoch=1, trade="u")
    assert refused.value.args == (str(world.session), 1, 2)
    for call in (
        lambda: world.broker.cancel(world.session, 1, "x"),
        lambda: world.broker.match(world.session, 1, quotes(), TEN),
        lambda: world.broker.roll(world.session, 1, TODAY, D(0)),
        lambda: world.broker.cancel_openings(world.session, 1),
    ):
        with pytest.raises(StaleEpoch):
            call()
    assert world.held == {PUT: -1}


def test_recovery_cancels_openings_of_older_epochs_only(world):
    """Recovery cancels resting openings below its epoch, leaves exits, and shuts the older epoch out."""
    opening = world.sell(PUT, limit="5")
    closing = world.place([Leg(CALL, "buy", 1)], "buy", opening=False, limit="0.01")
    assert world.broker.cancel_openings(world.session, 2) == [opening.client_order_id]
    assert [one.intent.client_order_id for one in world.broker.open_orders(world.session)] == [closing.client_order_id]
    with pytest.raises(StaleEpoch):
        world.sell(PUT, epoch=1)
    own = world.sell(PUT, limit="5", epoch=2)
    assert world.broker.cancel_openings(world.session, 2) == []
    assert world.broker.cancel_all_openings(world.session, 2) == [own.client_order_id]


def test_a_resting_limit_fills_only_at_its_limit_or_better(world):
    """A profit order fills when the ask is at its limit, not a cent above it."""
    world.sell(PUT)
    ask = quotes().quote(PUT).ask
    order = world.place([Leg(PUT, "buy", 1)], "buy", opening=False, limit=str(ask - D("0.01")))
    assert world.broker.match(world.session, 1, quotes(), TEN) == []
    cheaper = quotes(spot=275.5)
    assert cheaper.quote(PUT).ask <= ask - D("0.01")
    [fill] = world.broker.match(world.session, 1, cheaper, TEN + timedelta(minutes=5))
    assert fill.price == cheaper.quote(PUT).ask
    assert (world.broker.order_status(order.client_order_id), world.held) == ("filled", {})


def test_a_stop_fills_on_the_next_bar_at_the_ask_plus_five_cents(world):
    """A stop does not fill on its own bar; on the next one it pays the ask and a nickel."""
    world.sell(PUT)
    world.place([Leg(PUT, "buy", 1)], "buy", opening=False, kind="stop", limit=None)
    assert world.broker.match(world.session, 1, quotes(spot=272.0), TEN) == []
    later = quotes(spot=272.0)
    [fill] = world.broker.match(world.session, 1, later, TEN + timedelta(minutes=5))
    assert fill.price == later.quote(PUT).ask + D("0.05")


def test_no_quote_is_no_fill(world):
    """With options shut, halted or stale nothing fills: a missing ask is never zero."""
    world.sell(PUT)
    world.place([Leg(PUT, "buy", 1)], "buy", opening=False, limit="99", board=quotes(stale=True))
    for board in (quotes(stale=True), quotes(option_open=False), quotes(halted=True)):
        assert world.broker.match(world.session, 1, board, TEN + timedelta(minutes=5)) == []
    assert world.held == {PUT: -1}


def test_expiry_out_of_the_money_is_worth_nothing_and_costs_nothing(world):
    """An option out of the money at the option close is gone at zero, without a fee; day orders expire with it."""
    world.sell(PUT)
    order = world.sell(CALL, limit="9", trade="u")
    cash = world.cash
    [gone] = world.broker.match(world.session, 1, quotes(at=CLOSE, spot=273.01), CLOSE)
    assert (gone.reason, gone.price, gone.fee, world.cash) == ("expiry", 0, 0, cash)
    assert world.held == {}
    assert world.broker.order_status(order.client_order_id) == "expired"
    assert world.broker.match(world.session, 1, quotes(at=CLOSE, spot=273.01), CLOSE) == []


@pytest.mark.parametrize(("contract", "spot", "shares"), [(PUT, 271.0, 100), (CALL, 279.0, -100)])
def test_shorts_in_the_money_are_assigned_into_shares(world, contract, spot, shares):
    """A short put in the money buys 100 shares at the strike, a short call sells them; once."""
    world.sell(contract)
    cash = world.cash
    board = quotes(at=CLOSE, spot=spot)
    assert len(world.broker.match(world.session, 1, board, CLOSE)) == 2
    assert world.broker.match(world.session, 1, board, CLOSE) == []
    assert world.held == {STOCK: shares}
    assert world.cash == cash - shares * contract.strike


def test_a_spread_in_the_money_ends_flat_at_its_width(world):
    """Both legs in the money: the shares of assignment and exercise cancel, the loss is the width."""
    world.place([Leg(PUT, "sell", 1), Leg(WING, "buy", 1)])
    cash = world.cash
    world.broker.match(world.session, 1, quotes(at=CLOSE, spot=260.0), CLOSE)
    assert world.held == {}
    assert world.cash == cash - 500
    [result] = ledger.trades_of(world.broker.executions(world.session))
    assert result.outcome == "loss"


def test_a_book_loaded_equals_the_book_kept(world):
    """What a host keeps in memory is what another one loads: trades, orders, results, older trades as a sum."""
    kept = BookView(TODAY)
    steps = [
        (world.intent([Leg(PUT, "sell", 1)]), quotes()),
        (world.intent([Leg(PUT, "buy", 1)], "buy", opening=False, limit="9"), quotes(spot=276.0)),
        (world.intent([Leg(CALL, "sell", 1)], trade="u"), quotes()),
        (world.intent([Leg(CALL, "buy", 1)], "buy", opening=False, limit="0.01", trade="u"), quotes()),
    ]
    for number, (intent, board) in enumerate(steps):
        moment = TEN + timedelta(minutes=5 * number)
        kept.placed(Working(intent), world.broker.place(intent, board, moment))
    loaded = world.broker.load_book(world.session, TODAY)
    assert loaded.fills == kept.fills
    assert list(loaded.working) == list(kept.working)
    marks = {CALL.symbol: D("0.5")}
    assert ledger.net_pnl(loaded, marks) == ledger.net_pnl(kept, marks)
    tomorrow = world.broker.load_book(world.session, TODAY + timedelta(days=1))
    assert list(tomorrow.trades) == ["u"]
    assert ledger.net_pnl(tomorrow, marks) == ledger.net_pnl(kept, marks)


def test_a_bar_rolls_the_day_with_yesterdays_marks(world):
    """Shares held over carry the previous close's mark; the day's result counts from there, after a reload too."""
    world.sell(PUT)
    book = world.broker.load_book(world.session, TODAY)
    assert begin_bar(world.broker, book, world.session, 1, quotes()) == []
    assert len(begin_bar(world.broker, book, world.session, 1, quotes(at=CLOSE, spot=271.0))) == 2
    book.mark(quotes(at=CLOSE, spot=271.0))
    morning = datetime(2018, 1, 10, 14, 30, tzinfo=UTC)
    board = quotes(at=morning, spot=272.0)
    begin_bar(world.broker, book, world.session, 1, board)
    for view in (book, world.broker.load_book(world.session, date(2018, 1, 10))):
        assert view.value_at_roll == 27_100
        assert ledger.daily_pnl(view, view.mark(board)) == D(99)  # 100 shares from 271 to the bid of 271.99


def test_a_quiet_bar_asks_the_database_nothing(world, engine):
    """With nothing working and nothing expiring a bar costs no statement at all."""
    world.sell(PUT)
    book = world.broker.load_book(world.session, TODAY)
    seen = []
    event.listen(engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    begin_bar(world.broker, book, world.session, 1, quotes(at=TEN + timedelta(minutes=5)))
    assert seen == []
    world.sell(CALL, trade="u")
    assert len(seen) == 2


def test_a_crash_before_commit_leaves_nothing_and_after_it_everything(engine):
    """Killed right after its commit, a placement is found again under its id, fills and all."""

    class Crash(Exception):
        pass

    def crash(_name):
        raise Crash

    world = World(PaperBroker(engine, crash))
    intent = world.intent([Leg(PUT, "sell", 1)])
    with pytest.raises(Crash):
        world.broker.place(intent, quotes(), TEN)
    again = PaperBroker(engine).place(intent, quotes(), TEN)
    assert (again.repeated, again.status, len(again.fills)) == (True, "filled", 1)
    assert world.held == {PUT: -1}


def test_average_price_follows_what_is_held(world):
    """Adding averages, reducing leaves the average, flat and again starts anew."""
    first, second = quotes(), quotes(spot=274.5)
    sold = [first.quote(PUT).bid, second.quote(PUT).bid]
    world.place([Leg(PUT, "sell", 1)], board=first)
    world.place([Leg(PUT, "sell", 3)], board=second)
    [holding] = world.broker.positions(world.session)
    assert holding.average_price == pytest.approx((sold[0] + 3 * sold[1]) / 4, abs=D("0.0001"))
    world.place([Leg(PUT, "buy", 2)], "buy", opening=False, limit="9")
    [reduced] = world.broker.positions(world.session)
    assert (reduced.quantity, reduced.average_price) == (-2, holding.average_price)


def test_accounts_are_opened_once(broker):
    """Opening an account again leaves its cash; an unknown one is named."""
    name = f"account-{uuid4()}"
    assert broker.open_account(name, D(5000)).cash == D(5000)
    assert broker.open_account(name, D(9000)).cash == D(5000)
    with pytest.raises(NotFound, match="paper account"):
        broker.account("nobody")


def test_unknown_orders_are_unknown(world):
    """The broker says so when it never saw an order."""
    assert world.broker.order_status("never") is None
    assert world.broker.cancel(world.session, 1, "never") is None
