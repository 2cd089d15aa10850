"""The pages of one session, asked of the real stores and drawn: no Flower around them."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from drawing import drawn
from hosting import Hosting, make_hosting, shared
from sqlalchemy import text
from tornado.escape import xhtml_unescape

from fntx_sessions.exceptions import InvalidArgument, NotFound
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.lifecycle.decisions.keeping import finish_checkpoint
from fntx_sessions.lifecycle.reads.marks import NEWEST, between
from fntx_sessions.monitoring.flower import curve
from fntx_sessions.monitoring.flower.diagram import PLACES, diagram, taken, ways
from fntx_sessions.monitoring.flower.overview import Overview
from fntx_sessions.monitoring.flower.session_page import SessionPage
from fntx_sessions.monitoring.flower.timeline import Timeline
from fntx_sessions.monitoring.flower.views import difference
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.schemas import SessionStatus, Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.checkpoints import create_checkpoint

SCRIPT = "<script>alert(1)</script>"
S = SessionStatus


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, module_database_url: str, valkey_server: str) -> Iterator[Hosting]:
    home: Path = tmp_path_factory.mktemp("pages")
    with make_hosting(shared(home, module_database_url, valkey_server)) as made:
        yield made


@pytest.fixture(scope="module")
def holder(house: Hosting) -> UUID:
    """A session of a simulated day that holds a position, saved."""
    session_id = house.holding(house.started())
    house.save(session_id)
    return session_id


def sample(house: Hosting, session_id: UUID, at: datetime, net: float) -> None:
    statement = "INSERT INTO samples (session_id, timestamp, epoch, net_pnl) VALUES (:id, :at, 1, :net)"
    house.run(statement, id=session_id, at=at, net=net)


def event(house: Hosting, session_id: UUID, said: str, severity: str = "info", at: datetime | None = None) -> UUID:
    event_id = uuid4()
    house.run(
        "INSERT INTO events (event_id, session_id, timestamp, event_type, event_category, severity, description, "
        "requires_action) VALUES (:event, :id, coalesce(:at, now()), 'noted', 'system', :severity, :said, "
        ":severity = 'critical')", event=event_id, id=session_id, said=said, severity=severity, at=at,
    )  # fmt: skip
    return event_id


def operator() -> Viewer:
    return Viewer(Actor("ann", frozenset({"operator"})), token="held")


def test_the_head_says_where_it_stands_since_when_by_whom_and_why(house: Hosting) -> None:
    """Status, actor and reason are at the head of each page of a session, whatever was written into them escaped."""
    session_id = house.started()
    house.do(Trigger.PAUSE, session_id, reason=f"{SCRIPT} lunch")

    head = drawn(Overview(), house.desk, session_id)["session-head"].html

    assert "status-paused" in head
    assert "ann" in head
    assert "&lt;script&gt;alert(1)&lt;/script&gt; lunch" in head
    assert f"/sessions/{session_id}/timeline" in head


def test_actions_are_offered_to_those_whose_role_allows_them(house: Hosting) -> None:
    """An operator is offered what makes sense in the status; one who only looks is offered nothing."""
    session_id = house.started()

    theirs = drawn(Overview(), house.desk, session_id, operator())["session-head"].html

    assert f"/sessions/{session_id}/act/pause" in theirs
    assert "/act/resume" not in theirs
    assert "/act/" not in drawn(Overview(), house.desk, session_id)["session-head"].html


@pytest.mark.parametrize("page", [Overview(), Timeline()])
def test_a_page_does_not_change_while_nothing_happens(house: Hosting, holder: UUID, page: SessionPage) -> None:
    """What is drawn twice of the same state is the same, so that a live page sends nothing."""
    first = drawn(page, house.desk, holder)

    assert difference(first, drawn(page, house.desk, holder)) == {}


def test_the_overview_shows_what_is_held_and_what_it_made(house: Hosting, holder: UUID) -> None:
    """A position is there with its contract, price and mark; figures stand with what they count."""
    held = house.broker.positions(holder)[0]

    parts = drawn(Overview(), house.desk, holder)

    assert held.contract.symbol in parts["holdings"].html
    assert f'<td class="num">{held.quantity}</td>' in parts["holdings"].html
    assert "Deepest drawdown" in parts["facts"].html
    assert "<meter" in parts["facts"].html


def test_the_overview_has_the_measures_that_metrics_has(house: Hosting, holder: UUID) -> None:
    """And what is left of the day's limits; its path is told from its end, and not numbered from there."""
    parts = drawn(Overview(), house.desk, holder)
    for name in ("Active, paused", "Checkpoints", "Most memory, calls of an API"):
        assert f"<dt>{name}</dt>" in parts["facts"].html
    assert re.search(r"<dt>Left today</dt><dd>\$[\d,.]+ to the loss limit, \d+ contracts</dd>", parts["facts"].html)
    assert "<ol" not in parts["path"].html


def test_the_newest_alert_is_found_without_reading_all_else_that_happened(house: Hosting) -> None:
    """Whoever watches a session asks each second: there is an index of alerts alone, and the question fits it."""
    session_id = house.create()
    with house.desk.engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        found = connection.execute(text(f"EXPLAIN {NEWEST.text}"), {"session_id": session_id}).scalars().all()
    # A partition's index has the name that Postgres gives it.
    assert re.search(r"events\S*_session_id_timestamp_idx", "\n".join(found))


def test_two_clocks_are_told_where_there_are_two(house: Hosting, holder: UUID) -> None:
    """On a simulated day the timeline's order is not that in which things happened, and says so."""
    assert "Two clocks" in drawn(Timeline(), house.desk, holder)["entries"].html
    published = house.started(config={"feed": {"kind": "published"}})
    assert "Two clocks" not in drawn(Timeline(), house.desk, published)["entries"].html


def test_why_a_checkpoint_was_made_is_said_in_its_event(house: Hosting) -> None:
    """A reason is as good as a note."""
    session_id, desk = house.started(), house.desk
    house.save(session_id)
    made = create_checkpoint(desk.engine, desk.redis, desk.settings, session_id, "manual", note="noon")
    asked = Ask(Trigger.CHECKPOINT, session_id, Actor("ann", frozenset({"operator"})), reason="before the close")
    for checkpoint, why in ((made, "noon"), (made.model_copy(update={"note": None}), "before the close")):
        [change] = finish_checkpoint(checkpoint)({}, asked)
        assert change.events[0]["description"].startswith(f"manual checkpoint by ann: {why}")
    assert any(": noon" in row for row in rows(house, session_id, checkpoint="on"))


def test_a_session_that_is_not_there_is_said_so(house: Hosting) -> None:
    """An unknown id is no page."""
    with pytest.raises(NotFound):
        drawn(Overview(), house.desk, uuid4())


def test_every_way_of_the_state_table_is_in_the_picture_and_no_other() -> None:
    """The picture is made from the table: a status or a way that is added there is drawn, or this fails."""
    picture = diagram(S.ACTIVE, taken([]), "nothing yet")

    assert set(PLACES) == {*S, None}
    assert picture.count('<g class="way">') == len(ways())
    assert "taken" not in picture.partition("</defs>")[2]
    assert picture.count("node-here") == 1


def test_the_path_it_took_stands_out_with_how_often(house: Hosting) -> None:
    """Each way it took is thick and counted, and said in words for those who do not see it."""
    session_id = house.started()
    for _ in range(2):
        house.do(Trigger.PAUSE, session_id)
        house.do(Trigger.RESUME, session_id)

    path = drawn(Overview(), house.desk, session_id)["path"].html

    assert path.count('<g class="taken">') == 4
    assert "pause \u00d72" in path
    assert "it is active. Its path: initializing \u2192 active \u2192 paused" in path


def test_the_curve_has_its_marks_and_is_parted_where_nobody_sampled(house: Hosting) -> None:
    """Transitions and alerts are marked where they happened; a night is no straight line."""
    session_id = house.started(config={"feed": {"kind": "published"}})
    noon = datetime.now(UTC) - timedelta(days=1)
    for minute, net in ((0, 1.0), (1, -5.25), (1000, 3.0)):
        sample(house, session_id, noon + timedelta(minutes=minute), net)
    event(house, session_id, f"quote old {SCRIPT}", "error")
    event(house, session_id, "no alert")

    found = curve.plot(house.desk, session_id)

    assert found["net"] == [1.0, -5.25, None, 3.0]
    assert [one["kind"] for one in found["marks"]].count("transition") == 2
    assert [one["what"] for one in found["marks"] if SCRIPT in one["what"]] == [f"noted: quote old {SCRIPT}"]
    assert "no alert" not in str(found["marks"])
    assert not found["simulated"]


def test_on_a_simulated_day_marks_stand_at_its_clock(house: Hosting, holder: UUID) -> None:
    """What the desk did today to a session that replays 2018 is marked in 2018."""
    house.do(Trigger.CHECKPOINT, holder)

    found = curve.plot(house.desk, holder)

    assert found["simulated"]
    low, high = min(found["times"]), max(found["times"])
    assert {one["kind"] for one in found["marks"]} >= {"transition", "trade", "checkpoint"}
    assert all(low <= one["at"] <= high for one in found["marks"])


@pytest.mark.parametrize(("wall", "clock"), [(0, 100), (10, 100), (15, 150), (20, 200), (99, 200)])
def test_between_two_known_moments_a_clock_goes_in_line(wall: float, clock: float) -> None:
    """Outside what is known it stands at the nearest."""
    assert between([(10, 100), (20, 200)], wall) == clock


def test_of_many_marks_the_newest_are_shown_and_the_rest_said(house: Hosting) -> None:
    """A curve is never silently without some of its marks."""
    session_id = house.started()
    for index in range(4):
        event(house, session_id, f"alert {index}", "warning")

    found = curve.plot(house.with_settings(pages_plot_marks=3).desk, session_id)

    assert found["left_out"] == ["alert"]
    assert [one["what"] for one in found["marks"] if one["kind"] == "alert"][-1] == "noted: alert 3"


def rows(house: Hosting, session_id: UUID, viewer: Viewer | None = None, **asked: str) -> list[str]:
    return list(drawn(Timeline(), house.desk, session_id, viewer, **asked)["entries"].children.values())


def test_the_timeline_is_read_back_to_its_beginning_page_by_page(house: Hosting) -> None:
    """Each page's link leads to older entries; nothing is shown twice, nothing left out."""
    session_id = house.started()
    for index in range(7):
        event(house, session_id, f"number {index}")
    small = house.with_settings(pages_timeline_rows=3)
    seen: list[str] = []
    asked: dict[str, str] = {}
    while True:
        part = drawn(Timeline(), small.desk, session_id, **asked)["entries"]
        seen += part.children
        link = re.search(r'rel="next" href="\?after=([^"]*)"', part.html)
        if link is None:
            break
        asked = {"after": xhtml_unescape(link[1]).replace("%3D", "=")}
    assert seen == list(drawn(Timeline(), house.desk, session_id)["entries"].children)
    assert len(set(seen)) == len(seen) >= 9


def test_the_timeline_is_filtered_by_kind_severity_and_words(house: Hosting) -> None:
    """Each filter leaves what fits, and is kept in the links."""
    session_id = house.started()
    event(house, session_id, f"old quote {SCRIPT}", "error")
    event(house, session_id, "fine")

    assert all("<td>transition" in row for row in rows(house, session_id, transition="on"))
    assert len(rows(house, session_id, transition="on")) == 2
    [row] = rows(house, session_id, severity="warning")
    assert "&lt;script&gt;" in row
    assert len(rows(house, session_id, words="FINE")) == 1
    small = house.with_settings(pages_timeline_rows=1)
    assert "transition=on&amp;after=" in drawn(Timeline(), small.desk, session_id, transition="on")["entries"].html


@pytest.mark.parametrize(
    "asked", [{"severity": "loud"}, {"first": "yesterday"}, {"after": "x"}, {"colour": "red"}, {"words": "w" * 300}]
)
def test_a_filter_that_cannot_be_is_refused_by_name(house: Hosting, asked: dict[str, str]) -> None:
    """An address that was typed wrong is said so, with the field."""
    session_id = house.create()
    with pytest.raises(InvalidArgument) as refused:
        drawn(Timeline(), house.desk, session_id, **asked)
    assert next(iter(asked)) in str(refused.value)


def test_an_event_that_waits_for_somebody_is_offered_to_those_who_may_see_to_it(house: Hosting) -> None:
    """Its row links to its acknowledgement, for those whose role allows it."""
    session_id = house.started()
    event_id = event(house, session_id, "look at this", "critical")

    [row] = rows(house, session_id, operator(), severity="critical")
    assert f"/sessions/{session_id}/events/{event_id}/ack" in row
    [row] = rows(house, session_id, severity="critical")
    assert "/ack" not in row
    assert "Somebody must act." in row
