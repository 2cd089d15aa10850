"""What a manager with a memory system of its own keeps in mind."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

from fntx_sessions.caller import telling
from fntx_sessions.caller.telling import Telling
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.schemas import SessionStatus, SessionTransition, Trigger


class Own:
    """A memory system that takes everything."""

    async def store_memory(self, *_):
        return None

    share_context = search_memories = get_agent_memories = store_memory


def test_a_manager_keeps_a_bounded_number_of_sessions_in_mind(monkeypatch):
    """However many sessions it commanded, it knows of so many how far they were told; of closed ones nothing."""
    monkeypatch.setattr(telling, "KNOWN", 5)
    closed = {uuid4() for _ in range(3)}

    async def read(session_id):
        status = SessionStatus.CLOSED if session_id in closed else SessionStatus.ACTIVE
        facts = {"trigger": Trigger.START, "actor": "a", "version": 2, "epoch": 1, "command_id": uuid4()}
        moved = {
            "from_status": SessionStatus.PAUSED,
            "to_status": status,
            "timestamp": datetime(2026, 1, 5, tzinfo=UTC),
        }
        return [], [SessionTransition(transition_id=uuid4(), session_id=session_id, **moved, **facts)]

    async def scenario():
        own = Telling(Own(), read, 5.0)
        for session_id in [*closed, *(uuid4() for _ in range(20))]:
            own.note(Outcome(uuid4(), session_id, Trigger.START, "done", version=2))
            await asyncio.gather(*own._tasks.values())
        assert own._told.keys() == own._begun
        assert len(own._told) == 5
        assert closed.isdisjoint(own._told)

    asyncio.run(scenario())
