"""A trade date over all sessions: what it made, why it stopped, what was changed; amounts to the last digit."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from lifecycle_harness import ANN, T, World
from metrics_world import CALL, DAY, FEE, Run, elsewhere, fill

from fntx_sessions.lifecycle.reads.day import (
    Day,
    DayQuery,
    DayReport,
    list_changes_of,
    list_trades_of,
    read_day,
    the_day,
)

NOON = datetime(2026, 1, 5, 17, tzinfo=UTC)


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    found = World.over(database_url)
    yield found
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
    world.execute("UPDATE sessions SET started_at = :at", at=NOON)
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
    world.execute("UPDATE sessions SET started_at = :at, config = config || jsonb_build_object('feed', CAST(:feed AS "
                  "jsonb))", at=datetime(2026, 1, 6, 17, tzinfo=UTC), feed='{"kind": "replayed"}')  # fmt: skip
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
    assert [(row["to_status"], row["times"]) for row in report.stops] == [("error", 1), ("closing", 2)]
    assert report.stops[1]["why"] == "auto_stop: daily loss $# >= $#"
    assert report.stops[1]["reason"] == "auto_stop: daily loss $1,020.00 >= $500"
    assert set(report.stops[1]["some"]) == {run.id for run in runs[:2]}


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
