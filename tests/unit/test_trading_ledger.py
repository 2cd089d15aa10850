"""Money by hand: trades, the day's result, limits, exposure, margin, metrics and backtest reports."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from reference_metrics import RunFacts, max_drawdown, session_metrics

from fntx_sessions.schemas import RiskParameters, SessionStatus
from fntx_sessions.trading import ledger
from fntx_sessions.trading.backtest import LABEL, RunResult, report
from fntx_sessions.trading.book import BookView
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.feeds import build_tick
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.metrics import error_rate, percentile
from fntx_sessions.trading.orders import (
    STOCK,
    Contract,
    Fill,
    Leg,
    OrderIntent,
    OrderRequest,
    Placed,
    Working,
    request_from_json,
)
from fntx_sessions.trading.rules import DEFAULT_RULES as RULES
from fntx_sessions.trading.view import trading_state

D = Decimal
SESSION = UUID(int=1)
TODAY = date(2018, 1, 9)
NOW = datetime(2018, 1, 9, 15, tzinfo=UTC)
PUT = Contract("put", D(270), TODAY)
WING = Contract("put", D(265), TODAY)
CALL = Contract("call", D(280), TODAY)
ACCOUNT = ledger.AccountView("a", D(100_000), D(100_000))
_numbers = iter(range(1, 10**6))


def fill(contract, side, quantity, price, *, trade="t", opening=True, at=NOW, fee=None, slippage="0"):
    number = next(_numbers)
    return Fill(
        f"f{number:06}", SESSION, "a", 1, f"o{number}", trade, at.date(), contract, side, quantity, D(price),
        D("0.68") * quantity if fee is None else D(fee), D(slippage), opening, "", at,
    )  # fmt: skip


def board(spot=275.0, vix=20.0, at=NOW):
    tick = build_tick(at, get_calendar(), spot=spot, previous_close=275.0, vix=vix, beta=0, kind="replayed")
    return Board(tick)


def book(*fills, **kwargs):
    return BookView(TODAY, fills, **kwargs)


def test_a_trade_is_flat_to_flat_over_all_its_legs():
    """A strangle is one trade; it has no outcome until its last leg is closed."""
    opened = [fill(PUT, "sell", 2, "0.30"), fill(CALL, "sell", 2, "0.25")]
    [half] = ledger.trades_of([*opened, fill(PUT, "buy", 2, "0.10", opening=False)])
    assert half.outcome is None
    [done] = ledger.trades_of(
        [
            *opened,
            fill(PUT, "buy", 2, "0.10", opening=False, slippage="1.5"),
            fill(CALL, "buy", 2, "0.05", opening=False),
        ]
    )
    # 2 x 100 x (0.30 + 0.25 - 0.10 - 0.05) = 80; eight contract sides at 0.68 = 5.44
    assert (done.gross, done.fees, done.net) == (D(80), D("5.44"), D("74.56"))
    assert (done.outcome, done.slippage) == ("win", D("1.5"))


@pytest.mark.parametrize(("paid", "outcome"), [("0.28", "win"), ("0.2864", "scratch"), ("0.30", "loss")])
def test_win_loss_and_scratch_are_net_of_fees(paid, outcome):
    """Win: net above zero; exactly zero is a scratch; sold and bought back at one price loses its fees."""
    [result] = ledger.trades_of([fill(PUT, "sell", 1, "0.30"), fill(PUT, "buy", 1, paid, opening=False)])
    assert result.outcome == outcome


def test_the_days_result_counts_from_the_roll():
    """Daily P&L = realised + unrealised since the roll, after fees; what was held carries the previous close's mark."""
    day_before = NOW - timedelta(days=1)
    held = book(fill(STOCK, "buy", 100, "270", trade="old", at=day_before, fee="0"), value_at_roll=D(27_100))
    assert ledger.daily_pnl(held, {"SPY": D(272)}) == D(100)
    assert ledger.net_pnl(held, {"SPY": D(272)}) == D(200)
    held.apply([fill(PUT, "sell", 1, "0.50", trade="new")])
    # the short is marked at its ask of 0.60: -10 - 0.68
    assert ledger.daily_pnl(held, {"SPY": D(272), PUT.symbol: D("0.60")}) == D("89.32")
    held.apply([fill(STOCK, "sell", 100, "271.50", trade="old", opening=False, fee="0")])
    assert ledger.daily_pnl(held, {PUT.symbol: D("0.60")}) == D("39.32")


def test_rolling_carries_marks_over_and_lets_closed_trades_go():
    """At the roll the day's result starts at zero and the session's goes on."""
    view = book(
        fill(PUT, "sell", 1, "0.50"),
        fill(PUT, "buy", 1, "0.20", opening=False),
        fill(STOCK, "buy", 1, "270", trade="s"),
    )
    view.marks["SPY"] = D(273)
    before = ledger.net_pnl(view, view.marks)
    view.roll(date(2018, 1, 10))
    assert ledger.daily_pnl(view, view.marks) == 0
    assert ledger.net_pnl(view, view.marks) == before
    assert list(view.trades) == ["s"]


def test_shorts_are_marked_at_the_ask_and_longs_at_the_bid():
    """What has to be bought back is worth its ask, what can be sold its bid."""
    view, at = book(fill(PUT, "sell", 1, "0.50"), fill(WING, "buy", 1, "0.10")), board(spot=270.0)
    marks = view.mark(at)
    assert marks[PUT.symbol] == at.quote(PUT).ask
    assert marks[WING.symbol] == at.quote(WING).bid


def test_limits_and_prices_of_the_exit_rules():
    """Limit = max_daily_risk x equity at the roll; multiplier 2 loses one credit; 0.3 kept closes at 0.7."""
    risk = RiskParameters(max_daily_risk=0.02, stop_loss_multiplier=2, take_profit_multiplier=0.3)
    assert ledger.loss_limit(risk, D(50_000)) == D(1000)
    assert ledger.stop_cost(risk, D("0.40")) == D("0.80")
    assert ledger.profit_cost(risk, D("0.40")) == D("0.28")
    # by hand: 0.45 a share over two contracts, four sides of fees
    assert ledger.entry_risk(risk, RULES, (Leg(PUT, "sell", 2),), D("0.40")) == D("92.72")


def test_a_spread_cannot_lose_more_than_its_width():
    """With a far stop the loss of a spread is its width less the credit."""
    risk = RiskParameters(stop_loss_multiplier=20)
    legs = (Leg(PUT, "sell", 1), Leg(WING, "buy", 1))
    assert ledger.entry_risk(risk, RULES, legs, D("0.50")) == D("452.72")


def test_what_is_left_to_lose_counts_from_the_mark():
    """Open risk is what is missing to the stop from the present mark, so that a loss is not counted twice."""
    risk = RiskParameters(stop_loss_multiplier=2)
    view = book(fill(PUT, "sell", 1, "0.40"))
    assert ledger.open_risk(view, {PUT.symbol: D("0.50")}, risk, RULES) == D("35.68")
    assert ledger.open_risk(view, {PUT.symbol: D("1.50")}, risk, RULES) == D("0.68")


def test_money_adds_the_accounts_other_sessions():
    """Limit, remaining and what fires are the account's: other sessions' results count."""
    risk = RiskParameters(max_daily_risk=0.001)
    money = ledger.money_of(book(), board(), risk, replace(ACCOUNT, other_pnl=D(-60)), RULES)
    assert (money.limit, money.remaining, money.fired) == (D(100), D(40), False)
    assert ledger.money_of(book(), board(), risk, replace(ACCOUNT, other_pnl=D(-100)), RULES).fired


def test_margin_by_the_reg_t_rule():
    """100 x (premium + max(20 % S - out of the money, 10 % x strike or S)); a spread: its width."""
    spot = D(275)
    # the put: premium 0.5 and 55 less the 5 it is out of the money; the call: premium 0.4 and the same
    assert ledger.naked_margin(PUT, D("0.5"), spot) == D(5050)
    assert ledger.naked_margin(CALL, D("0.4"), spot) == D(5040)
    assert ledger.naked_margin(Contract("put", D(200), TODAY), D("0.1"), spot) == D(2010)
    assert ledger.naked_margin(Contract("call", D(400), TODAY), D("0.1"), spot) == D(2760)
    marks = {PUT.symbol: D("0.5"), CALL.symbol: D("0.4"), WING.symbol: D("0.1")}
    assert ledger.legs_margin({PUT: -2, WING: 2}, marks, spot) == D(1000)
    assert ledger.legs_margin({PUT: -1, CALL: -1}, marks, spot) == D(5090)


def test_exposure_delta_and_stress():
    """Exposure is the short strike notional; beside it dollar delta and the loss at -5 %."""
    view, at = book(fill(PUT, "sell", 2, "0.50"), fill(WING, "buy", 2, "0.10")), board()
    assert ledger.exposure(view) == D(54_000)
    assert ledger.dollar_delta(view, at) > 0
    # at 261.25 both are in the money: the spread is worth its width of 5
    assert ledger.stress_loss(view, at, -0.05) == pytest.approx(D(-1000), abs=D(60))


def test_a_trade_is_the_same_in_any_order_of_delivery_twice_and_in_pieces():
    """Fills of a strangle shuffled, told twice and filled one by one: the same money, packages and credit."""
    whole = [fill(PUT, "sell", 3, "0.30"), fill(CALL, "sell", 3, "0.25"), fill(PUT, "buy", 3, "0.10", opening=False)]
    pieces = [
        fill(one.contract, one.side, 1, str(one.price), opening=one.opening, at=one.timestamp + timedelta(seconds=n))
        for one in whole
        for n in range(3)
    ]
    [expected] = ledger.trades_of(whole)
    for order in (pieces, pieces[::-1], pieces[4:] + pieces + pieces[:4]):
        [found] = ledger.trades_of(order)
        assert (found.gross, found.fees, found.outcome) == (expected.gross, expected.fees, None)
        assert (found.trade.packages, found.trade.credit) == (3, D("0.55"))


def test_an_order_working_for_a_trade_is_seen_once_and_forgotten_when_filled():
    """The book takes each fill once, and an order that filled works no longer."""
    request = OrderRequest("2018-01-09/sell_put/1", "sell_put", "sell", (Leg(PUT, "sell", 1),), opening=True)
    order = Working(OrderIntent("o1", SESSION, 1, "a", TODAY, NOW, request))
    view = book()
    view.placed(order, Placed("o1", "working"))
    assert (view.quiet, view.entries("sell_put")) == (False, 1)
    done = replace(fill(PUT, "sell", 1, "0.5", trade="2018-01-09/sell_put/1"), client_order_id="o1")
    view.apply([done])
    view.apply([done])
    assert (view.quiet, view.entries("sell_put"), view.contracts) == (True, 1, 1)


def test_requests_survive_json():
    """An order's payload comes back as it was."""
    request = OrderRequest(
        "t",
        "s",
        "buy",
        (Leg(PUT, "buy", 1, D("0.1")), Leg(STOCK, "sell", 5)),
        opening=False,
        limit=D("0.12"),
        risk=D(3),
    )
    assert request_from_json(request.to_json()) == request


def test_the_trading_state_shows_what_the_ledger_says():
    """The money view lists legs with marks and what is left of every limit."""
    view, at, risk = book(fill(PUT, "sell", 1, "0.50")), board(), RiskParameters(position_limit=3)
    money = ledger.money_of(view, at, risk, ACCOUNT, RULES)
    shown = trading_state(view, money, risk, ACCOUNT, trading_enabled=True)
    [position] = shown.open_positions
    ask = at.quote(PUT).ask
    assert (position.quantity, position.average_price, position.mark) == (-1, D("0.50"), ask)
    assert position.unrealized_pnl == 100 * (D("0.50") - ask)
    assert shown.daily_pnl == position.unrealized_pnl - D("0.68")
    assert (shown.position_limit_remaining, shown.trades_today, shown.trading_enabled) == (2, 1, True)
    view.marks.clear()
    [unmarked] = trading_state(view, money, risk, ACCOUNT, trading_enabled=True).open_positions
    assert (unmarked.mark, unmarked.unrealized_pnl) == (None, None)
    assert shown.margin_source == "Reg-T estimate"
    billed = replace(ACCOUNT, broker_margin=D(900))
    told = trading_state(view, ledger.money_of(view, at, risk, billed, RULES), risk, billed, trading_enabled=True)
    assert (told.margin_used, told.margin_source) == (D(900), "broker")
    latched = trading_state(view, money, risk, replace(ACCOUNT, latched="lost"), trading_enabled=True)
    assert not latched.trading_enabled


# Metrics


def test_metrics_by_hand():
    """Gross = fills + marks, net = gross - fees, slippage inside gross, wins over all trades."""
    fills = [
        fill(PUT, "sell", 1, "0.50", slippage="1"), fill(PUT, "buy", 1, "0.20", opening=False, slippage="2"),
        fill(PUT, "sell", 1, "0.50", trade="b"), fill(PUT, "buy", 1, "1.00", trade="b", opening=False),
        fill(CALL, "sell", 1, "0.30", trade="c"),
    ]  # fmt: skip
    statuses = [
        (NOW, SessionStatus.ACTIVE),
        (NOW + timedelta(minutes=5), SessionStatus.PAUSED),
        (NOW + timedelta(minutes=7), SessionStatus.ACTIVE),
    ]
    facts = RunFacts(
        SESSION, NOW + timedelta(minutes=10), held_value=D(-40), statuses=statuses, latencies_ms=[3.0, 1.0, 2.0],
        net_curve=[D(10), D(-5), D(20), D(12)],
    )  # fmt: skip
    found = session_metrics(facts, fills)
    assert (found.total_trades, found.winning_trades, found.losing_trades, found.win_rate) == (2, 1, 1, 0.5)
    assert (found.gross_pnl, found.fees, found.net_pnl) == (D(-30), D("3.40"), D("-33.40"))
    assert (found.execution_slippage, found.max_drawdown) == (D(3), D(-15))
    assert (found.active_duration, found.pause_duration) == (480, 120)
    assert (found.decision_latency_ms, found.decision_latency_p99_ms) == (2.0, 3.0)
    assert found.notice


def test_measures_of_nothing_are_none():
    """No trades: no win rate; no decisions: no latency; under 20 attempts: no error rate; no curve: no drawdown."""
    found = session_metrics(RunFacts(SESSION, NOW, attempts=19, failed=19), [])
    assert (found.win_rate, found.decision_latency_ms, found.error_rate, found.max_drawdown) == (None, None, None, 0)
    assert error_rate(20, 1) == 0.05
    assert max_drawdown([D(5), D(9)]) == 0
    assert percentile(range(1, 101), 99) == 99


# Backtest reports


def runs(day, nets):
    return [RunResult(day, seed, net, fees=1.0, trades=1, max_drawdown=-5.0 * seed) for seed, net in enumerate(nets)]


def test_a_report_shows_medians_spreads_years_and_february_fifth():
    """Days and years come apart, with the label, the day nobody may hide, and no Sharpe ratio."""
    results = [
        *runs(date(2017, 3, 1), [1, 2, 3]),
        *runs(date(2018, 2, 5), [-300, -200, -100]),
        *runs(date(2018, 2, 6), [10, 20, 30]),
    ]
    found = report(reversed(results))
    assert found.label == LABEL
    assert [(one.day.isoformat(), one.net_pnl.median) for one in found.days] == [
        ("2017-03-01", 2),
        ("2018-02-05", -200),
        ("2018-02-06", 20),
    ]
    assert [(one.year, one.days, one.net_pnl.median, one.net_pnl.low) for one in found.years] == [
        (2017, 1, 2, 1),
        (2018, 2, -180, -290),
    ]
    assert found.years[1].worst_day == date(2018, 2, 5)
    assert [one.day for one in found.shown] == [date(2018, 2, 5)]
    assert "sharpe" not in str(found.to_json()).lower()
    assert len(found.warnings) == 1


def test_a_report_of_nothing_is_empty():
    """No results make an empty report with its label, not a crash."""
    assert report([]).to_json() == {"label": LABEL, "days": [], "years": [], "shown": [], "warnings": []}
