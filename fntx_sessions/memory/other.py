"""Handing over to a memory system of another package: each session's in their order, sessions side by side."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID

from fntx_sessions.exceptions import FntxError, Unavailable
from fntx_sessions.memory.breaker import IS_DOWN
from fntx_sessions.memory.calling import FIX, caller, what
from fntx_sessions.memory.context import DESK_SENDER
from fntx_sessions.memory.systems import OtherMemory, translated
from fntx_sessions.memory.waiting import Left
from fntx_sessions.memory.work import Done, Due, How, Moved

_SIDE_BY_SIDE = 16


@dataclass(slots=True)
class Loose:
    """What became of what is of no session: taken, failed and why; the rest was not tried."""

    taken: list[UUID] = field(default_factory=list)
    failed: dict[UUID, str] = field(default_factory=dict)


class _Handing:
    """One batch under way."""

    def __init__(self, memory: OtherMemory, within_s: float) -> None:
        self._memory = memory
        self._until = monotonic() + within_s
        self._room = asyncio.Semaphore(_SIDE_BY_SIDE)
        self._failed = self._went_well = 0

    async def session(self, one: Due, moved: Sequence[Moved], left: Sequence[Left]) -> Done:
        """Hand over one session's transitions, then what its agents left, as far as they are taken."""
        version, taken = one.version, list[UUID]()
        async with self._room:
            if self._is_down():
                return Done(one, version, How.PUT_OFF)
            everything: list[Moved | Left] = [*moved, *left]
            for each in everything:
                if monotonic() >= self._until:
                    return Done(one, version, How.MORE, taken=tuple(taken))
                problem = await self._one(each)
                if problem:
                    self._failed += 1
                    return Done(one, version, How.FAILED, problem, tuple(taken))
                self._went_well += 1
                if isinstance(each, Moved):
                    version = each.transition.version
                else:
                    taken.append(each.memory.memory_id)
        return Done(one, version, taken=tuple(taken))

    async def loose(self, each: Left, became: Loose) -> None:
        """Hand over what is of no session, and note what became of it."""
        async with self._room:
            if self._is_down() or monotonic() >= self._until:
                return
            problem = await self._one(each)
            if problem:
                self._failed += 1
                became.failed[each.memory.memory_id] = problem
            else:
                self._went_well += 1
                became.taken.append(each.memory.memory_id)

    def _is_down(self) -> bool:
        return self._failed >= IS_DOWN and not self._went_well

    async def _one(self, each: Moved | Left) -> str:
        """Hand over one thing; return why it was not taken."""
        try:
            await (self._moved(each) if isinstance(each, Moved) else self._left(each))
        except TimeoutError:
            return str(Unavailable(what(self._memory.name), f"no answer within {self._memory.timeout_s:g} s", FIX))
        except FntxError as error:
            return str(error)
        return ""

    async def _moved(self, each: Moved) -> None:
        manager, told = self._memory.manager, each.told
        await self._called(lambda: manager.store_memory(DESK_SENDER, each.memory))
        await self._called(lambda: manager.share_context(DESK_SENDER, list(told.recipients), dict(told.context)))

    async def _left(self, each: Left) -> None:
        manager, memory, recipients = self._memory.manager, each.memory, each.recipients
        if recipients is None:
            await self._called(lambda: manager.store_memory(memory.agent, memory.slice()))
        else:
            await self._called(lambda: manager.share_context(memory.agent, recipients, memory.content))

    async def _called(self, make: object) -> None:
        async with asyncio.timeout(self._memory.timeout_s):
            await translated(self._memory.name, make)()


def hand_over(
    memory: OtherMemory,
    due: Sequence[Due],
    moved: Mapping[UUID, Sequence[Moved]],
    left: Mapping[UUID, Sequence[Left]],
    within_s: float,
) -> list[Done]:
    """Hand over what is due, beginning nothing after `within_s`; never raises what the other system does."""

    async def all_of_them() -> list[Done]:
        handing = _Handing(memory, within_s)
        return await asyncio.gather(
            *(handing.session(one, moved[one.session_id], left.get(one.session_id, ())) for one in due)
        )

    try:
        return caller.call(memory.name, all_of_them, within_s + 2 * memory.timeout_s)
    except FntxError as error:
        return [Done(one, one.version, How.FAILED, str(error)) for one in due]


def hand_over_loose(memory: OtherMemory, left: Sequence[Left], within_s: float) -> Loose:
    """Hand over what is of no session, beginning nothing after `within_s`; never raises what the other system does."""
    became = Loose()

    async def all_of_them() -> None:
        handing = _Handing(memory, within_s)
        await asyncio.gather(*(handing.loose(each, became) for each in left))

    try:
        caller.call(memory.name, all_of_them, within_s + memory.timeout_s)
    except FntxError as error:
        rest = (each.memory.memory_id for each in left if each.memory.memory_id not in became.taken)
        became.failed.update(dict.fromkeys(rest, str(error)))
    return became
