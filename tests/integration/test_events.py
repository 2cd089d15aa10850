"""Events of the whole desk: found by any of their columns, a page at a time, acknowledged once."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from lifecycle_harness import ANN, BOB, World, check_session
from pydantic import ValidationError
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fntx_sessions.cli import events as cli
from fntx_sessions.cli.app import run
from fntx_sessions.cli.asking import Line
from fntx_sessions.cli.exits import Exit
from fntx_sessions.exceptions import Forbidden, InvalidArgument, NotFound, Unavailable
from fntx_sessions.lifecycle import acknowledging
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.events_arguments import AcknowledgeArguments, EventsQuery
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.desk_events import count_to_do, list_events
from fntx_sessions.managing.desk_feed import DeskFeed
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import SessionEvent, SessionStatus
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.payloads import EVENT, Payloads, sealable

NOW = datetime.now(UTC)
_ADD = """
INSERT INTO events (event_id, session_id, timestamp, event_type, event_category, severity, source_agent, description,
  data, requires_action, impact_assessment)
VALUES (:event_id, :session_id, :timestamp, :event_type, :event_category, :severity, :source_agent, :description,
  :data, :requires_action, :impact_assessment)
"""


@pytest.fixture(scope="module")
def shared(module_database_url: str) -> Iterator[World]:
    world = World.over(module_database_url)
    yield world
    world.close()


@pytest.fixture
def world(shared: World) -> World:
    shared.execute("DELETE FROM events")
    return shared


def told(world: World, session_id: UUID, ago_s: float = 0, **facts: Any) -> UUID:
    """Store an event of a session and return its id."""
    event_id, data = uuid4(), facts.pop("data", {})
    row = {
        "event_type": "noted", "event_category": "system", "severity": "info", "source_agent": None,
        "description": "something happened", "requires_action": False, "impact_assessment": None,
        "data": Payloads(world.engine).seal_some(session_id, EVENT, event_id, data),
    } | facts  # fmt: skip
    world.execute(_ADD, event_id=event_id, session_id=session_id, timestamp=NOW - timedelta(seconds=ago_s), **row)
    return event_id


def found(world: World, scope: list[UUID] | None = None, **asked: Any) -> list[SessionEvent]:
    return list_events(world.engine, EventsQuery(**asked), scope).events


def ids(events: list[SessionEvent]) -> list[UUID]:
    return [event.event_id for event in events]


def acknowledge(world: World, event_id: UUID, actor: Actor = ANN, **more: Any) -> Outcome:
    # Nobody is told anything, and it is not asked twice.
    desk = Desk(world.engine, Redis(port=1, retry=Retry(NoBackoff(), 0)), world.settings)
    command_id = more.pop("command_id", None) or uuid4()
    return acknowledging.acknowledge(desk, actor, AcknowledgeArguments(event_id=event_id, **more), command_id)


def test_every_column_is_a_filter(world: World) -> None:
    """Type, category, severity at least, source, impact, action, text, time, session and scope each find their own."""
    here, there = world.create(), world.create()
    world.execute("DELETE FROM events")
    plain = told(world, here, 30)
    loud = told(
        world, there, 20, event_type="limit_reached", event_category="risk", severity="critical",
        source_agent="risk_guardian", description="Loss of 100% & a_b <script>", requires_action=True,
        impact_assessment="Positions stay OPEN", data={"loss": 12},
    )  # fmt: skip
    for asked in (
        {"event_types": ["limit_reached"]}, {"categories": ["risk"]}, {"severity": "warning"},
        {"source_agent": "risk_guardian"}, {"impact": "stay open"}, {"requires_action": True},
        {"text": "100% & A_B"}, {"text": "limit_reach"}, {"session_id": there}, {"since": NOW - timedelta(seconds=25)},
        {"id_prefix": loud.hex[:8]}, {"requires_action": True, "acknowledged": False},
    ):  # fmt: skip
        assert ids(found(world, **asked)) == [loud], asked
    assert ids(found(world, until=NOW - timedelta(seconds=25))) == [plain]
    assert ids(found(world, requires_action=False)) == [plain]
    assert ids(found(world, scope=[there])) == [loud]
    assert found(world, scope=[]) == found(world, text="_00%") == found(world, acknowledged=True) == []
    assert ids(found(world)) == [loud, plain] == ids(found(world, order="oldest"))[::-1]
    assert found(world, session_id=there)[0].data == {"loss": 12}
    assert count_to_do(world.engine) == count_to_do(world.engine, [there]) == 1
    assert count_to_do(world.engine, [here]) == 0


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_pages_hold_every_event_once(world: World, order: str) -> None:
    """Page by page each event comes once, in order, also those of one moment, however far back they reach."""
    session_id = world.create()
    world.execute("DELETE FROM events")
    expected = {told(world, session_id, ago) for ago in (0, 0, 0, 600, 3600, 40_000, 400_000, 30_000_000)}
    pages, cursor = [], None
    while True:
        page = list_events(world.engine, EventsQuery(limit=3, order=order, cursor=cursor))
        pages.append(page.events)
        if (cursor := page.cursor) is None:
            break
    listed = [event for page in pages for event in page]
    assert [len(page) for page in pages] == [3, 3, 2]
    assert {*ids(listed)} == expected
    keys = [(event.timestamp, event.event_id) for event in listed]
    assert keys == sorted(keys, reverse=order == "newest")


def test_bad_questions_name_the_field(world: World) -> None:
    """A cursor that is none, times in the wrong order, a severity nobody has: refused, naming the field."""
    for cursor in ("x", "eyJhIjoxfQ==", "WyIyMDI2LTAxLTAxIiwgMV0=", "bnVsbA=="):
        with pytest.raises(InvalidArgument, match="cursor"):
            list_events(world.engine, EventsQuery(cursor=cursor))
    with pytest.raises(InvalidArgument, match="since"):
        parse(EventsQuery, {"since": NOW.isoformat(), "until": NOW.isoformat()})
    with pytest.raises(InvalidArgument, match="severity"):
        parse(EventsQuery, {"severity": "loud"})
    with pytest.raises(ValidationError):
        EventsQuery(limit=0)


def test_an_event_is_acknowledged_once_and_audited(world: World) -> None:
    """The first acknowledgement stands, with who, when and what was done; the second is told so; all of it audited."""
    session_id = world.create()
    event_id = told(world, session_id, requires_action=True)
    command_id = uuid4()
    done = acknowledge(world, event_id, action_taken="called the broker", command_id=command_id)
    assert (done.state, done.extra["event_id"]) == ("done", str(event_id))
    again = acknowledge(world, event_id, action_taken="called the broker", command_id=command_id)
    assert (again.repeated, again.state) == (True, "done")
    late = acknowledge(world, event_id, BOB, action_taken="rang them too")
    assert late.error is not None
    assert "ann did so at" in late.error["message"]
    assert "called the broker" in late.error["message"]
    event = found(world, session_id=session_id, acknowledged=True)[0]
    assert (event.acknowledged_by, event.action_taken, event.event_id) == ("ann", "called the broker", event_id)
    assert event.acknowledged_at is not None
    assert count_to_do(world.engine) == 0
    entries = [(one["actor"], one["outcome"], one["reason"]) for one in world.audit(session_id)[-2:]]
    assert entries == [("ann", "done", "called the broker"), ("bob", "refused", "rang them too")]
    check_session(world, session_id)


def test_of_two_at_once_one_wins(world: World) -> None:
    """Of several people at the very same event, one acknowledges it and every other is told who."""
    session_id = world.create()
    event_id = told(world, session_id, requires_action=True)
    with ThreadPoolExecutor(4) as pool:
        people = [Actor(name, frozenset({"operator"})) for name in ("ann", "bob", "cid", "dan")]
        outcomes = list(pool.map(lambda one: (one.name, acknowledge(world, event_id, one)), people))
    won = [name for name, outcome in outcomes if outcome.state == "done"]
    assert len(won) == 1
    lost = [str((outcome.error or {}).get("message")) for name, outcome in outcomes if name not in won]
    assert all(f"{won[0]} did so at" in message for message in lost)
    assert found(world, session_id=session_id, acknowledged=True)[0].acknowledged_by == won[0]
    check_session(world, session_id)


def test_who_may_not_or_names_nothing_is_refused(world: World) -> None:
    """A viewer is refused and audited; an unknown event, and one of another session, are not there."""
    session_id, other = world.create(), world.create()
    event_id = told(world, session_id)
    refused = acknowledge(world, event_id, Actor("eve", frozenset({"viewer"})))
    assert refused.error is not None
    assert refused.error["error"] == "Forbidden"
    assert world.audit(session_id)[-1]["outcome"] == "denied"
    with pytest.raises(NotFound, match="event"):
        acknowledge(world, uuid4())
    elsewhere = acknowledge(world, event_id, session_id=other)
    assert elsewhere.error is not None
    assert elsewhere.error["error"] == "NotFound"
    assert found(world, acknowledged=True) == []


def test_who_may_not_learns_nothing_of_what_there_is(world: World) -> None:
    """By a token of another session, and by a viewer: refused alike, whether the event is there or not."""
    there, nowhere = told(world, world.create()), uuid4()
    elsewhere = Actor("sam", frozenset({"operator"}), sessions=frozenset({str(world.create())}))
    words = set()
    for event_id in (there, nowhere):
        with pytest.raises(Forbidden) as denied:
            acknowledge(world, event_id, elsewhere)
        words.add(str(denied.value).replace(str(event_id), "ID"))
    assert len(words) == 1
    with pytest.raises(Forbidden):
        acknowledge(world, nowhere, Actor("eve", frozenset({"viewer"})))


def test_an_ended_session_can_still_be_seen_to(world: World) -> None:
    """What a session left behind when it closed is acknowledged like anything else."""
    session_id = world.in_status(SessionStatus.CLOSED)
    assert acknowledge(world, told(world, session_id, requires_action=True)).state == "done"
    check_session(world, session_id)


def test_an_acknowledged_week_is_archived_again(world: World) -> None:
    """A week whose events are in the cold store already is written there again with what was done."""
    session_id = world.create()
    event_id = told(world, session_id)
    world.execute(
        """INSERT INTO archive_segments (session_id, relation, week, object, checksum, rows, size_bytes, verified_at)
        VALUES (:id, 'events', CAST(date_trunc('week', CAST(:at AS timestamptz) AT TIME ZONE 'UTC') AS date), 'x',
          '\\x00', 1, 1, now())""",
        id=session_id, at=NOW,
    )  # fmt: skip
    assert acknowledge(world, event_id).state == "done"
    assert world.rows("SELECT verified_at FROM archive_segments")[0]["verified_at"] is None


def test_data_that_does_not_open_is_said_so(world: World) -> None:
    """One event whose data is damaged is listed all the same, and says what is wrong with it."""
    session_id = world.create()
    event_id = told(world, session_id, data={"a": 1})
    world.execute("UPDATE events SET data = :data WHERE event_id = :id", data=sealable(b"not sealed"), id=event_id)
    assert "unreadable" in found(world, session_id=session_id, id_prefix=event_id.hex)[0].data


def test_following_hands_out_each_event_once_late_ones_too(world: World) -> None:
    """What is committed late under an earlier time comes after all; nothing comes twice, in pages or over rounds."""
    session_id = world.create()
    world.execute("DELETE FROM events")
    feed = DeskFeed({"session_id": session_id, "severity": "warning"}, NOW - timedelta(seconds=60), 3600)
    first = {told(world, session_id, 20, severity="error") for _ in range(501)}
    told(world, session_id, 20)
    page = ids(pulled(world, feed))
    assert (len(page), feed.full) == (500, True)
    late, new = told(world, session_id, 25, severity="critical"), told(world, session_id, severity="warning")
    assert {*page, *ids(pulled(world, feed))} == first | {new}
    assert (ids(pulled(world, feed)), feed.full) == ([late], True)
    assert (pulled(world, feed), feed.full) == ([], False)
    from_now = DeskFeed({}, None, 30)
    assert (pulled(world, from_now), pulled(world, from_now)) == ([], [])


def pulled(world: World, feed: DeskFeed) -> list[SessionEvent]:
    return feed.take(list_events(world.engine, EventsQuery(**feed.question())))


class InProcess(Line):
    """A line that ends in this process. troubles: what the next questions meet; whoever has asked enough leaves."""

    def __init__(self, world: World) -> None:
        self.world, self.settings = (
            world,
            world.settings.model_copy(update={"subscribe_poll_s": 0.01, "subscribe_overlap_s": 3600}),
        )
        self.troubles: deque[BaseException] = deque()

    def query(self, task: str, **arguments: Any) -> Any:
        if task != "events.list":
            raise NotFound("session", str(arguments), "It is not asked for here.")
        if self.troubles:
            raise self.troubles.popleft()
        return list_events(self.world.engine, EventsQuery(**arguments)).model_dump(mode="json")

    def outcome(self, task: str, arguments: dict[str, Any], command_id: UUID | None = None) -> dict[str, Any]:
        assert task == "events.acknowledge"
        outcome = acknowledge(self.world, UUID(arguments.pop("event_id")), command_id=command_id, **arguments)
        return outcome.raise_for_refusal().to_dict()


@pytest.fixture
def desk(world: World, monkeypatch: pytest.MonkeyPatch) -> InProcess:
    made = InProcess(world)
    monkeypatch.setattr(cli, "line", lambda: made)
    monkeypatch.setattr("fntx_sessions.cli.queries.line", lambda: made)
    return made


def test_the_terminal_lists_and_acknowledges(world: World, desk: InProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """`fntx events` lists the desk's, oldest first; `fntx ack` takes the first characters of one, once."""
    session_id = world.create()
    world.execute("DELETE FROM events")
    told(world, session_id, 60)
    event_id = told(world, session_id, requires_action=True, description="[red]call\x1b[2J <b>", severity="critical")
    assert run(["events", "--json"]) == Exit.DONE
    assert [row["severity"] for row in orjson.loads(capsys.readouterr().out)] == ["info", "critical"]
    assert run(["events", "--requires-action", "--open", "--severity", "error", "--since", "1h"]) == Exit.DONE
    listed = capsys.readouterr().out
    assert f"to do: fntx ack {event_id.hex[:8]}" in listed
    assert "[red]call\\x1b[2J <b>" in listed
    assert run(["ack", event_id.hex[:8], "--taken", "called"]) == Exit.DONE
    assert "acknowledged: noted" in capsys.readouterr().out
    assert run(["ack", str(event_id)]) == Exit.REFUSED
    assert "ann did so at" in capsys.readouterr().err
    assert run(["events", str(session_id)]) == Exit.DONE
    assert "seen to by ann: called" in capsys.readouterr().out
    for wrong, code in ((["ack", "0000aaaa"], Exit.NOT_FOUND), (["ack", "xyz"], Exit.USAGE),
                        (["events", "--since", "noon"], Exit.USAGE), (["events", str(uuid4())], Exit.NOT_FOUND),
                        (["events", "-f", "--until", "1h"], Exit.USAGE)):  # fmt: skip
        assert run(wrong) == code


def test_all_events_of_one_outage_are_acknowledged_at_once(
    world: World, desk: InProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fntx ack --type --since` takes what nobody saw to, of that type and time alone, each in its own audit."""
    monkeypatch.setattr(cli, "_PAGE", 2)
    ids = [world.create() for _ in range(5)]
    world.execute("DELETE FROM events")
    late = [told(world, one, event_type="beat_late", requires_action=True) for one in ids]
    told(world, ids[0], requires_action=True)
    assert run(["ack", str(late[0]), "--taken", "looked"]) == Exit.DONE
    capsys.readouterr()
    assert run(["ack", "--type", "beat_late", "--since", "20m", "--taken", "beat is up again"]) == Exit.DONE
    assert "4 acknowledged" in "".join(capsys.readouterr())
    open_ones = world.rows("SELECT event_type FROM events WHERE acknowledged_at IS NULL")
    assert [one["event_type"] for one in open_ones] == ["noted"]
    for wrong in (["ack"], ["ack", "--type", "beat_late"], ["ack", str(late[0]), "--type", "x", "--since", "1h"]):
        assert run(wrong) == Exit.USAGE


def test_following_in_a_terminal_waits_out_what_is_away(
    world: World, desk: InProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fntx events --follow` prints a line an event, says once that it waits, and goes on by itself."""
    session_id = world.create()
    world.execute("DELETE FROM events")
    told(world, session_id, 10)
    away = Unavailable("Redis", "it is away", "Start it.")
    desk.troubles.extend([away, away])
    answer, rounds = desk.query, iter(range(10))

    def query(task: str, **arguments: Any) -> Any:
        number = next(rounds)
        if number == 3:
            told(world, session_id, severity="error")
        if number == 5:
            raise KeyboardInterrupt
        return answer(task, **arguments)

    monkeypatch.setattr(desk, "query", query)
    assert run(["events", "--follow", "--since", "1d", "--json"]) == Exit.INTERRUPTED
    shown = capsys.readouterr()
    assert [orjson.loads(one)["severity"] for one in shown.out.splitlines()] == ["info", "error"]
    assert shown.err.count("waiting: ") == 1


def test_what_fails_calls_a_person_and_says_what_that_means(world: World) -> None:
    """A session in ERROR is on the list of what is to do, with its impact, which can be asked for by its words."""
    session_id = world.in_status(SessionStatus.ERROR)
    told(world, session_id, event_type="pinned")
    (failed,) = found(world, session_id=session_id, requires_action=True, acknowledged=False)
    assert (failed.event_type, failed.severity) == ("session_failed", "critical")
    assert "is guarded" in str(failed.impact_assessment)
    assert ids(found(world, session_id=session_id, impact="IS GUARDED")) == [failed.event_id]
