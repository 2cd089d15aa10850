"""What was, by trade dates: trades that were open on them, and one timeline in one order."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from lifecycle_harness import World
from metrics_world import CALL, OPEN, Run, elsewhere, fill

from fntx_sessions.exceptions import InvalidArgument, NotFound
from fntx_sessions.lifecycle.reads.asked import Days, HistoryQuery, TradesQuery
from fntx_sessions.lifecycle.reads.records import HistoryEntry, SessionHistory
from fntx_sessions.lifecycle.reads.timeline import get_history
from fntx_sessions.lifecycle.reads.timeline_sql import EVERYTHING
from fntx_sessions.lifecycle.reads.trades import get_trades
from fntx_sessions.parsing import parse
from tasks.routes import queue_for

D = Decimal
MON, TUE, WED, FRI = date(2026, 1, 5), date(2026, 1, 6), date(2026, 1, 7), date(2026, 1, 9)


@pytest.fixture
def world(module_database_url: str) -> Iterator[World]:
    made = World.over(module_database_url)
    yield made
    made.close()


def days(first: date | None = None, last: date | None = None) -> Days:
    return Days(first=first, last=last)


def names(run: Run, first: date | None = None, last: date | None = None, limit: int = 100) -> list[str]:
    return [one.trade_id[-1] for one in get_trades(run.world.engine, run.id, limit, days(first, last))]


def told(run: Run, **asked: Any) -> SessionHistory:
    return get_history(run.world.engine, HistoryQuery(session_id=run.id, **asked))


@pytest.fixture
def traded(world: World) -> Run:
    """A run with a trade of Monday, one from Monday to Wednesday, one of Wednesday, and one open since Tuesday."""
    run = Run(world)
    run.trade("1", 0, "0.50", "0.20")
    run.fills(fill(run.id, "2", 5, "sell", "0.60", CALL), fill(run.id, "2", 5, "buy", "0.10", CALL, day=WED))
    run.fills(fill(run.id, "3", 9, "sell", "0.40", day=WED), fill(run.id, "3", 10, "buy", "0.40", day=WED))
    run.fills(fill(run.id, "4", 1, "sell", "0.40", day=TUE))
    return run


DAYS = (
    (None, None, "1243"), (MON, MON, "12"), (TUE, TUE, "24"), (WED, WED, "243"), (FRI, None, "4"), (None, TUE, "124"),
    (None, date(2026, 1, 2), ""), (MON, WED, "1243"), (date(1990, 1, 1), date(2099, 12, 31), "1243"),
)  # fmt: skip


def test_trades_of_days_are_those_open_on_them(traded):
    """Both ends included; a trade counts to every day it was held, an open one to every day since."""
    found = [(first, last, "".join(names(traded, first, last))) for first, last, _ in DAYS]
    assert found == list(DAYS)


def test_the_last_trades_are_taken_whole(traded):
    """A limit cuts whole trades off, the oldest ones; each that is left has all its fills, of other days too."""
    assert names(traded, limit=2) == ["4", "3"]
    [held] = get_trades(traded.world.engine, traded.id, 1, days(MON, MON))
    assert (len(held.fills), held.net_pnl, held.outcome) == (2, D("48.64"), "win")


def test_told_trades_stand_among_the_others_with_what_is_not_known_left_none(world):
    """By the exchange's day: 23:00 in New York on Monday is Tuesday in UTC, and Monday's; Saturday is Friday's."""
    run = elsewhere(world)
    late = datetime(2026, 1, 6, 4, tzinfo=UTC)
    words = {"strategy": "strangle", "legs": [{"right": "put"}], "note": "n"}
    shut = {"closed_at": late, "gross_pnl": D(60), "fees": D(2), "slippage": D(1)}
    run.told("trade", "a1", opened_at=late, words=words, **shut)
    run.told("trade", "a2", "OtherAgent", opened_at=datetime(2026, 1, 10, 18, tzinfo=UTC))
    [one] = get_trades(world.engine, run.id, 10, days(MON, MON))
    assert (one.trade_id, one.agent, one.strategy, one.told) == ("a1", "TheirAgent", "strangle", words)
    assert (one.net_pnl, one.outcome, one.packages, one.credit, one.fills) == (D(58), "win", None, None, [])
    assert names(run, TUE, WED) == []
    assert names(run, FRI, FRI) == ["2"]
    [_, other] = get_trades(world.engine, run.id, 10)
    assert (other.agent, other.gross_pnl, other.net_pnl, other.outcome) == ("OtherAgent", None, None, None)


@pytest.mark.parametrize(
    ("asked", "field", "problem"),
    [
        ({"first": "2026-01-06", "last": "2026-01-05"}, "first", "is after last"),
        ({"first": "01/05/2026"}, "first", "is not a date"),
        ({"last": "2026-02-30"}, "last", "is not a date"),
        ({"last": "2026-01-05T10:00:00Z"}, "last", "is not a date"),
        ({"first": 1767571200}, "first", "is not a date"),
        ({"first": ""}, "first", "is not a date"),
        ({"first": "1066-10-14"}, "first", "outside 1990-2099"),
        ({"last": "2100-01-01"}, "last", "outside 1990-2099"),
    ],
)
@pytest.mark.parametrize("model", [TradesQuery, HistoryQuery])
def test_bad_days_are_refused_by_field(model, asked, field, problem):
    """What is no range of dates names the field that is wrong, and what to give."""
    with pytest.raises(InvalidArgument, match=problem) as refused:
        parse(model, {"session_id": str(uuid4()), **asked})
    assert refused.value.to_dict()["facts"]["field"] == field


@pytest.mark.parametrize("kinds", [[], ["trades"], "trade"])
def test_kinds_that_are_none_are_refused(kinds):
    """An unknown kind, or none at all, is named."""
    with pytest.raises(InvalidArgument, match="kinds"):
        parse(HistoryQuery, {"session_id": str(uuid4()), "kinds": kinds})


@pytest.fixture
def lived(traded: Run) -> Run:
    """The same run with samples, a checkpoint, events and what agents told."""
    traded.sample(3, "12.5", attempted=5)
    traded.sample(4, "-1012.5")
    traded.told("decision", "d1", latency_ms=7.5, timestamp=OPEN, words={"what": "sell the 265 put"})
    traded.told("error", "e1", timestamp=OPEN, words={"error": "Timeout", "message": "no quote"})
    traded.world.execute(
        "INSERT INTO checkpoints (checkpoint_id, session_id, epoch, revision, checkpoint_type, manifest, checksum, "
        "identity, size_bytes) VALUES (gen_random_uuid(), :id, 1, 4, 'manual', 'm', 'x', 'i', 2048)",
        id=traded.id,
    )
    return traded


def test_one_timeline_has_all_kinds_in_one_order(lived):
    """Everything that is kept of it, samples when asked for; by time, then kind, then id; each in words."""
    found = told(lived)
    keys = [(one.at, one.kind, one.id) for one in found.entries]
    assert keys == sorted(keys)
    assert {one.kind for one in found.entries} == {"transition", "event", "trade", "checkpoint", "decision", "error"}
    words = {one.what for one in found.entries}
    assert "TheirAgent: sell the 265 put (7.5 ms)" in words
    assert "TheirAgent: Timeout no quote" in words
    assert "2026-01-05/sell_put/2 closed, net $48.64" in words
    assert "manual, epoch 1 revision 4, 2,048 bytes" in words
    assert any(what.startswith("initializing -> active by ann") for what in words)
    assert found.after is None
    sample, lost = told(lived, kinds=["sample"]).entries
    assert lost.what == "net -$1,012.50"
    assert (sample.what, sample.data["net_pnl"]) == ("net $12.50", 12.5)
    assert sum(one.kind == "trade" for one in found.entries) == 7


def paged(run: Run, limit: int, **asked: Any) -> list[HistoryEntry]:
    """Return a timeline asked for bit by bit, with the cursor of each answer."""
    page = told(run, limit=limit, **asked)
    found = list(page.entries)
    while page.after is not None:
        page = told(run, limit=limit, after=page.after, **asked)
        found += page.entries
    return found


def test_pages_of_the_timeline_are_the_whole_of_it(lived):
    """Asked for bit by bit: nothing is left out, nothing comes twice, however large the bits."""
    whole = told(lived, kinds=list(EVERYTHING)).entries
    assert len({(one.kind, one.id) for one in whole}) == len(whole)
    for limit in (1, 2, 3, len(whole)):
        assert paged(lived, limit, kinds=list(EVERYTHING)) == whole


def test_history_of_days_is_what_happened_on_them(lived):
    """By the exchange's dates, both included; nothing happened on days before."""
    assert {one.at.date() for one in told(lived, first=TUE, last=WED).entries} == {TUE, WED}
    assert told(lived, last=date(2026, 1, 2)).entries == []
    assert {one.data["trade_id"][-1] for one in told(lived, kinds=["trade"], first=MON, last=MON).entries} == {"1", "2"}


@pytest.mark.parametrize("after", ["", "x", "bm9uZQ==", "WzEsMiwzXQ==", "WyJ4IiwidHJhZGUiLCIxIl0="])
def test_a_cursor_that_is_none_is_refused(world, after):
    """Only what an answer ended with goes on from there."""
    with pytest.raises(InvalidArgument, match="after"):
        get_history(world.engine, HistoryQuery(session_id=uuid4(), after=after))


def test_history_of_nobody_is_not_found(world):
    """An unknown session is named, with dates or without."""
    for asked in ({}, {"first": MON}):
        with pytest.raises(NotFound):
            get_history(world.engine, HistoryQuery(session_id=uuid4(), **asked))
        with pytest.raises(NotFound):
            get_trades(world.engine, uuid4(), 1, Days(**asked))


def test_words_that_do_not_open_do_not_hide_the_rest(lived):
    """A report whose seal is broken is said so in its place; all else is told."""
    lived.world.execute("UPDATE agent_reports SET data = 'garbage' WHERE session_id = :id", id=lived.id)
    found = {one.kind: one for one in told(lived).entries}
    assert "unreadable" in found["decision"].data["data"]
    assert "d1" in found["decision"].what


def test_a_late_arrival_before_the_cursor_is_not_behind_it(lived):
    """What comes in under an earlier time belongs to an earlier page; the page after it does not move."""
    page = told(lived, kinds=["trade"], limit=3)
    rest = told(lived, kinds=["trade"], after=page.after)
    lived.trade("0", -60, "0.50", "0.20")
    assert told(lived, kinds=["trade"], limit=3).entries != page.entries
    assert told(lived, kinds=["trade"], after=page.after) == rest


def test_questions_about_the_past_go_where_questions_go():
    """They wait for no command."""
    assert {queue_for(f"fntx.sessions.{verb}") for verb in ("history", "trades", "metrics")} == {"queries"}


def test_history_newest_first_leads_back_page_by_page_to_the_beginning(traded: Run) -> None:
    """Read from its end, a history is the same one, backwards, whatever the size of the pages."""
    forward = told(traded, limit=1000).entries
    pages, after = [], None
    while not pages or after:
        page = told(traded, newest=True, limit=3, after=after)
        pages += page.entries
        after = page.after
    assert pages == forward[::-1]


def test_history_can_be_asked_for_words_and_for_severity(traded: Run) -> None:
    """Words are found in whichever case, in what is shown; a severity leaves what has none out."""
    traded.world.execute(
        "INSERT INTO events (event_id, session_id, event_type, event_category, severity, description) VALUES "
        "(gen_random_uuid(), :id, 'data_stale', 'market', 'error', 'Quote 50 % \"old\"')", id=traded.id,
    )  # fmt: skip
    assert [one.data["severity"] for one in told(traded, severity="error").entries] == ["error"]
    assert [one.kind for one in told(traded, words="QUOTE 50 %").entries] == ["event"]
    assert {one.kind for one in told(traded, words="/1").entries} == {"trade"}
