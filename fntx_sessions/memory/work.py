"""One session whose transitions are to be remembered, what they are, and what became of them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from fntx_sessions.memory.context import DESK_SENDER, Told
from fntx_sessions.memory.slices import MemoryImportance, MemorySlice, MemoryType
from fntx_sessions.schemas import SessionTransition


class How(StrEnum):
    """How it went. MORE: well, and there is more; PUT_OFF: not tried, as others had just failed."""

    DONE = "done"
    MORE = "more"
    FAILED = "failed"
    PUT_OFF = "put_off"


@dataclass(frozen=True, slots=True)
class Due:
    """A claimed session: due since when, remembered up to which version, claimed until when."""

    session_id: UUID
    due_at: datetime
    version: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Moved:
    """One transition, the slice that is kept of it, and the agents to tell."""

    transition: SessionTransition
    memory: MemorySlice
    roster: list[str]

    @property
    def told(self) -> Told:
        """What agents are told of it, as the spec has it."""
        one = self.transition
        context = {
            "session_event": "status_changed",
            "session_id": str(one.session_id),
            "from_status": one.from_status and one.from_status.value,
            "to_status": one.to_status.value,
        }
        return Told(DESK_SENDER, self.roster, context, f"{one.session_id}/{one.version}")


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a session: remembered up to `version`; problem: why no further.

    taken: slices of its agents that another system has now.
    """

    due: Due
    version: int
    how: How = How.DONE
    problem: str = ""
    taken: tuple[UUID, ...] = ()


def slice_of(transition: SessionTransition) -> MemorySlice:
    """Return what is remembered of a transition, as the spec has it."""
    return MemorySlice(
        memory_type=MemoryType.EXECUTION,
        content={"session_transition": transition.dict()},
        importance=MemoryImportance.MEDIUM,
        session_id=transition.session_id,
    )
