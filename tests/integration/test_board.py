"""The board: which rows, in which order, with what in them, and how they are drawn."""

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from board_world import STOP, BoardWorld
from drawing import drawn
from health_world import REMOTE, remote
from hosting import ANN, Hosting, S, T, make_hosting, shared
from sqlalchemy import event

from fntx_sessions.automation.halt_arguments import HaltArguments, ReleaseArguments
from fntx_sessions.automation.halts import halt, release
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.reads.board import BoardQuery, read_board
from fntx_sessions.lifecycle.reads.board_sql import SORTS
from fntx_sessions.monitoring.flower.board import Board
from fntx_sessions.monitoring.flower.views import difference
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.parsing import parse
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.checkpoints import create_checkpoint
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.redis_client import build_redis

SCRIPT = "<script>alert(1)</script>\u202e"
RULES = {"config": {"auto_stop_conditions": STOP, "feed": {"kind": "published"}}}


@pytest.fixture
def world(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[BoardWorld]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as hosting:
        yield BoardWorld(hosting)


def test_a_row_says_what_a_desk_asks(world: BoardWorld) -> None:
    """Who set the status, since when and why; money, limits, agents, the last save and checkpoint, the next rule."""
    session_id = world.made(**RULES)
    world.stepped(session_id, "-1250.00", drawdown="-1300.50", held=2)
    world.hosting.save(session_id)
    desk = world.hosting.desk
    kept = create_checkpoint(desk.engine, desk.redis, desk.settings, session_id, "manual")
    row = world.row(session_id)

    assert (row.status, row.status_actor, row.status_reason) == (S.ACTIVE, "ann", "on the way to active")
    assert (row.pnl_today, row.drawdown, row.positions) == (Decimal(-1250), Decimal("-1300.5"), 2)
    assert [(one.name, one.used, one.limit) for one in row.limits] == [
        ("contracts", 2, 3), ("loss", 1250, 5000),
    ]  # fmt: skip
    assert row.limits[1].share == 0.25
    assert (row.agents, row.agents_ready, row.agents_not_ready) == (5, 5, [])
    assert row.last_saved_at is not None
    assert row.checkpoint is not None
    assert (row.checkpoint.checkpoint_id, row.checkpoint.verified) == (kept.checkpoint_id, True)
    assert row.next_rule.action == "stop"


def test_what_is_not_known_is_none(world: BoardWorld) -> None:
    """Before a start, and of agents elsewhere that report no money, nothing is 0."""
    fresh, theirs = world.row(world.made(S.INITIALIZING)), world.row(remote(world.hosting))
    for row in (fresh, theirs):
        assert (row.pnl_today, row.drawdown, row.positions, row.limits) == (None, None, None, [])
    assert (fresh.last_saved_at, fresh.checkpoint, fresh.health) == (None, None, None)


def test_what_agents_elsewhere_report_is_shown(world: BoardWorld) -> None:
    """Until Redis is away: then it is not known, and the rest of the row still is."""
    session_id = remote(world.hosting)
    desk = world.hosting.desk
    said = b'{"daily_pnl": -80.5, "open_positions": []}'
    LiveState(desk.redis, desk.settings).report(Report(session_id, 1, REMOTE, {"trading": said}))
    assert world.row(session_id).pnl_today == Decimal("-80.5")
    away = replace(desk, redis=build_redis("redis://127.0.0.1:1/0", desk.settings))
    row = BoardWorld(Hosting(away)).row(session_id)
    assert (row.status, row.pnl_today) == (S.ACTIVE, None)


def test_a_fired_loss_limit_is_used_up(world: BoardWorld) -> None:
    """Wherever the loss stands by now."""
    session_id = world.made(**RULES)
    world.stepped(session_id, "-10")
    world.hosting.run(
        "INSERT INTO account_days (account_id, trade_date, equity_at_roll, latched_at, latched_by) SELECT account_id, "
        "trade_date, 100000, now(), 'risk' FROM session_days WHERE session_id = :id", id=session_id,
    )  # fmt: skip
    [limit] = [one for one in world.row(session_id).limits if one.name == "loss"]
    assert (limit.fired, limit.share) == (True, 1.0)


def test_those_that_need_somebody_come_first(world: BoardWorld) -> None:
    """Error, then suspended, degraded, closing, paused, at work, not started; closed ones only where asked for."""
    statuses = (S.INITIALIZING, S.ACTIVE, S.PAUSED, S.CLOSING, S.SUSPENDED, S.ERROR)
    made = {status: world.made(status) for status in statuses}
    ill, waiting = world.made(), world.made()
    world.hosting.run("INSERT INTO session_health (session_id, grade) VALUES (:id, 'degraded')", id=ill)
    world.hosting.run("UPDATE sessions SET requires_action = 'call the broker' WHERE session_id = :id", id=waiting)
    every = [*made.values(), ill, waiting]

    listed = world.ids(session_ids=every)
    assert set(listed[:2]) == {made[S.ERROR], waiting}
    assert listed[2:] == [made[S.SUSPENDED], ill, *(made[one] for one in statuses[3::-1] if one is not S.INITIALIZING),
                          made[S.INITIALIZING]]  # fmt: skip
    found = world.read(session_ids=every, needs_attention=True)
    assert (found.needing, found.total, len(found.rows)) == (4, 4, 4)
    assert world.read(session_ids=every).counts[S.ACTIVE] == 3


def test_closed_sessions_are_counted_and_listed_where_they_are_asked_for(world: BoardWorld) -> None:
    """They do not make the board of a day long."""
    open_id, closed = world.made(), world.made(S.CLOSING)
    world.hosting.finish()
    every = [open_id, closed]
    found = world.read(session_ids=every)
    assert (world.ids(session_ids=every), found.counts[S.CLOSED], found.total) == ([open_id], 1, 1)
    assert world.ids(session_ids=every, status=["closed"]) == [closed]


def test_closed_sessions_that_are_asked_for_are_counted_over_all_pages(world: BoardWorld) -> None:
    """Alone and beside others: how many, on how many pages, and each of them on one."""
    every = [world.made(), *(world.made(S.CLOSING) for _ in range(3))]
    world.hosting.finish()
    for status, count in ((["closed"], 3), (["active", "closed"], 4)):
        pages = [world.read(session_ids=every, status=status, limit=2, page=page) for page in (1, 2)]
        for found in pages:
            assert (found.counts[S.CLOSED], found.total, found.pages, found.more_closed) == (3, count, 2, False)
        assert {row.session_id for found in pages for row in found.rows} == set(every[-count:])
        drawn_pages = drawn(Board(), world.hosting.desk, text=str(every[1]), status=",".join(status))["board-pages"]
        assert "1\u20131 of 1" in drawn_pages.html


def test_filters_and_search(world: BoardWorld) -> None:
    """All that are given must hold; a search takes its words as they are."""
    mark = uuid4().hex
    mine = world.made(S.PAUSED, config={"tags": [f"{mark}_100%"]})
    other = world.made(config={"tags": [mark]})
    assert set(world.ids(text=mark.upper())) == {mine, other}
    assert world.ids(text=f"{mark}_100%") == [mine]
    assert world.ids(text=f"{mark}%") == []
    assert world.ids(text=mark, status=["paused"]) == [mine]
    assert world.ids(text=mark, session_type="backtest") == []
    assert world.ids(text=mark, account_id=f"paper:{other}") == [other]
    assert world.ids(text=mark, template_name="Paper Trading", session_ids=[other]) == [other]
    assert world.ids(session_id=mine) == [mine]
    assert world.ids(text=str(mine)[:13]) == [mine]


@pytest.mark.parametrize("sort", SORTS)
def test_pages_have_every_session_once_whatever_they_are_sorted_by(world: BoardWorld, sort: str) -> None:
    """Ties and unknown figures included; a page past the last is empty and says how many there are."""
    every = some(world)
    for turned in (False, True):
        asked = {"session_ids": every, "sort": sort, "reverse": turned, "limit": 4}
        pages = [world.read(page=number, **asked) for number in (1, 2, 3)]
        assert [len(page.rows) for page in pages] == [4, 3, 0]
        assert {row.session_id for page in pages for row in page.rows} == set(every)
        assert {(page.total, page.pages) for page in pages} == {(7, 2)}


def some(world: BoardWorld) -> list[UUID]:
    """Return seven sessions, made once for the module."""
    listed = world.hosting.rows("SELECT session_id FROM sessions WHERE 'seven' = ANY(tags)")
    if listed:
        return [row["session_id"] for row in listed]
    made = [world.made(config={"tags": ["seven"]} | RULES["config"]) for _ in range(7)]
    for session_id, pnl in zip(made, (-30, -30, 5, 100), strict=False):
        world.stepped(session_id, str(pnl), drawdown=str(-abs(pnl)), held=abs(pnl) % 3)
    return made


def test_money_is_sorted_the_worst_first_and_the_unknown_last(world: BoardWorld) -> None:
    """Both ways round."""
    every = some(world)
    first = [row.pnl_today for row in world.read(session_ids=every, sort="pnl").rows]
    assert first == [-30, -30, 5, 100, None, None, None]
    turned = [row.pnl_today for row in world.read(session_ids=every, sort="pnl", reverse=True).rows]
    assert turned == [100, 5, -30, -30, None, None, None]
    deepest = [row.drawdown for row in world.read(session_ids=every, sort="drawdown").rows][:4]
    assert deepest == [-100, -30, -30, -5]
    nearest = world.read(session_ids=every, sort="limit").rows[0]
    assert nearest.limits[0].share == pytest.approx(2 / 3)


def test_a_page_costs_two_statements_however_many_rows_it_has(world: BoardWorld) -> None:
    """Nothing is asked once a row."""
    some(world)
    asked: list[str] = []
    engine = world.hosting.desk.engine
    event.listen(engine, "before_cursor_execute", count := lambda *told: asked.append(told[2]))
    try:
        assert len(world.read(text="seven").rows) == 7
    finally:
        event.remove(engine, "before_cursor_execute", count)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("asked", "field"),
    [({"status": ["open"]}, "status"), ({"sort": "money"}, "sort"), ({"page": 0}, "page"), ({"limit": 5000}, "limit"),
     ({"text": "a\x00b"}, "text"), ({"session_type": "x"}, "session_type")],
)  # fmt: skip
def test_a_question_that_cannot_be_is_refused_by_its_field(asked: dict[str, object], field: str) -> None:
    """With what to write instead."""
    with pytest.raises(InvalidArgument) as error:
        parse(BoardQuery, asked)
    assert error.value.args[0].startswith(field)


def test_an_address_that_asks_for_nothing_there_is_is_refused(world: BoardWorld) -> None:
    """Mistyped arguments are not passed over."""
    for asked in ({"stat": "active"}, {"page": "two"}, {"status": "open"}, {"rows": "5000"}, {"sort": "money"}):
        with pytest.raises(InvalidArgument):
            drawn(Board(), world.hosting.desk, **asked)


def drawn_rows(world: BoardWorld, session_id: UUID) -> str:
    return drawn(Board(), world.hosting.desk, text=str(session_id))["board-rows"].html


def test_a_clock_of_its_own_is_not_counted_by_the_wall(world: BoardWorld) -> None:
    """The rule's moment stands there as it is, of the session's clock; one that goes by the wall has it counted."""
    rules = {"auto_stop_conditions": [{"condition": "market_close", "value": True}]}
    session_id = world.made(config=rules)
    world.hosting.run("UPDATE session_work SET clock_at = '2018-01-10 15:32+00' WHERE session_id = :id", id=session_id)
    assert world.row(session_id).simulated
    assert "at 2018-01-10 21:00:00 of its clock" in drawn_rows(world, session_id)
    world.hosting.run(
        "UPDATE sessions SET config = jsonb_set(config, '{feed}', '{\"kind\": \"published\"}') WHERE session_id = :id",
        id=session_id,
    )
    assert "of its clock" not in drawn_rows(world, session_id)


def test_every_sort_and_every_status_that_is_asked_for_is_shown_as_chosen(world: BoardWorld) -> None:
    """Also those no column is of, and more than one status."""
    for sort in SORTS:
        chosen = "" if sort == "attention" else sort
        form = drawn(Board(), world.hosting.desk, sort=sort)["board-filter"].html
        assert f'<option value="{chosen}" selected>' in form
    chips = drawn(Board(), world.hosting.desk, status="error,suspended")["board-counts"].html
    assert re.findall(r'aria-current="true"\s+class="chip status-(\w+)"', chips) == ["suspended", "error"]


def test_what_others_wrote_is_text(world: BoardWorld) -> None:
    """Script in a reason, a tag, an action, a search: none of it is a tag of the page, nor hides anything."""
    session_id = world.made()
    world.hosting.do(T.PAUSE, session_id, reason=SCRIPT)
    world.hosting.run("UPDATE sessions SET requires_action = :text WHERE session_id = :id", text=SCRIPT, id=session_id)
    parts = drawn(Board(), world.hosting.desk, text=str(session_id), account="")
    row = parts["board-rows"].html
    assert row.count("&lt;script&gt;alert(1)&lt;/script&gt;\\u202e") == 2
    none = drawn(Board(), world.hosting.desk, text=SCRIPT + "nobody", sort="pnl")
    assert "No session passes this filter." in none["board-rows"].html
    assert "<script" not in "".join(part.html for part in (*parts.values(), *none.values()))


def test_links_keep_the_filter_and_begin_at_the_first_page(world: BoardWorld) -> None:
    """Whatever is changed; a column that is sorted by turns round."""
    some(world)
    parts = drawn(Board(), world.hosting.desk, text="seven", sort="pnl", rows="2", page="2")
    assert 'href="?rows=2&amp;sort=pnl&amp;status=active&amp;text=seven"' in parts["board-counts"].html
    assert 'aria-sort="ascending"' in parts["board-head"].html
    assert 'href="?reverse=1&amp;rows=2&amp;sort=pnl&amp;text=seven"' in parts["board-head"].html
    assert "3\u20134 of 7" in parts["board-pages"].html
    assert 'rel="next" href="?page=3&amp;rows=2&amp;sort=pnl&amp;text=seven"' in parts["board-pages"].html
    past = drawn(Board(), world.hosting.desk, text="seven", rows="2", page="9")
    assert "There is no page 9 any more." in past["board-rows"].html


def test_only_the_rows_that_changed_are_sent(world: BoardWorld) -> None:
    """And nothing while nothing happens: ages count by themselves."""
    [changed, *_] = some(world)
    before = drawn(Board(), world.hosting.desk, text="seven", sort="created")
    assert difference(before, drawn(Board(), world.hosting.desk, text="seven", sort="created")) == {}
    world.hosting.run("UPDATE session_work SET last_saved_at = now() WHERE session_id = :id", id=changed)
    after = drawn(Board(), world.hosting.desk, text="seven", sort="created")
    assert list(difference(before, after)) == [f"row-{changed}"]


def test_whoever_only_looks_is_offered_nothing_and_scopes_are_kept(world: BoardWorld) -> None:
    """A token for one session shows that one alone, and no halts of the desk's."""
    mine, other = world.made(), world.made()
    own = Viewer(Actor("ann", frozenset({"operator"}), sessions=frozenset({str(mine)})), token="t")
    parts = drawn(Board(), world.hosting.desk, viewer=own)
    assert [f"row-{mine}"] == list(parts["board-rows"].children)
    assert f"/sessions/{mine}/act/pause" in parts["board-rows"].html
    looked = drawn(Board(), world.hosting.desk, text=str(other))
    assert "/act/" not in "".join(part.html for part in looked.values())


def test_halts_that_stand_are_on_top(world: BoardWorld) -> None:
    """With who placed them and why; a risk manager is offered to release them, and their sessions say so."""
    session_id = world.made()
    asked = HaltArguments(scope=f"session:{session_id}", reason=SCRIPT)
    placed = halt(world.hosting.desk, ANN, asked, uuid4(), within_s=5)
    halt_id = placed.halt.halt_id
    try:
        risk = Viewer(Actor("rita", frozenset({"risk_manager"})), token="t")
        parts = drawn(Board(), world.hosting.desk, viewer=risk, text=str(session_id))
        assert "&lt;script&gt;" in parts["board-halts"].html
        assert f"/sessions/halts/{halt_id}/release" in parts["board-halts"].html
        assert "halted" in parts["board-rows"].html
        row = read_board(world.hosting.desk, BoardQuery(session_id=session_id)).rows[0]
        assert (row.halted, row.status) == (True, S.PAUSED)
    finally:
        release(world.hosting.desk, ANN, ReleaseArguments(halt_id=str(halt_id), reason="over"))
