"""The managers against a real worker: one outcome a command, sessions that stay fresh, nothing left behind."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID, uuid4

import pytest
from running_desk import RunningDesk, desk, quiet_desk, run

from fntx_sessions import SessionLifecycleManager, SessionStateManager, SessionStatus, SessionType, TradingSession
from fntx_sessions.automation.pending import finish_pending
from fntx_sessions.database.engine import build_engine
from fntx_sessions.exceptions import (
    CommandConflict,
    IllegalTransition,
    InvalidArgument,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    StackError,
    VersionConflict,
)
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.security.actor import system_actor
from fntx_sessions.state.redis_client import build_redis

__all__ = ["desk", "quiet_desk"]

pytestmark = pytest.mark.timeout(180)
Scenario = Callable[[SessionLifecycleManager], Coroutine[Any, Any, None]]


def with_manager(desk: RunningDesk, scenario: Scenario, **changed: Any) -> None:
    """Run a scenario with a manager of its own."""

    async def whole() -> None:
        async with desk.manager(**changed) as manager:
            await scenario(manager)

    run(whole)


async def paper(manager: SessionLifecycleManager, **more: Any) -> TradingSession:
    """Create a paper session."""
    return await manager.create_session(SessionType.PAPER_TRADING, **more)


class Sweeps:
    """The sweep that finishes what waits, run by hand."""

    def __init__(self, desk: RunningDesk) -> None:
        engine = build_engine(desk.database_url, desk.settings)
        self._desk = Desk(engine, build_redis(desk.redis_url, desk.settings), desk.settings)

    def ready(self, session_id: UUID) -> None:
        with self._desk.engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE session_agents SET ready_at = now() WHERE session_id = %s", (str(session_id),)
            )

    def finish_pending(self) -> None:
        finish_pending(self._desk, system_actor("test"))

    def close(self) -> None:
        self._desk.engine.dispose()
        self._desk.redis.close()


@pytest.fixture
def sweeps(desk: RunningDesk):
    """Finish what waits by hand."""
    made = Sweeps(desk)
    yield made
    made.close()


def test_the_same_command_id_acts_once(desk: RunningDesk) -> None:
    """Asked twice, a command answers twice with one outcome; with other arguments the id is refused."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager)
        command_id = uuid4()
        first = await manager.start_session(session.session_id, command_id=command_id)
        second = await manager.start_session(session.session_id, command_id=str(command_id))
        assert (first.command_id, first.version, first.at) == (second.command_id, second.version, second.at)
        assert len(await manager.get_session_transitions(session.session_id)) == 2
        with pytest.raises(CommandConflict):
            await manager.pause_session(session.session_id, command_id=command_id)

    with_manager(desk, scenario)


def test_the_same_command_awaited_twice_at_once_acts_once(desk: RunningDesk) -> None:
    """Two awaits under one id, in one manager and in two, get one outcome."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager)
        command_id = uuid4()
        async with desk.manager() as other:
            asked = [one.start_session(session.session_id, command_id=command_id) for one in (manager, manager, other)]
            outcomes = await asyncio.gather(*asked)
        assert len({(outcome.version, outcome.at) for outcome in outcomes}) == 1
        assert len(await manager.get_session_transitions(session.session_id)) == 2

    with_manager(desk, scenario)


def test_a_session_follows_what_its_manager_learns(desk: RunningDesk) -> None:
    """Status, version and epoch change in place: by outcomes, by refusals, by metrics, by lists, never backwards."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager)
        await manager.start_session(session.session_id)
        assert (session.status, session.version, session.epoch) == (SessionStatus.ACTIVE, 2, 1)
        async with desk.manager() as other:
            await other.pause_session(session.session_id)
            with pytest.raises(IllegalTransition):
                await manager.pause_session(session.session_id)
            assert session.status == SessionStatus.PAUSED
            await other.resume_session(session.session_id)
            await manager.get_session_metrics(session.session_id)
            assert session.status == SessionStatus.ACTIVE
            await other.pause_session(session.session_id, reason="lunch")
            listed = await manager.list_sessions()
            assert any(one is session for one in listed)
            assert (session.status, session.status_reason) == (SessionStatus.PAUSED, "lunch")
            await other.stop_session(session.session_id)
            assert await manager.get_session(str(session.session_id)) is session
            assert session.status == SessionStatus.CLOSING

    with_manager(desk, scenario)


def test_what_nobody_holds_is_forgotten(desk: RunningDesk) -> None:
    """A manager that runs for months does not keep every session it ever saw."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager)
        session_id = session.session_id
        del session
        gc.collect()
        assert session_id not in manager._sessions._held

    with_manager(desk, scenario)


def test_edits_before_start_take_effect_with_it(desk: RunningDesk) -> None:
    """Assigned or changed in place, config, risk parameters and strategies; what is left out stays as stored."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager)
        session.risk_parameters = {"position_limit": 1}
        session.config["max_position_hold_time"] = 30
        session.config["feed"]["seed"] = session.config["feed"]["seed"]
        session.enabled_strategies.append("sell_call")
        await manager.start_session(session.session_id)
        assert session.risk_parameters["position_limit"] == 1
        assert session.risk_parameters["max_daily_risk"] == 0.05
        assert session.config["max_position_hold_time"] == 30
        assert session.config["close_positions_on_stop"] is True
        assert session.enabled_strategies == ["sell_put", "sell_call"]

    with_manager(desk, scenario)


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (lambda session: session.risk_parameters.update(position_limit=-1), "risk_parameters.position_limit"),
        (lambda session: session.risk_parameters.update(max_daily_risk=float("nan")), "risk_parameters.max_daily_risk"),
        (lambda session: session.config.update(close_position_on_stop=True), "config.close_position_on_stop"),
        (lambda session: setattr(session, "config", "fast"), "config"),
        (lambda session: session.config.update(tags=object()), "config"),
        (lambda session: setattr(session, "account_id", "other"), "session.account_id"),
        (lambda session: session.roster.append("X"), "session.roster"),
        (lambda session: setattr(session, "status", SessionStatus.ACTIVE), "session.status"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_by_name(desk: RunningDesk, edit: Callable[..., Any], field: str) -> None:
    """The refusal names the field, and the session did not start."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager)
        edit(session)
        with pytest.raises(InvalidArgument) as caught:
            await manager.start_session(session.session_id)
        assert caught.value.named()["field"] == field
        async with desk.manager() as other:
            assert (await other.get_session(session.session_id)).status == SessionStatus.INITIALIZING

    with_manager(desk, scenario)


def test_a_conflicting_edit_is_refused_not_merged(desk: RunningDesk) -> None:
    """What another changed meanwhile is not written over; after a look the edit can be made again."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager)
        async with desk.manager() as other:
            await other.update_risk_parameters(session.session_id, {"position_limit": 7})
        session.risk_parameters["position_limit"] = 2
        with pytest.raises(VersionConflict):
            await manager.start_session(session.session_id)
        assert (await manager.get_session(session.session_id)).risk_parameters["position_limit"] == 7
        session.risk_parameters["position_limit"] = 3
        await manager.start_session(session.session_id)
        assert session.risk_parameters["position_limit"] == 3

    with_manager(desk, scenario)


def test_an_update_of_ones_own_does_not_conflict(desk: RunningDesk) -> None:
    """A manager's own update of another key and a look at the session leave the holder's edits standing."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager)
        session.risk_parameters["position_limit"] = 2
        await manager.update_session(session.session_id, config={"max_position_hold_time": 5})
        await manager.get_session(session.session_id)
        assert session.risk_parameters["position_limit"] == 2
        await manager.start_session(session.session_id)
        assert (session.config["max_position_hold_time"], session.risk_parameters["position_limit"]) == (5, 2)

    with_manager(desk, scenario)


def test_a_start_that_waits_for_agents_returns_when_it_is_active(desk: RunningDesk, sweeps: Sweeps) -> None:
    """A pending start is awaited to its end, whoever ends it."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager, config={"agents": ["AgentElsewhere"], "wait_ready_s": 60})
        session.risk_parameters["position_limit"] = 1
        starting = asyncio.create_task(manager.start_session(session.session_id))
        async with desk.manager() as other:
            while (await other.get_session(session.session_id)).pending is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.to_thread(sweeps.ready, session.session_id)
        while not starting.done():
            await asyncio.to_thread(sweeps.finish_pending)
            await asyncio.sleep(0.05)
        assert (await starting).status == session.status == SessionStatus.ACTIVE
        assert session.risk_parameters["position_limit"] == 1

    with_manager(desk, scenario)


def test_a_start_whose_agents_never_come_is_refused(desk: RunningDesk, sweeps: Sweeps) -> None:
    """The refusal names who was not ready."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager, config={"agents": ["AgentElsewhere"], "wait_ready_s": 0.1})
        session.config["wait_ready_s"] = 0.2
        starting = asyncio.create_task(manager.start_session(session.session_id))
        while not starting.done():
            await asyncio.to_thread(sweeps.finish_pending)
            await asyncio.sleep(0.05)
        with pytest.raises(PreconditionFailed, match="AgentElsewhere"):
            await starting
        await asyncio.to_thread(sweeps.ready, session.session_id)
        assert (await manager.start_session(session.session_id)).status == SessionStatus.ACTIVE

    with_manager(desk, scenario)


def test_a_start_still_pending_at_the_deadline_is_unknown(desk: RunningDesk) -> None:
    """With nobody to end it, the caller is told under which id to ask again, and can."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager, config={"agents": ["AgentElsewhere"], "wait_ready_s": 60})
        with pytest.raises(OutcomeUnknown) as caught:
            await manager.start_session(session.session_id, deadline_s=1.0)
        found = await manager.get_outcome(caught.value.named()["command_id"])
        assert (found.state, found.trigger) == ("pending", "start_session")

    with_manager(desk, scenario)


def test_a_stop_can_be_awaited_until_closed(desk: RunningDesk) -> None:
    """`wait_closed` returns at CLOSED, or says that the stop goes on."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager)
        await manager.start_session(session.session_id)
        with pytest.raises(OutcomeUnknown, match="outcome of stop unknown"):
            await manager.stop_session(session.session_id, wait_closed=True, deadline_s=0.8)
        assert session.status == SessionStatus.CLOSING

    with_manager(desk, scenario)


def test_cancelling_an_await_leaves_nothing_waiting(desk: RunningDesk) -> None:
    """The watch ends with the await; the manager goes on."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager)
        for delay in (0, 0.002, 0.01):
            asked = asyncio.create_task(manager.get_session_metrics(session.session_id))
            await asyncio.sleep(delay)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        assert manager._caller is not None
        assert manager._caller._answers._waiting == {}
        assert (await manager.get_session_metrics(session.session_id)).total_trades == 0

    with_manager(desk, scenario)


def test_five_hundred_awaits_at_once(desk: RunningDesk) -> None:
    """Each gets its own answer, on one loop and one connection, while the loop stays free."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager)
        started = await manager.start_session(session.session_id)
        asked = asyncio.gather(*(manager.get_outcome(started.command_id) for _ in range(500)))
        ticks = 0
        while not asked.done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert {outcome.version for outcome in await asked} == {2}
        assert len(asyncio.all_tasks()) <= 2
        assert ticks > 10

    with_manager(desk, scenario, command_deadline_s=60.0)


def test_questions_leave_no_answers_in_redis(desk: RunningDesk) -> None:
    """A monitor that asks every second does not fill Redis with answers nobody reads again."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager)
        with desk.redis() as client:
            before = len(client.keys("celery-task-meta-*"))
            for _ in range(3):
                await manager.get_session_events(session.session_id)
            assert len(client.keys("celery-task-meta-*")) == before

    with_manager(desk, scenario)


def test_what_is_not_there_is_named(desk: RunningDesk) -> None:
    """Unknown and malformed ids, statuses, templates and filters are refused in one clear sentence."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        for ask in (
            manager.get_session,
            manager.get_session_metrics,
            manager.get_session_trades,
            manager.start_session,
        ):
            with pytest.raises(NotFound, match="session"):
                await ask(uuid4())
        with pytest.raises(NotFound, match="abc123"):
            await manager.recover_session("abc123")
        with pytest.raises(NotFound, match="Paper Trading"):
            await manager.create_session_from_template("Day Trading")
        with pytest.raises(InvalidArgument, match="initializing"):
            await manager.list_sessions(status="open")
        with pytest.raises(InvalidArgument, match="color"):
            await manager.list_sessions(color="red")
        with pytest.raises(InvalidArgument, match="session_type"):
            await manager.create_session("weekend")
        with pytest.raises(NotFound, match="command"):
            await manager.get_outcome(uuid4())

    with_manager(desk, scenario)


def test_a_manager_that_is_shut_down_ends_its_waits(desk: RunningDesk) -> None:
    """Whoever waits is told; initialized again, the manager answers again."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager, config={"agents": ["AgentElsewhere"], "wait_ready_s": 60})
        waiting = asyncio.create_task(manager.get_session(session.session_id))
        await asyncio.sleep(0)
        await manager.shutdown()
        with pytest.raises(StackError, match="shut down"):
            await waiting
        await manager.initialize()
        assert (await manager.get_session(session.session_id)).session_id == session.session_id

    with_manager(desk, scenario)


def test_a_manager_serves_one_loop(desk: RunningDesk) -> None:
    """Used from another loop it says so, instead of failing strangely."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        with pytest.raises(StackError, match="loop"):
            await asyncio.to_thread(lambda: asyncio.run(manager.list_templates()))
        assert await manager.list_templates()

    with_manager(desk, scenario)


def test_checkpoints_are_listed_by_the_state_manager(desk: RunningDesk) -> None:
    """A session that has none has an empty list; an unknown one is named."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await paper(manager)
        async with SessionStateManager(settings=desk.settings) as state_manager:
            assert await state_manager.list_checkpoints(session.session_id, limit=10) == []
            with pytest.raises(NotFound):
                await state_manager.list_checkpoints(uuid4())

    with_manager(desk, scenario)
