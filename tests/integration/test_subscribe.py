"""Following a session: every event, in order, at least once, over restarts, and nothing left behind."""

import asyncio
import gc
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from lifecycle_harness import World
from running_desk import RunningDesk, desk, quiet_desk, run

from fntx_sessions import SessionEvent, SessionLifecycleManager, SessionStatus, SessionType, TradingSession, Trigger
from fntx_sessions.exceptions import InvalidArgument, NotFound, StackError
from fntx_sessions.lifecycle.reads.news import NewsArguments, get_news
from fntx_sessions.managing import places
from fntx_sessions.managing.bookmark import MOST_KNOWN, Bookmark

__all__ = ["desk", "quiet_desk"]

pytestmark = pytest.mark.timeout(120)
_ADD = """INSERT INTO events (event_id, session_id, timestamp, event_type, event_category, severity, description)
VALUES (:event_id, :session_id, clock_timestamp() - make_interval(secs => :ago_s), :kind, 'test', 'info', '')"""

_FILL = """INSERT INTO events (event_id, session_id, timestamp, event_type, event_category, severity, description)
SELECT gen_random_uuid(), :session_id, now() - make_interval(secs => :ago_s), 'many', 'test', 'info', ''
FROM generate_series(1, :count)"""


@pytest.fixture(scope="module")
def world(desk: RunningDesk):
    made = World.over(desk.database_url)
    yield made
    made.close()


def tell(world: World, session_id: UUID, *kinds: str, ago_s: float = 0.0) -> None:
    """Commit events as sweeps do, that no inbox announces."""
    for kind in kinds:
        world.execute(_ADD, event_id=uuid4(), session_id=session_id, ago_s=ago_s, kind=kind)


async def paper(manager: SessionLifecycleManager) -> TradingSession:
    return await manager.create_session(SessionType.PAPER_TRADING)


async def take(events: Any, count: int) -> list[SessionEvent]:
    return [await asyncio.wait_for(anext(events), 30) for _ in range(count)]


def finish(world: World, session_id: UUID) -> None:
    """Close a session in one breath."""
    world.do(Trigger.STOP, session_id)
    world.do(Trigger.FINALIZE, session_id)


def kinds_of(events: list[SessionEvent]) -> list[str]:
    return [event.event_type for event in events]


def test_all_events_come_in_order_until_the_session_is_closed(desk: RunningDesk, world: World) -> None:
    """From the first one on, those announced and those that are not, each once; then the iteration ends."""

    async def scenario() -> None:
        async with desk.manager() as manager:
            session = await paper(manager)
            events = manager.subscribe(str(session.session_id)[:8])
            heard = await take(events, 1)
            await manager.start_session(session.session_id)
            heard += await take(events, 1)
            await asyncio.to_thread(tell, world, session.session_id, "one", "two", "three")
            heard += await take(events, 3)
            await asyncio.to_thread(finish, world, session.session_id)
            heard += [event async for event in events]
            assert kinds_of(heard)[:5] == ["session_created", "session_started", "one", "two", "three"]
            assert kinds_of(heard)[-1] == "session_closed"
            assert session.status == SessionStatus.CLOSED
            assert heard == await manager.get_session_events(session.session_id)
            with pytest.raises(StopAsyncIteration):
                await anext(events)

    run(scenario)


def test_a_stop_that_waits_says_that_it_is_closed(desk: RunningDesk, world: World) -> None:
    """The outcome of `wait_closed` has the status, version and epoch of the closed session."""

    async def scenario() -> None:
        async with desk.manager(subscribe_poll_s=0.05) as manager:
            session = await paper(manager)
            stop = asyncio.create_task(manager.stop_session(session.session_id, wait_closed=True, deadline_s=30))
            closing = manager.subscribe(session.session_id, types=["session_stopped"])
            await take(closing, 1)
            await asyncio.to_thread(world.do, Trigger.FINALIZE, session.session_id)
            outcome = await stop
            assert (outcome.trigger, outcome.state, outcome.status) == (Trigger.STOP, "done", SessionStatus.CLOSED)
            assert (outcome.version, outcome.epoch) == (session.version, session.epoch)

    run(scenario)


def test_an_announced_event_wakes_at_once(desk: RunningDesk) -> None:
    """What the inbox tells of does not wait for the poll, however long that is."""

    async def scenario() -> None:
        async with desk.manager(subscribe_poll_s=3600.0) as manager:
            session = await paper(manager)
            events = manager.subscribe(session.session_id, types=["session_started", "session_paused"])
            first = asyncio.create_task(anext(events))
            await asyncio.sleep(0.1)
            await manager.start_session(session.session_id)
            assert (await asyncio.wait_for(first, 30)).event_type == "session_started"
            await manager.pause_session(session.session_id)
            assert kinds_of(await take(events, 1)) == ["session_paused"]

    run(scenario)


def test_a_late_commit_is_not_left_out(desk: RunningDesk, world: World) -> None:
    """An event that is committed after a later one had been handed out follows it, once."""

    async def scenario() -> None:
        async with desk.manager(subscribe_poll_s=0.05) as manager:
            session = await paper(manager)
            events = manager.subscribe(session.session_id, after=datetime.now(UTC) - timedelta(seconds=20))
            await asyncio.to_thread(tell, world, session.session_id, "newer")
            assert kinds_of(await take(events, 2)) == ["session_created", "newer"]
            await asyncio.to_thread(tell, world, session.session_id, "late", ago_s=10)
            await asyncio.to_thread(finish, world, session.session_id)
            rest = kinds_of([event async for event in events])
            assert rest[0] == "late"
            assert not {"newer", "session_created"} & {*rest}

    run(scenario)


def test_a_bookmark_goes_on_where_another_left_off(desk: RunningDesk, world: World) -> None:
    """Its text, in another manager, brings exactly the rest; an event that was read elsewhere, its neighbours too."""

    async def scenario() -> None:
        async with desk.manager() as manager, desk.manager() as other:
            session = await paper(manager)
            await asyncio.to_thread(tell, world, session.session_id, *"abcdef")
            events = manager.subscribe(session.session_id)
            heard = await take(events, 4)
            assert kinds_of(heard) == ["session_created", "a", "b", "c"]
            await asyncio.to_thread(finish, world, session.session_id)
            rest = kinds_of([event async for event in other.subscribe(session.session_id, after=events.bookmark)])
            assert rest[:3] == ["d", "e", "f"]
            assert rest[-1] == "session_closed"
            again = kinds_of(
                [event async for event in other.subscribe(session.session_id, after=heard[-1].model_copy())]
            )
            assert set(rest) <= set(again)
            assert "c" not in again
            later = other.subscribe(session.session_id, after=datetime.now(UTC) + timedelta(hours=1))
            assert [event async for event in later] == []

    run(scenario)


def test_after_an_event_nothing_comes_again_that_was_handed_out_before_it(desk: RunningDesk, world: World) -> None:
    """The event itself is the bookmark: in another manager the rest comes, each once, and what was committed late."""

    async def scenario() -> None:
        async with desk.manager() as manager, desk.manager() as other:
            session = await paper(manager)
            await asyncio.to_thread(tell, world, session.session_id, *"abcdef")
            events = manager.subscribe(session.session_id)
            heard = await take(events, 7)
            await asyncio.to_thread(tell, world, session.session_id, "late", ago_s=10)
            await asyncio.to_thread(finish, world, session.session_id)
            for place in (3, 6, 0):
                rest = kinds_of([one async for one in other.subscribe(session.session_id, after=heard[place])])
                assert rest[0] == "late"
                assert rest[1:-1][: 6 - place] == kinds_of(heard)[place + 1 :]
                assert rest[-1] == "session_closed"
            marks = len(places._places)
            del heard, events
            gc.collect()
            assert len(places._places) < marks
            assert kinds_of([one async for one in other.subscribe(session.session_id)]).count("late") == 1

    run(scenario)


def test_pages_of_a_long_history_come_whole(desk: RunningDesk, world: World) -> None:
    """Hundreds of events, many at one moment, some long ago: none twice, none left out, little kept in mind."""
    count = 450

    async def scenario() -> None:
        async with desk.manager() as manager:
            session = await paper(manager)
            for ago in (3600, 0):
                await asyncio.to_thread(world.execute, _FILL, session_id=session.session_id, ago_s=ago, count=count)
            await asyncio.to_thread(finish, world, session.session_id)
            events = manager.subscribe(session.session_id)
            heard = [event async for event in events]
            assert len({event.event_id for event in heard}) == len(heard)
            assert kinds_of(heard).count("many") == 2 * count
            assert [event.timestamp for event in heard] == sorted(event.timestamp for event in heard)
            assert len(events._bookmark._known) < count + 20

    run(scenario)


def test_what_cannot_be_followed_is_named(desk: RunningDesk) -> None:
    """An unknown session, a time without a zone, and what is no bookmark."""

    async def scenario() -> None:
        async with desk.manager() as manager:
            with pytest.raises(NotFound):
                await anext(manager.subscribe(uuid4()))
            for wrong in (datetime.now(), "yesterday", "[1, 2]", "{}"):  # noqa: DTZ005
                with pytest.raises(InvalidArgument, match="after"):
                    manager.subscribe(uuid4(), after=wrong)

    run(scenario)


def test_stopping_half_way_leaves_nothing(desk: RunningDesk) -> None:
    """A break, a cancelled task and a dropped iterator leave no task, no wait and no bell."""

    async def scenario() -> None:
        async with desk.manager() as manager:
            session = await paper(manager)
            async for event in manager.subscribe(session.session_id):
                assert event.event_type == "session_created"
                break
            events = manager.subscribe(session.session_id)
            await take(events, 1)
            for delay in (0, 0.002, 0.05):
                waiting = asyncio.create_task(anext(events))
                await asyncio.sleep(delay)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            await manager.start_session(session.session_id)
            assert kinds_of(await take(events, 1)) == ["session_started"]
            del events, waiting
            gc.collect()
            caller = manager._caller
            assert caller is not None
            while caller._announcements._listener is not None and not caller._announcements._listener.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert (caller.followers, caller._answers._waiting) == (0, {})

    run(scenario)


def test_shutting_the_manager_down_ends_it_with_an_error(desk: RunningDesk) -> None:
    """Whoever waits for an event is told, and nothing comes of it by asking on."""

    async def scenario() -> None:
        async with desk.manager(subscribe_poll_s=3600.0) as manager:
            session = await paper(manager)
            events = manager.subscribe(session.session_id)
            await take(events, 1)
            waiting = asyncio.create_task(anext(events))
            await asyncio.sleep(0.1)
            await manager.shutdown()
            for asked in (waiting, anext(events)):
                with pytest.raises(StackError, match="shut down"):
                    await asked

    run(scenario)


def test_many_follow_many(desk: RunningDesk) -> None:
    """Twenty subscriptions of one manager, each with its own events, one listener for all."""

    async def one(manager: SessionLifecycleManager) -> list[str]:
        session = await paper(manager)
        events = manager.subscribe(session.session_id)
        await manager.start_session(session.session_id)
        heard = await take(events, 2)
        assert {event.session_id for event in heard} == {session.session_id}
        return kinds_of(heard)

    async def scenario() -> None:
        async with desk.manager() as manager:
            heard = await asyncio.gather(*(one(manager) for _ in range(20)))
            assert set(map(tuple, heard)) == {("session_created", "session_started")}
            assert len(asyncio.all_tasks()) <= 3

    run(scenario)


def test_a_bookmark_is_bounded() -> None:
    """However many events a moment brings, no more than so many are kept in mind; the text makes the same bookmark."""
    moment = datetime(2026, 1, 5, 15, tzinfo=UTC)
    bookmark = Bookmark()
    for number in range(MOST_KNOWN + 50):
        facts = {"session_id": uuid4(), "event_type": "x", "event_category": "x", "description": ""}
        at = moment + timedelta(microseconds=number)
        bookmark.pass_by(SessionEvent(event_id=UUID(int=number), timestamp=at, **facts))
    bookmark.settle(moment - timedelta(hours=1))
    asked = bookmark.question()
    assert len(asked["known"]) == MOST_KNOWN
    assert (asked["after"], asked["after_id"]) == (moment + timedelta(microseconds=49), UUID(int=49))
    assert Bookmark.from_text(bookmark.text()).question() == asked


def test_a_look_costs_no_more_for_what_was_handed_out(desk: RunningDesk, world: World) -> None:
    """What is known is neither opened nor sent again, and a type that is not asked for does not come."""
    session_id = world.create()
    tell(world, session_id, "one", "two")
    found = get_news(world.engine, NewsArguments(session_id=session_id, types=["one", "two"]))
    assert kinds_of(found["events"]) == ["one", "two"]
    known = [event.event_id for event in found["events"]]
    again = get_news(world.engine, NewsArguments(session_id=session_id, known=known, types=["one", "two"]))
    assert again["events"] == []
    assert again["session"] == {"session_id": session_id, "status": "initializing", "version": 1, "epoch": 0}
