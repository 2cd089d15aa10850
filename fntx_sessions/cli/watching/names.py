"""The sessions that `fntx watch` was asked for: whole ids, or their first characters, as the desk knows them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from fntx_sessions.caller.ids import only, prefix_question, whole_or_prefix
from fntx_sessions.exceptions import FntxError, Forbidden, NotFound, Rejected, Unauthenticated


class Names:
    """What was given, found out at the first look that the desk answers; given: raises InvalidArgument for no id."""

    def __init__(self, given: Sequence[str]) -> None:
        self._given = [whole_or_prefix(one, "session id") for one in given]

    @property
    def one(self) -> bool:
        """Whether one session alone was named."""
        return len(self._given) == 1

    @property
    def known(self) -> list[UUID]:
        """The ids that are known so far."""
        return [one for one in self._given if isinstance(one, UUID)]

    async def ids(self, query: Callable[[str, dict[str, Any]], Awaitable[Any]]) -> list[UUID]:
        """Return all ids; raises as `query`, NotFound for what fits no session, InvalidArgument for what fits many."""
        for place, one in enumerate(self._given):
            if isinstance(one, str):
                found = await query("sessions.list", prefix_question(one))
                self._given[place] = only(one, found, "session id")
        return self.known

    def ends(self, error: FntxError) -> bool:
        """Tell whether no second look would see more: who is named is not there, or not for who asks."""
        unknown = len(self.known) < len(self._given)
        return isinstance(error, NotFound | Forbidden | Unauthenticated) or (unknown and isinstance(error, Rejected))
