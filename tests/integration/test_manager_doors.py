"""The lifecycle manager's wrappers of templates, approvals, orders by hand, markets, trades and history."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from hosting import make_hosting
from running_desk import RunningDesk, desk, quiet_desk, run

from fntx_sessions import MarketState, SessionLifecycleManager, SessionType
from fntx_sessions.exceptions import InvalidArgument, NotFound, PreconditionFailed, VersionConflict

__all__ = ["desk", "quiet_desk"]

pytestmark = pytest.mark.timeout(120)
_TOLD = ["approval_requested", "approval_approved", "approval_rejected"]
_READY = "UPDATE session_agents SET ready_at = now() WHERE session_id = :id"


def with_manager(desk: RunningDesk, scenario: Any, **more: Any) -> None:
    async def whole() -> None:
        async with desk.manager() as manager:
            await scenario(manager, **more)

    run(whole)


def test_a_template_is_added_edited_shared_and_retired(desk: RunningDesk) -> None:
    """Its whole life by one manager: versions, differences, a file under another name, and no sessions after it."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        name = f"Mine {uuid4().hex[:6]}"
        added = await manager.add_template(name, {"description": "first"}, copy_of="Paper Trading", reason="try")
        assert (added.template_name, added.version, added.description) == (name, 1, "first")
        changes = {"default_risk_parameters": {"position_limit": 1}}
        edited = await manager.edit_template(name, changes, expected_version=1)
        assert (edited.version, edited.default_risk_parameters["position_limit"]) == (2, 1)
        with pytest.raises(VersionConflict):
            await manager.edit_template(name, changes, expected_version=1)
        with pytest.raises(InvalidArgument, match="position_limitt"):
            await manager.edit_template(name, {"default_risk_parameters": {"position_limitt": 1}})
        assert [one.version for one in await manager.get_template_versions(name)] == [2, 1]
        assert (await manager.get_template(name, 1)).description == "first"
        assert (await manager.diff_templates((name, 1), name))["changes"]
        file = await manager.export_template(name)
        assert not (await manager.diff_templates(name, file))["changes"]
        await manager.import_template(file, f"{name} too")
        assert (await manager.create_session_from_template(f"{name} too")).risk_parameters["position_limit"] == 1
        assert (await manager.edit_template(name, to_version=1)).version == 3
        assert (await manager.retire_template(name)).retired_at is not None
        assert name not in {one.template_name for one in await manager.list_templates()}
        assert name in {one.template_name for one in await manager.list_templates(retired=True)}
        with pytest.raises(InvalidArgument, match="retired"):
            await manager.create_session_from_template(name)
        assert (await manager.retire_template(name, retired=False)).retired_at is None
        with pytest.raises(NotFound):
            await manager.get_template("no such")

    with_manager(desk, scenario)


def test_a_market_is_published_and_read_back(desk: RunningDesk) -> None:
    """By dict and by model, once, with its history; what cannot be is refused by path."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        feed = f"feed-{uuid4().hex[:6]}"
        state = MarketState(timestamp=datetime.now(UTC), spy_price=540.0, vix_level=15.0)
        done = await manager.publish_market(state, feed)
        assert (done.became, done.market.state.spy_price) == ("latest", 540.0)
        again = await manager.publish_market(state.model_dump(mode="json", exclude_unset=True), feed)
        assert again.became == "duplicate"
        assert [one.state.spy_price for one in await manager.get_market_history(feed)] == [540.0]
        assert (await manager.get_market(feed))["feeds"][0]["feed"] == feed
        with pytest.raises(InvalidArgument, match="spy_price"):
            await manager.publish_market({"timestamp": datetime.now(UTC), "spy_price": -1}, feed)

    with_manager(desk, scenario)


def test_an_order_by_hand_is_placed_changed_and_cancelled(desk: RunningDesk) -> None:
    """Each names its order; what is over is refused."""

    async def scenario(manager: SessionLifecycleManager) -> None:
        session = await manager.create_session(SessionType.PAPER_TRADING)
        await manager.start_session(session.session_id)
        legs = [{"side": "sell", "right": "put", "strike": 270}]
        placed = await manager.place_order(session.session_id, legs=legs, limit="0.50", reason="by hand")
        (listed,) = await manager.list_orders(session.session_id, open_only=True)
        assert str(listed.order_id) == placed.extra["order_id"]
        changed = await manager.change_order(placed.extra["order_id"], limit=0.45)
        assert changed.extra["order_id"] != placed.extra["order_id"]
        await manager.cancel_order(changed.extra["order_id"])
        assert await manager.list_orders(session.session_id, open_only=True) == []
        with pytest.raises(PreconditionFailed):
            await manager.cancel_order(changed.extra["order_id"])
        with pytest.raises(InvalidArgument, match="order_id"):
            await manager.cancel_order("mine")

    with_manager(desk, scenario)


def test_an_approval_is_listed_decided_once_and_told_to_subscribers(desk: RunningDesk) -> None:
    """A remote executor asks; a person lets it through, and not a second time."""
    asked = {
        "agent": "TheirExecutor",
        "trade_id": "t1",
        "strategy": "sell_put",
        "legs": [{"side": "sell", "right": "put", "strike": 270}],
        "limit": 0.5,
        "risk": 50,
        "reference": 0.5,
        "reasons": {"why": "test"},
    }

    async def scenario(manager: SessionLifecycleManager) -> None:
        config = {"require_confirmation": True, "agents": ["TheirExecutor"]}
        session = await manager.create_session(SessionType.PAPER_TRADING, config)
        await asyncio.to_thread(hosting.run, _READY, id=session.session_id)
        await manager.start_session(session.session_id)
        for trade in ("t1", "t2"):
            named = {"session_id": session.session_id, **asked, "trade_id": trade}
            await manager._command("fntx.approvals.request", named, {})
        first, second = await manager.list_approvals(session.session_id)
        done = await manager.approve(first.approval_id, "fine")
        assert done.state == "done"
        with pytest.raises(PreconditionFailed):
            await manager.reject(first.approval_id)
        await manager.reject(second.approval_id, "no")
        states = {one.state for one in await manager.list_approvals(session.session_id, ["approved", "rejected"])}
        assert states == {"approved", "rejected"}
        events = manager.subscribe(session.session_id, types=_TOLD)
        heard = [(await asyncio.wait_for(anext(events), 30)).event_type for _ in range(4)]
        assert heard == ["approval_requested", "approval_requested", "approval_approved", "approval_rejected"]

    with make_hosting(desk.settings) as hosting:
        with_manager(desk, scenario)


def test_trades_by_day_and_the_timeline(desk: RunningDesk) -> None:
    """A hosted day's trades are found by its date alone, and the timeline pages through all that happened."""
    with make_hosting(desk.settings) as hosting:
        session_id = hosting.started()
        hosting.holding(session_id)

        async def scenario(manager: SessionLifecycleManager) -> None:
            (trade,) = await manager.get_session_trades(session_id, first="2018-01-09", last="2018-01-09")
            assert [one.trade_id for one in await manager.get_session_trades(session_id)] == [trade.trade_id]
            assert await manager.get_session_trades(session_id, last="2018-01-08") == []
            with pytest.raises(InvalidArgument, match="first"):
                await manager.get_session_trades(session_id, first="2018-01-10", last="2018-01-09")
            entries, after = [], None
            while True:
                page = await manager.get_session_history(session_id, limit=3, after=after)
                entries += page.entries
                if (after := page.after) is None:
                    break
            whole = await manager.get_session_history(session_id, limit=1000)
            assert entries == whole.entries
            only = await manager.get_session_history(session_id, kinds=["transition"])
            assert {one.kind for one in only.entries} == {"transition"}

        with_manager(desk, scenario)


class Recorder:
    """A memory system of the service's own."""

    def __init__(self, *, fails: bool = False) -> None:
        self.stored: list[Any] = []
        self.shared: list[Any] = []
        self.fails = fails

    async def store_memory(self, agent: str, memory: Any) -> None:
        if self.fails:
            raise ConnectionError("away")
        self.stored.append((agent, memory))

    async def share_context(self, sender: str, recipients: Any, context: Any) -> None:
        self.shared.append((sender, recipients, context))

    async def search_memories(self, *_: Any, **__: Any) -> list[Any]:
        return []

    get_agent_memories = search_memories


@pytest.mark.parametrize("fails", [False, True])
def test_a_memory_system_of_ones_own_remembers_what_the_manager_did(desk: RunningDesk, fails: bool) -> None:  # noqa: FBT001
    """Each change of status once, in order; one that fails holds up no command and no shutdown."""
    memory = Recorder(fails=fails)

    async def scenario() -> None:
        async with SessionLifecycleManager(memory, settings=desk.settings) as manager:
            session = await manager.create_session(SessionType.PAPER_TRADING)
            await manager.start_session(session.session_id)
            await manager.pause_session(session.session_id)

    run(scenario)
    told = [one[2]["to_status"] for one in memory.shared]
    assert told == ([] if fails else ["initializing", "active", "paused"])
    assert len(memory.stored) == len(told)
    assert {one[0] for one in memory.stored} <= {"SessionLifecycleManager"}
