"""How the command line reaches the desk: it finds the stack and asks through the caller that the managers share."""

import asyncio
from functools import lru_cache
from typing import Any
from uuid import UUID

from fntx_sessions.caller.ids import only, prefix_question, whole_or_prefix
from fntx_sessions.exceptions import Unavailable
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.stack import adopt_local_stack

Answer = dict[str, Any]


class Line:
    """A line to the desk for code that waits: commands, queries, and ids by their first characters."""

    def __init__(self, settings: Settings) -> None:
        """Open it; nothing is sent yet. Raises Unavailable when no address of Redis is known."""
        from fntx_sessions.caller.caller import Caller  # noqa: PLC0415 -- `fntx --help` needs no Celery

        self.settings = settings
        self._runner = asyncio.Runner()
        self._caller = Caller(settings)

    def command(self, verb: str, arguments: dict[str, Any], command_id: UUID | None = None) -> Answer:
        """Do ``fntx.sessions.<verb>``, return its outcome; raises what it was refused with, and as `Caller.command`."""
        return self.outcome(f"sessions.{verb}", arguments, command_id)

    def outcome(self, task: str, arguments: dict[str, Any], command_id: UUID | None = None) -> Answer:
        """Do ``fntx.<task>``, a command on a session, and return its outcome; raises as `command` does."""
        asked = self._caller.command(f"fntx.{task}", arguments, command_id=command_id)
        return self._runner.run(asked).raise_for_refusal().to_dict()

    def ask(self, task: str, arguments: dict[str, Any], command_id: UUID, deadline_s: float | None = None) -> Any:
        """Do ``fntx.<task>``, a command of the desk, and return its result; raises as `Caller.ask` does."""
        asked = self._caller.ask(f"fntx.{task}", arguments, command_id=command_id, deadline_s=deadline_s)
        return self._runner.run(asked)

    def query(self, task: str, **arguments: Any) -> Any:
        """Ask ``fntx.<task>`` and return what it answers; raises as `Caller.query` does."""
        return self._runner.run(self._caller.query(f"fntx.{task}", arguments))

    def about(self, verb: str, given: str, **arguments: Any) -> Any:
        """Ask ``fntx.sessions.<verb>`` about the session that `given` stands for."""
        return self.query(f"sessions.{verb}", session_id=self.session_id(given), **arguments)

    def session_id(self, given: str) -> UUID:
        """Return the id that `given`, a whole id or its first 4 or more characters, stands for.

        Raises InvalidArgument when it is neither or fits several, NotFound when it fits none.
        """
        found = whole_or_prefix(given, "session id")
        if isinstance(found, UUID):
            return found
        return only(given, self.query("sessions.list", **prefix_question(found)), "session id")

    def close(self) -> None:
        """End it."""
        self._runner.run(self._caller.close())
        self._runner.close()


@lru_cache(maxsize=1)
def line() -> Line:
    """Return this process's line; raises Unavailable when no stack runs in FNTX_HOME and no address is set."""
    adopt_local_stack()
    get_settings.cache_clear()  # what the stack told us is in the environment now
    settings = get_settings()
    if settings.redis_url is None:
        raise Unavailable("the desk", f"no stack runs in {settings.home}", "Start it with `fntx up`.")
    return Line(settings)


def hang_up() -> None:
    """Close the line if it was opened."""
    if line.cache_info().currsize:
        line().close()
        line.cache_clear()
