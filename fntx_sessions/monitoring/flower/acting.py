"""Deeds: commands that people send from the pages, each with their own token, and what is known of how they ended.

Postgres holds the outcomes. What is kept here, in this process's memory, is what it cannot know: that a command is on
its way, or that nobody answered, and what it takes to ask again under the same id.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog

from fntx_sessions.caller.caller import Caller
from fntx_sessions.exceptions import FntxError, InvalidArgument, OutcomeUnknown, Retryable
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.monitoring.flower.logins import Logins
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Deed:
    """One command of one login. of_desk: answered with a result, not with an outcome that Postgres keeps.

    problem: what kept it from an answer; one that may be asked again is a Retryable. asked_at: when it was sent last.
    about: what it acts on, as its page's address says; by: who sent it.
    """

    command_id: UUID
    task: str
    arguments: dict[str, Any] = field(repr=False)
    of_desk: bool = False
    about: tuple[str, ...] = ()
    by: str = ""
    outcome: Outcome | None = None
    result: dict[str, Any] | None = None
    problem: FntxError | None = None
    asked_at: datetime | None = None
    running: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def asks(self) -> tuple[Any, ...]:
        """What makes it the same command as another under its id."""
        return self.about, self.task, self.arguments

    @property
    def under_way(self) -> bool:
        """Tell whether an answer may come yet."""
        return self.running is not None and not self.running.done()

    @property
    def may_be_asked_again(self) -> bool:
        """Tell whether asking again, under the same id, may find out more."""
        unanswered = self.outcome is None and self.result is None and self.problem is None
        return not self.under_way and (unanswered or isinstance(self.problem, Retryable))

    async def within(self, seconds: float) -> None:
        """Return when it has ended, or after so many seconds."""
        if self.running is not None:
            await asyncio.wait([self.running], timeout=seconds)


class Acting:
    """The deeds of the people who are logged in, and the line of each to the desk."""

    def __init__(self, settings: Settings, logins: Logins) -> None:
        self._settings, self._logins = settings, logins
        self._callers: dict[str, Caller] = {}
        self._deeds: OrderedDict[tuple[str, UUID], Deed] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def begin(self, viewer: Viewer, deed: Deed) -> Deed:
        """Send a command, and return at once; one that was sent before under its id is asked for again at most.

        Raises InvalidArgument where something else was sent under its id: that is not what is asked for now.
        """
        known = self.find(viewer, deed.command_id)
        if known is not None:
            if known.asks != deed.asks:
                raise InvalidArgument("command_id", "is of a command that was sent before", "Send this form again.")
            return self.again(viewer, deed.command_id) or known
        self._deeds[viewer.login, deed.command_id] = deed
        self._send(viewer, deed)
        self._make_room()
        return deed

    def again(self, viewer: Viewer, command_id: UUID) -> Deed | None:
        """Ask again for what a command came to, under its id; None where nothing is known of it here."""
        deed = self.find(viewer, command_id)
        if deed is not None and deed.may_be_asked_again:
            self._send(viewer, deed)
        return deed

    def find(self, viewer: Viewer, command_id: UUID) -> Deed | None:
        """Return a deed of this login."""
        return self._deeds.get((viewer.login, command_id))

    def end(self, login: str) -> None:
        """Let go of a login's line, token and deeds; what was sent goes on without anybody here who waits for it."""
        for key in [one for one in self._deeds if one[0] == login]:
            del self._deeds[key]
        caller = self._callers.pop(login, None)
        if caller is not None:
            closing = asyncio.ensure_future(caller.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _make_room(self) -> None:
        for key in [one for one, deed in self._deeds.items() if not deed.under_way]:
            if len(self._deeds) <= self._settings.pages_deeds_kept:
                return
            del self._deeds[key]

    def _send(self, viewer: Viewer, deed: Deed) -> None:
        deed.problem, deed.asked_at = None, datetime.now(UTC)
        deed.running = asyncio.ensure_future(self._run(viewer, deed))

    def _caller(self, viewer: Viewer) -> Caller:
        for login in [one for one in self._callers if self._logins.viewer(one) is None]:
            self.end(login)
        if viewer.login not in self._callers:
            self._callers[viewer.login] = Caller(self._settings, viewer.token)
        return self._callers[viewer.login]

    async def _run(self, viewer: Viewer, deed: Deed) -> None:
        told = {"task": deed.task, "command_id": str(deed.command_id), "actor": viewer.actor.name}
        try:
            caller = self._caller(viewer)
            await caller.check()  # so that who acts is told at once where nothing can be sent
            await _ask(caller, deed)
        except FntxError as error:
            deed.problem = error
        except Exception:
            log.exception("page_command_failed", **told)
            deed.problem = _unknown(deed)
        else:
            deed.problem = None
        log.info("page_command", **told, problem=type(deed.problem).__name__ if deed.problem else None)


def _unknown(deed: Deed) -> OutcomeUnknown:
    """Return what is known where Flower itself failed at it: it may have been sent before that."""
    waited_s = (datetime.now(UTC) - deed.asked_at).total_seconds() if deed.asked_at else 0.0
    return OutcomeUnknown(str(deed.command_id), deed.task, round(waited_s, 1))


async def _ask(caller: Caller, deed: Deed) -> None:
    if not deed.of_desk:
        deed.outcome = await caller.command(deed.task, deed.arguments, command_id=deed.command_id)
        return
    # A halt answers after a while with what is left: it is asked again for as long as that gets less.
    left = None
    while True:
        deed.result = await caller.ask(deed.task, deed.arguments, command_id=deed.command_id)
        found = deed.result.get("left")
        if not found or found == left:
            return
        left = found
