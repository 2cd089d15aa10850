"""Two people: commands that wait for the second, and their word."""

from typing import Any, Unpack

from fntx_sessions.caller.ids import as_id
from fntx_sessions.caller.manager import Asking, SessionId
from fntx_sessions.lifecycle.confirming.arguments import Confirmation
from fntx_sessions.managing.base import Sessions


class Confirming(Sessions):
    """Questions and commands about what takes two people."""

    async def list_confirmations(
        self, session_id: SessionId | None = None, *, everything: bool = False, limit: int = 100
    ) -> list[Confirmation]:
        """Return what waits for a second person, newest first; everything: what is over, too."""
        arguments = {
            "session_id": None if session_id is None else await self._id(session_id),
            "everything": everything,
            "limit": limit,
        }
        found = await self._query("fntx.confirmations.list", arguments)
        return [Confirmation.model_validate(one) for one in found]

    async def confirm(self, confirmation: SessionId, reason: str = "", **asking: Unpack[Asking]) -> dict[str, Any]:
        """Be the second person, and return what the command answered, its error included.

        confirmation: the id of the command that waits. Raises Forbidden for who asked for it or may not do it,
        NotConfirmed where it was declined or its time is up.
        """
        found: dict[str, Any] = await self._say("confirm", confirmation, reason, asking)
        answer: dict[str, Any] = found["answer"]
        return answer

    async def decline(self, confirmation: SessionId, reason: str = "", **asking: Unpack[Asking]) -> None:
        """Say no to what waits, or take back what one asked for; raises PreconditionFailed once it is confirmed."""
        await self._say("decline", confirmation, reason, asking)

    async def _say(self, word: str, confirmation: SessionId, reason: str, asking: Asking) -> Any:
        arguments = {"confirmation": as_id(confirmation, "confirmation"), "reason": reason}
        return await self._desk(f"fntx.confirmations.{word}", arguments, asking)
