"""The desk as a live screen asks it: on the screen's own event loop, with questions that do not wait for long."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fntx_sessions.caller.caller import Caller
from fntx_sessions.settings import Settings

Answer = dict[str, Any]
# A look that takes longer is old when it comes: the screen says so, and looks again.
LOOK_S = 3.0


class Desk:
    """Asks questions and sends commands; made anywhere, used on one event loop, closed there."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._caller: Caller | None = None

    async def query(self, task: str, arguments: Mapping[str, Any], deadline_s: float = LOOK_S) -> Any:
        """Return what ``fntx.<task>`` answers; raises as `Caller.query` does."""
        return await self._line().query(f"fntx.{task}", dict(arguments), deadline_s=deadline_s)

    async def command(self, task: str, arguments: Mapping[str, Any], command_id: UUID) -> Answer:
        """Do ``fntx.<task>`` and return its outcome; raises what it was refused with, and as `Caller.command`."""
        outcome = await self._line().command(f"fntx.{task}", dict(arguments), command_id=command_id)
        return outcome.raise_for_refusal().to_dict()

    async def close(self) -> None:
        """End it."""
        if self._caller is not None:
            await self._caller.close()

    def _line(self) -> Caller:
        if self._caller is None:
            self._caller = Caller(self._settings)
        return self._caller
