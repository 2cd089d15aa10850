"""A trade date over all sessions: what it made, why it stopped, what was changed; amounts to the last digit."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from drawing import drawn
from lifecycle_harness import ANN, T, World
from metrics_world import CALL, DAY, FEE, Run, elsewhere, fill

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.day import (
    Day,
    DayQuery,
    DayReport,
    list_changes_of,
    list_trades_of,
    read_day,
    the_day,
)
from fntx_sessions.monitoring.flower.csv_cells import cell
from fntx_sessions.monitoring.flower.day import EXPORTS, TheDay, export
from fntx_sessions.printable import printable

NOON = datetime(2026, 1, 5, 17, tzinfo=UTC)
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def world(module_database_url: str) -> Iterator[World]:
    found = World.over(module_database_url)
    yield found
    found.execute("DELETE FROM session_days; DELETE FROM fills; DELETE FROM agent_reports; DELETE FROM account_days")
    found.execute("UPDATE sessions SET started_at = now() WHERE started_at < now() - interval '1 day'")
    found.close()


def on(day: date = DAY, *, backtests: bool = False) -> Day:
    return the_day(DayQuery(day=day, backtests=backtests), NOON)


def seen(world: World, day: date = DAY, **asked: bool) -> DayReport:
    return read_day(world.engine, on(day, **asked), 100)


def result(run: Run, realized: str, unrealized: str = "0", fees: str = "0", day: date = DAY, contracts: int = 0) -> Run:
    """Leave the day of a session as its step does."""
    run.world.execute(
        "INSERT INTO session_days (session_id, trade_date, account_id, realized, fees, unrealized, contracts) SELECT "
        "session_id, :day, account_id, :realized, :fees, :unrealized, :held FROM sessions WHERE session_id = :id",
        id=run.id, day=day, realized=Decimal(realized), fees=Decimal(fees), unrealized=Decimal(unrealized),
        held=contracts,
    )  # fmt: skip
    return run


def row_of(report: DayReport, session_id: UUID) -> dict:
    return next(row for row in report.sessions if row["session_id"] == session_id)


@pytest.mark.parametrize(
    ("asked", "day", "hours"),
    [
        (date(2026, 1, 5), date(2026, 1, 5), 24),
        (date(2026, 1, 4), date(2026, 1, 2), 72),  # a Sunday counts to Friday
        (date(2026, 3, 6), date(2026, 3, 6), 71),  # the clocks go forward on that weekend
    ],
)
def test_a_day_is_the_exchanges(asked: date, day: date, hours: int) -> None:
    """It begins at midnight in New York and ends with the next trading day; today has none after it."""
    found = on(asked)
    assert (found.day, found.asked) == (day, asked)
    assert (found.until - found.since).total_seconds() == hours * 3600
    today = the_day(DayQuery(), NOON)
    assert (today.day, today.after, today.before) == (DAY, None, date(2026, 1, 2))


def test_sessions_are_listed_worst_first_with_sums_that_add_up(world: World) -> None:
    """By account and template too; to the last digit; fees are in the net; other days and backtests do not count."""
    good = result(Run(world), "98765432109.8765", "-0.0001", "1.36", contracts=1)
    bad = result(Run(world), "-250.50", "-10", "0.68")
    result(good, "5", day=date(2026, 1, 2))
    tested = result(Run(world), "1000")
    world.execute("UPDATE sessions SET session_type = 'backtest' WHERE session_id = :id", id=tested.id)
    report = seen(world)
    assert [row["session_id"] for row in report.sessions] == [bad.id, good.id]
    assert [row["net"] for row in report.sessions] == [Decimal("-261.18"), Decimal("98765432108.5164")]
    assert report.total["net"] == sum(row["net"] for row in report.accounts) == Decimal("98765431847.3364")
    assert [row["net"] for row in report.templates] == [report.total["net"]]
    assert (report.total["sessions"], report.total["fees"]) == (2, Decimal("2.04"))
    assert seen(world, backtests=True).total["sessions"] == 3
    assert report.dates == [DAY, date(2026, 1, 2)]


def test_a_trade_counts_to_the_day_it_ended(world: World) -> None:
    """With what it was opened for days before; one that is open, or ended later, does not; exits by reason."""
    run, friday = Run(world), date(2026, 1, 2)
    run.fills(fill(run.id, "held", -4000, "sell", "2.00", day=friday), fill(run.id, "held", 0, "buy", "0.50"))
    run.trade("lost", 5, "1.00", "1.25")
    run.trade("open", 9, "3.00")
    run.fills(
        fill(run.id, "legs", 10, "sell", "1.00"), fill(run.id, "legs", 10, "sell", "1.00", CALL),
        fill(run.id, "legs", 11, "buy", "1.00"),
    )  # fmt: skip
    found = list_trades_of(world.engine, on())
    assert [(row["trade_id"].rsplit("/", 1)[1], row["net"]) for row in found] == [
        ("lost", Decimal(-25) - 2 * FEE), ("held", Decimal(150) - 2 * FEE)
    ]  # fmt: skip
    [exits] = seen(world).exits
    assert (exits["reason"], exits["trades"], exits["won"], exits["lost"]) == ("profit", 2, 1, 1)
    assert row_of(seen(world), run.id)["trades"] == 2
    assert list_trades_of(world.engine, on(friday)) == []


def test_what_agents_elsewhere_did_not_tell_is_not_zero(world: World) -> None:
    """Told trades make a session's day; with one result left out it is not known, and sums say how many are not."""
    told, half, silent = elsewhere(world), elsewhere(world), elsewhere(world)
    for run in (told, half, silent):
        world.execute("UPDATE sessions SET started_at = :at WHERE session_id = :id", at=NOON, id=run.id)
    for run in (told, half):
        run.told("trade", "a", opened_at=NOON, closed_at=NOON, gross_pnl=Decimal("12.50"), fees=Decimal("0.50"))
    half.told("trade", "b", opened_at=NOON, closed_at=NOON, gross_pnl=None, fees=Decimal(1))
    report = seen(world)
    assert row_of(report, told.id)["net"] == 12
    assert row_of(report, half.id)["net"] is None
    assert row_of(report, silent.id)["net"] is None
    assert (report.total["net"], report.total["unknown"], report.total["trades"]) == (12, 2, 3)


def test_a_session_that_plays_the_past_counts_to_the_days_it_played(world: World) -> None:
    """Not to the day on which it happened to run."""
    played = result(Run(world), "5")
    world.execute(
        "UPDATE sessions SET started_at = :at, config = jsonb_set(config, '{feed,kind}', '\"replayed\"') "
        "WHERE session_id = :id", at=datetime(2026, 1, 6, 17, tzinfo=UTC), id=played.id,
    )  # fmt: skip
    assert [row["session_id"] for row in seen(world).sessions] == [played.id]
    assert read_day(world.engine, the_day(DayQuery(day=date(2026, 1, 6)), NOON), 100).sessions == []


def test_stops_that_differ_in_their_figures_are_one_reason(world: World) -> None:
    """With how often, how many sessions, and the last in its own words; errors before stops."""
    now = datetime.now(UTC)
    runs = [Run(world) for _ in range(3)]
    for run, loss in zip(runs, ("510.25", "1,020.00"), strict=False):
        world.do(T.STOP, run.id, reason=f"auto_stop: daily loss ${loss} >= $500")
    world.do(T.FAIL, runs[2].id, reason="boom")
    report = read_day(world.engine, the_day(DayQuery(), now), 100)
    failed, stopped = (row for row in report.stops if {run.id for run in runs} & set(row["some"]))
    assert [(row["to_status"], row["times"]) for row in (failed, stopped)] == [("error", 1), ("closing", 2)]
    assert stopped["why"] == "auto_stop: daily loss $# >= $#"
    assert stopped["reason"] == "auto_stop: daily loss $1,020.00 >= $500"
    assert set(stopped["some"]) == {run.id for run in runs[:2]}


def test_limits_are_listed_with_who_changed_them_from_what_to_what(world: World) -> None:
    """Edits before a start and after it, a latch, a halt placed and released."""
    now = datetime.now(UTC)
    made = world.create()
    world.do(T.START, made, reason="careful", risk_parameters={"max_daily_risk": 0.01})
    world.do(T.UPDATE, made, reason="bolder", risk_parameters={"position_limit": 5, "max_daily_risk": 0.01})
    world.execute(
        "INSERT INTO halts (halt_id, scope, scope_name, reason, actor, released_at, released_by, release_reason) "
        "VALUES (gen_random_uuid(), 'account', 'a', 'storm', 'rita', now(), 'rita', 'over')"
    )
    changes = list_changes_of(world.engine, the_day(DayQuery(), now))
    told = {(str(row["whose"]), row["what"], row["who"], row["why"]) for row in changes}
    assert (str(made), "max_daily_risk 0.05 \u2192 0.01", ANN.name, "careful") in told
    assert any(what.startswith("position_limit ") and what.endswith("\u2192 5") for _, what, _, _ in told)
    assert ("account a", "halt placed", "rita", "storm") in told
    assert ("account a", "halt released", "rita", "over") in told


def page(world: World, **asked: str) -> str:
    desk = Desk(world.engine, None, world.settings)  # type: ignore[arg-type]  # Redis has no part in it
    return "".join(part.html for part in drawn(TheDay(), desk, **asked).values())


def test_the_page_of_a_day_shows_it_escaped(world: World) -> None:
    """Amounts whole and signed, what is not known a dash, words of others as text, other days linked."""
    run = result(Run(world), "-98765432109.87", "0", "1")
    world.do(T.STOP, run.id, reason=EVIL)
    told = page(world, day=DAY.isoformat())
    assert "\u2212$98,765,432,110.87" in told
    assert f"/sessions/{run.id}" in told
    assert "?day=2026-01-02" in told
    today = page(world)
    assert EVIL not in today
    assert "&lt;script&gt;" in today
    assert "counts to 2026-01-02" in page(world, day="2026-01-04")


@pytest.mark.parametrize(
    "asked", [{"day": "yesterday"}, {"day": "1500-01-01"}, {"page": "0"}, {"table": "x"}, {"x": "1"}]
)
def test_a_day_that_cannot_be_is_refused_with_its_name(asked: dict[str, str]) -> None:
    """Nothing is guessed."""
    with pytest.raises(InvalidArgument, match=next(iter(asked))):
        export(None, asked)  # type: ignore[arg-type]  # it is not asked


def test_every_table_of_a_day_is_exported_whole(world: World) -> None:
    """Each with a name of its own, a line of columns, numbers as numbers."""
    run = result(Run(world), "98765432109.8765", "-1.5", "0.68")
    run.trade("lost", 5, "1.00", "1.25")
    nets = {}
    for table, (names, _) in EXPORTS.items():
        name, text = export(world.engine, {"day": DAY.isoformat(), "table": table})
        [columns, *lines] = csv.reader(io.StringIO(text))
        assert (name, columns) == (f"day-2026-01-05-{table}.csv", list(names))
        nets[table] = [line[columns.index("net")] for line in lines] if "net" in columns else None
    assert nets["sessions"] == nets["accounts"] == nets["templates"] == ["98765432107.6965"]
    assert nets["trades"] == nets["exits"] == ["-26.3600"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", " =1", "\t=1", "\n1", "|x", "%x", "\uff1d1", EVIL])
def test_no_cell_is_run_as_a_formula(text: str) -> None:
    """Whatever a name or a reason begins with, it is text in a spreadsheet; numbers below zero stay numbers."""
    assert cell(text) == (text if text == EVIL else "'" + printable(text))
    assert [cell(value) for value in (Decimal("-0.0001"), -3, None, True)] == ["-0.0001", "-3", "", "True"]
