"""The measures of a run against hand-worked cases, and against pandas and numpy on random ones."""

import random
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hosting import make_hosting, shared
from lifecycle_harness import World
from metrics_world import CALL, OPEN, PUT, Run, elsewhere, fill

from fntx_sessions.agents.measures import load_history
from fntx_sessions.lifecycle.orders import settle
from fntx_sessions.schemas import SessionMetrics, Trigger
from fntx_sessions.trading.orders import STOCK

D = Decimal
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
COUNTS = ("total_trades", "winning_trades", "losing_trades", "scratch_trades", "open_trades")


@pytest.fixture
def world(module_database_url: str) -> Iterator[World]:
    made = World.over(module_database_url)
    yield made
    made.close()


def counts(found: SessionMetrics) -> tuple[int | None, ...]:
    return tuple(getattr(found, name) for name in COUNTS)


def worked(world: World) -> Run:
    """Return the run of the page's worked example."""
    run = Run(world)
    run.trade("1", 0, "0.50", "0.20", quantity=2)
    run.trade("2", 5, "0.40", "0.90", contract=CALL)
    run.trade("3", 10, "0.50", "0.4864")
    run.trade("4", 15, "0.60")
    for minute, net in enumerate(("0", "57.28", "5.92", "5.92", "-9.76")):
        run.sample(minute * 4, net)
    run.decided(300, 20, 12, 40, 15)
    run.measured(
        16, net_pnl="-9.76", peak="57.28", drawdown="-67.04", position_count=1, error_rate=0.05, dollar_delta="3510.00",
        stress_down="-1020.5", stress_up="60", margin="4975", margin_source="Reg-T estimate",
    )  # fmt: skip
    return run


def test_the_worked_example_of_the_page_comes_out_as_it_says(world):
    """docs/metrics.md works a run by hand; the desk comes to the same, figure by figure."""
    found, page = worked(world).metrics, PAGE.read_text(encoding="utf-8").partition("## Worked example")[2]
    assert counts(found) == (3, 1, 1, 1, 1)
    assert found.win_rate == pytest.approx(1 / 3)
    assert (found.gross_pnl, found.fees, found.net_pnl) == (D("-3.64"), D("6.12"), D("-9.76"))
    assert (found.max_drawdown, found.current_exposure, found.margin_used) == (D("-67.04"), D(26_500), D(4975))
    assert (found.decision_latency_ms, found.decision_latency_p99_ms, found.error_rate) == (20, 300, 0.05)
    assert (found.dollar_delta, found.stress_down, found.stress_up) == (D(3510), D("-1020.5"), D(60))
    assert (found.margin_source, found.marked_at) == ("Reg-T estimate", OPEN + timedelta(minutes=16))
    for figure in ("-3.64", "6.12", "-9.76", "-67.04", "26500", "4975", "20", "300", "0.05"):
        assert f"**{figure}**" in page


@pytest.mark.parametrize(
    ("bought", "outcome", "net"),
    [("0.28", (1, 1, 0, 0, 0), "0.64"), ("0.2864", (1, 0, 0, 1, 0), "0"), ("0.30", (1, 0, 1, 0, 0), "-1.36"),
     ("0", (1, 1, 0, 0, 0), "28.64")],
)  # fmt: skip
def test_a_win_is_above_zero_net_and_exactly_zero_is_a_scratch(world, bought, outcome, net):
    """Sold at 0.30 with $0.68 a side: bought back at one price it loses its fees; scratches are in the total."""
    run = Run(world)
    run.trade("1", 0, "0.30", bought)
    assert counts(run.metrics) == outcome
    assert run.metrics.net_pnl == D(net)
    assert run.metrics.win_rate == outcome[1]


def test_a_trade_is_flat_when_all_its_legs_are(world):
    """A strangle with one leg closed is one open trade; assigned into shares it goes on until these are sold."""
    run = Run(world)
    run.fills(fill(run.id, "1", 0, "sell", "0.50"), fill(run.id, "1", 0, "sell", "0.40", CALL))
    run.fills(fill(run.id, "1", 5, "buy", "0.10", CALL))
    assert counts(run.metrics) == (0, 0, 0, 0, 1)
    run.fills(fill(run.id, "1", 9, "buy", "0"), fill(run.id, "1", 9, "buy", "265", STOCK, 100))
    assert counts(run.metrics) == (0, 0, 0, 0, 1)
    run.fills(fill(run.id, "1", 12, "sell", "264", STOCK, 100))
    assert counts(run.metrics) == (1, 0, 1, 0, 0)
    assert run.metrics.gross_pnl == D(50 + 40 - 10 - 100)


def test_slippage_is_told_and_never_taken_off_twice(world):
    """It is inside gross already: net is gross less fees, whatever slipped."""
    run = Run(world)
    run.trade("1", 0, "0.50", "0.20", slippage="1.25")
    found = run.metrics
    assert (found.gross_pnl, found.execution_slippage, found.net_pnl) == (D(30), D("2.50"), D("28.64"))


def test_a_premium_that_nobody_has_marked_is_no_profit(world):
    """Without any mark, what is held counts at what it was opened for: nothing won, its fee paid."""
    run = Run(world)
    run.trade("1", 0, "0.50", "0.20")
    run.trade("2", 5, "0.60", quantity=2)
    found = run.metrics
    assert (found.gross_pnl, found.net_pnl, found.marked_at) == (D(30), D("27.28"), None)
    assert (found.current_exposure, found.margin_used, found.margin_source) == (D(53_000), None, None)


def test_what_filled_after_the_last_mark_counts_at_its_price_with_its_fee(world):
    """Between a fill and the step that marks it gross does not move, its fee is paid at once; flat, marks are out."""
    run = Run(world)
    run.trade("1", 0, "0.60")
    run.sample(1, "-15.68")
    run.trade("2", 5, "0.40", contract=CALL)
    found = run.metrics
    assert (found.gross_pnl, found.fees, found.net_pnl) == (D(-15), D("1.36"), D("-16.36"))
    run.fills(fill(run.id, "1", 6, "buy", "0.70"), fill(run.id, "2", 6, "buy", "0.10", CALL))
    assert run.metrics.gross_pnl == D(-10 + 30)


@pytest.mark.parametrize(
    ("mark", "bought", "gross", "net"), [("0.75", "2.60", "-200", "-202.04"), ("3.60", "0.10", "50", "47.96")]
)
def test_what_was_closed_after_the_last_mark_is_cash_though_another_is_held(world, mark, bought, gross, net):
    """One of two closed far from its mark: it counts what it came to, the other its mark, and drawdown sees it."""
    run = Run(world)
    one, other = run.trade("1", 0, "0.60"), run.trade("2", 0, "0.40", contract=CALL)
    marked = D(60) - D(mark) * 100 - D("1.36")
    run.measured(1, net_pnl=str(marked), position_count=2, marks=marks([*one, *other], {PUT: mark, CALL: "0.40"}))
    assert run.metrics.net_pnl == marked
    run.fills(fill(run.id, "1", 5, "buy", bought))
    found = run.metrics
    assert (found.gross_pnl, found.net_pnl, found.losing_trades) == (D(gross), D(net), int(D(gross) < 0))
    assert found.max_drawdown == min(D(net), 0)
    # Dated before the mark that did not know of it: told late, it counts all the same, and so does half of a leg.
    run.fills(fill(run.id, "3", 0.5, "sell", "0.30", quantity=2), fill(run.id, "3", 6, "buy", "0.10"))
    assert run.metrics.gross_pnl == D(gross) + 20
    run.fills(fill(run.id, "2", 6, "buy", "0.50", CALL))
    assert run.metrics.gross_pnl == D(gross) - 10 + 20


def marks(fills, prices) -> dict:
    """Return what a step leaves of the marks by which it valued what these fills opened."""
    return {one.trade_id: {one.contract.symbol: [one.signed, prices[one.contract]]} for one in fills}


def test_the_newest_of_step_and_sample_is_the_mark(world):
    """Samples come every few seconds, steps more often: what the last step left is newer."""
    run = Run(world)
    run.trade("1", 0, "0.60")
    run.sample(1, "-15.68")
    run.measured(2, net_pnl="4.32", position_count=1)
    assert (run.metrics.net_pnl, run.metrics.marked_at) == (D("4.32"), OPEN + timedelta(minutes=2))
    run.sample(3, "-1")
    assert (run.metrics.net_pnl, run.metrics.marked_at) == (D(-1), OPEN + timedelta(minutes=3))


def test_a_step_that_held_nothing_says_nothing_of_what_was_opened_since(world):
    """Delta and margin of an empty book are not those of a position that filled after it."""
    run = Run(world)
    run.measured(0, net_pnl="0", position_count=0, dollar_delta="0", margin="0", margin_source="Reg-T estimate")
    run.trade("1", 1, "0.60")
    found = run.metrics
    assert (found.dollar_delta, found.margin_used, found.margin_source) == (None, None, None)
    assert found.current_exposure == D(26_500)


def test_a_brokers_margin_is_labelled_and_stands_while_flat(world):
    """The broker's figure is the account's: it is shown as the broker's even where this session holds nothing."""
    run = Run(world)
    run.measured(0, position_count=0, margin="812.50", margin_source="broker")
    assert (run.metrics.margin_used, run.metrics.margin_source) == (D("812.50"), "broker")


@pytest.mark.parametrize(
    ("nets", "deepest"),
    [([], "0"), (["5", "9"], "0"), (["-3", "-1"], "-3"), (["10", "-5", "20", "12"], "-15"), (["10", "4", "30"], "-6")],
)
def test_drawdown_by_hand(world, nets, deepest):
    """The least of equity less its highest so far, from nothing lost on; never above 0. What is flat now is at 0."""
    run = Run(world)
    for minute, net in enumerate(nets):
        run.sample(minute, net)
    fallen = 0 - max([D(0), *map(D, nets)])
    assert run.metrics.max_drawdown == min(D(deepest), fallen)


def test_drawdown_goes_on_over_a_recovery_and_another_host(world):
    """What a step left of bars that nobody sampled counts with the samples after it, for readers and the next host."""
    run = Run(world)
    run.trade("1", 0, "0.50")
    run.sample(0, "100")
    run.measured(1, net_pnl="40", peak="180", drawdown="-140", memory_mb=90.5, position_count=1)
    run.world.do(Trigger.SUSPEND, run.id)
    run.world.do(Trigger.RECOVER, run.id)
    run.sample(5, "-20", memory_mb=70)
    found, history = run.metrics, load_history(world.engine, run.id)
    assert found.max_drawdown == history.drawdown == D(-200)
    assert (history.peak, history.recent.memory_mb, found.peak_memory_mb) == (D(180), 90.5, 90.5)


@pytest.mark.parametrize(("attempted", "failed", "rate"), [(19, 19, None), (20, 0, 0.0), (20, 1, 0.05), (40, 2, 0.05)])
def test_an_error_rate_needs_twenty_attempts(world, attempted, failed, rate):
    """Below 20 attempts a rate would say nothing: None, not 0."""
    run = Run(world)
    run.sample(0, "0", attempted=attempted, failed=failed)
    assert run.metrics.error_rate == rate


def test_the_error_rate_looks_five_minutes_back(world):
    """What is five minutes old exactly is out, for readers as for a host that takes the session over."""
    run = Run(world)
    run.sample(0, "0", attempted=50, failed=50)
    run.sample(0.01, "0", attempted=20, failed=1)
    run.sample(5, "0", attempted=20, failed=3)
    assert run.metrics.error_rate == load_history(world.engine, run.id).recent.error_rate == 0.1


def test_measures_of_a_session_that_never_started_are_none_or_nothing(world):
    """Nothing was traded, nothing is known of the rest."""
    session_id = world.create()
    told = Run(world, session_id).metrics
    assert counts(told) == (0, 0, 0, 0, 0)
    assert (told.net_pnl, told.win_rate, told.decision_latency_ms, told.current_exposure) == (0, None, None, None)
    assert (told.reported_errors, told.error_rate) == (None, None)


# Against pandas and numpy


def random_run(world: World, seed: int) -> tuple[Run, list, list[Decimal], list[float]]:
    """Return a run of random trades, some open, with a random curve and latencies."""
    rng, run = random.Random(seed), Run(world)  # noqa: S311 - dice, not keys
    fills = []
    for number in range(rng.randint(1, 30)):
        contract, quantity = rng.choice([PUT, CALL]), rng.randint(1, 4)
        prices = [f"{rng.randint(1, 300) / 100}" for _ in range(2)]
        slipped = f"{rng.randint(-50, 200) / 100}"
        fills.append(fill(run.id, str(number), number, "sell", prices[0], contract, quantity, slippage=slipped))
        if seed % 2 or number % 7:
            fills.append(
                fill(run.id, str(number), number + 0.5, "buy", prices[1], contract, quantity, slippage=slipped)
            )
    curve = [D(rng.randint(-100_000, 100_000)) / 100 for _ in range(rng.randint(1, 60))]
    latencies = [rng.choice([1.5, 2.25, rng.random() * 500]) for _ in range(rng.randint(1, 120))]
    rng.shuffle(fills)
    run.fills(*fills)
    run.curve(100, curve)
    run.decided(*latencies)
    return run, fills, curve, latencies


@pytest.mark.parametrize("seed", range(6))
def test_random_runs_are_what_pandas_and_numpy_make_of_them(world, seed):
    """Sums, counts by group, drawdown and percentiles: an independent library comes to the same."""
    run, fills, curve, latencies = random_run(world, seed)
    found = run.metrics
    table = pd.DataFrame(
        {"trade": f.trade_id, "signed": f.quantity * (1 if f.side == "buy" else -1), "cash": f.cash, "fee": f.fee,
         "slippage": f.slippage} for f in fills
    )  # fmt: skip
    trades = table.groupby("trade").sum()
    flat = trades[trades["signed"] == 0]
    net = flat["cash"] - flat["fee"]
    assert counts(found) == (
        len(flat), int((net > 0).sum()), int((net < 0).sum()), int((net == 0).sum()), len(trades) - len(flat)
    )  # fmt: skip
    assert (found.fees, found.execution_slippage) == (table["fee"].sum(), table["slippage"].sum())
    # Even seeds leave one open: net is the last sample's. Odd ones are flat: gross is cash, and no sample's.
    gross = table["cash"].sum() if len(flat) == len(trades) else curve[-1] + table["fee"].sum()
    assert (len(flat) == len(trades)) == bool(seed % 2)
    assert (found.gross_pnl, found.net_pnl) == (gross, gross - table["fee"].sum())
    assert found.win_rate == (None if flat.empty else pytest.approx((net > 0).mean()))
    short = pd.Series({f.trade_id: f.contract.strike * 100 for f in fills}) * -trades["signed"]
    assert found.current_exposure == short.sum()
    equity = pd.Series([0.0, *map(float, curve), float(found.net_pnl)])
    assert float(found.max_drawdown) == pytest.approx((equity - equity.cummax()).min())
    for rank, value in ((50, found.decision_latency_ms), (99, found.decision_latency_p99_ms)):
        assert value == pytest.approx(np.percentile(latencies, rank, method="inverted_cdf"))


@pytest.mark.parametrize("seed", range(3))
def test_where_the_curve_was_cut_does_not_matter(world, seed):
    """Recovered in the middle, the drawdown is that of the whole curve, wherever a step left it."""
    run, _, curve, _ = random_run(world, seed)
    whole = run.metrics.max_drawdown
    for cut in {0, len(curve) // 2, len(curve) - 1}:
        head = pd.Series([0.0, *map(float, curve[: cut + 1])])
        peak, lowest = head.cummax().iloc[-1], (head - head.cummax()).min()
        left = {"net_pnl": str(curve[cut]), "position_count": 1}
        run.measured(100 + cut, peak=f"{peak:.2f}", drawdown=f"{lowest:.2f}", **left)
        assert run.metrics.max_drawdown == load_history(world.engine, run.id).drawdown == whole


@pytest.mark.parametrize("seed", range(3))
def test_fills_may_come_twice_in_any_order_and_in_pieces(world, seed):
    """What came to the same trades comes to the same measures, however it was delivered."""
    run, fills, _, _ = random_run(world, seed)
    other = Run(world)
    pieces = [piece for one in fills for piece in split(one, other)]
    random.Random(seed).shuffle(pieces)  # noqa: S311 - dice, not keys
    other.fills(*pieces[::2])
    other.fills(*pieces[1::2], *pieces[:3])
    settle(world.engine, {}, pieces)
    run.world.execute("DELETE FROM samples WHERE session_id = :id", id=run.id)
    same = (*COUNTS, "fees", "gross_pnl", "net_pnl", "execution_slippage", "current_exposure")
    assert [getattr(run.metrics, name) for name in same] == [getattr(other.metrics, name) for name in same]


def split(one, other: Run) -> list:
    """Return a fill of `quantity` contracts as that many fills of one, of another session."""
    again = fill(
        other.id, one.trade_id.rsplit("/", 1)[1], (one.timestamp - OPEN).total_seconds() / 60, one.side, str(one.price),
        one.contract, slippage=str(one.slippage),
    )  # fmt: skip
    # What slipped is told with the first of them.
    return [again, *(fill_like(again) for _ in range(one.quantity - 1))]


def fill_like(one):
    minute = (one.timestamp - OPEN).total_seconds() / 60
    return fill(one.session_id, one.trade_id.rsplit("/", 1)[1], minute, one.side, str(one.price), one.contract)


# Agents elsewhere


def test_nothing_told_is_nothing_known(world):
    """Of agents elsewhere that told no trade nothing is claimed: None, not 0, and it is said."""
    found = elsewhere(world).metrics
    assert counts(found) == (None,) * 5
    unknown = ("gross_pnl", "fees", "net_pnl", "max_drawdown", "execution_slippage", "win_rate", "current_exposure")
    unknown += ("margin_used", "error_rate", "peak_memory_mb", "total_api_calls", "decision_latency_ms")
    assert {getattr(found, name) for name in unknown} == {None}
    assert found.reported_errors == 0
    assert "trade elsewhere" in found.notice


def test_what_was_told_is_counted(world):
    """Trades, latencies and errors are those that agents told; what nobody told stays unknown."""
    run = elsewhere(world)
    later = OPEN + timedelta(minutes=9)
    for name, gross in (("1", "60"), ("2", "-50"), ("3", "1.36")):
        run.told("trade", name, opened_at=OPEN, closed_at=later, gross_pnl=D(gross), fees=D("1.36"), slippage=D("0.5"))
    run.told("trade", "4", opened_at=later, gross_pnl=D(-15), fees=D("0.68"), slippage=D(0))
    for number, latency in enumerate((300, 20, 12, 40, 15, None)):
        run.told("decision", str(number), latency_ms=latency)
    run.told("error", "e1")
    found = run.metrics
    assert counts(found) == (3, 1, 1, 1, 1)
    assert (found.gross_pnl, found.fees, found.net_pnl) == (D("-3.64"), D("4.76"), D("-8.40"))
    assert (found.execution_slippage, found.win_rate) == (D("1.5"), pytest.approx(1 / 3))
    assert (found.decision_latency_ms, found.decision_latency_p99_ms, found.reported_errors) == (20, 300, 1)
    assert (found.max_drawdown, found.error_rate, found.total_api_calls) == (None, None, None)


def test_an_open_trade_told_without_its_result_leaves_the_result_unknown(world):
    """How many trades there are is known, what they come to is not."""
    run = elsewhere(world)
    run.told("trade", "1", opened_at=OPEN, closed_at=OPEN, gross_pnl=D(60), fees=D(1), slippage=D(0))
    run.told("trade", "2", opened_at=OPEN, gross_pnl=None, fees=D(1), slippage=D(0))
    found = run.metrics
    assert counts(found) == (1, 1, 0, 0, 1)
    assert (found.gross_pnl, found.net_pnl, found.fees) == (None, None, D(2))


def test_what_agents_tell_is_no_money_of_a_session_that_trades_here(world):
    """One remote agent among ours may tell what it likes: trades and money are the ledger's."""
    run = Run(world)
    world.execute(
        "UPDATE session_agents SET hosted = agent <> 'StrategicPlannerAgent' WHERE session_id = :id", id=run.id
    )
    run.told("trade", "1", opened_at=OPEN, closed_at=OPEN, gross_pnl=D(10**6), fees=D(0), slippage=D(0))
    run.told("error", "e1")
    run.trade("1", 0, "0.50", "0.20")
    assert (run.metrics.total_trades, run.metrics.gross_pnl, run.metrics.reported_errors) == (1, D(30), 1)


# One implementation


def test_host_rules_and_readers_say_the_same(tmp_path, module_database_url, redis_url):
    """At every step of a day, a reader sees what the host measured, and a host that takes over begins there."""
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as hosting:
        run = Run(World(hosting.desk.engine, hosting.desk.settings), hosting.holding(hosting.started()))
        for _ in range(4):
            left, found = hosting.row(run.id)["measures"], run.metrics
            history = load_history(hosting.desk.engine, run.id)
            assert D(left["net_pnl"]) == found.net_pnl
            assert D(left["drawdown"]) == found.max_drawdown == history.drawdown
            assert left["error_rate"] == found.error_rate == history.recent.error_rate
            assert D(left["exposure"]) == found.current_exposure
            assert D(left["dollar_delta"]) == found.dollar_delta
            assert (D(left["margin"]), found.margin_source) == (found.margin_used, "Reg-T estimate")
            assert left["decision_latency_ms"] == history.recent.decision_latency_ms
            assert found.stress_down < 0 < found.margin_used
            hosting.step()
