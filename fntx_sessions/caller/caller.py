"""The caller: commands and queries sent, sent again under the same id, and awaited without blocking the loop.

Redis can lose a message and a worker can die with one, so the acknowledgement is the outcome, never the send. A command
keeps its id however often it is sent, so that asking often acts once.
"""

import asyncio
import gc
import os
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from pydantic_core import PydanticSerializationError, to_jsonable_python
from redis.exceptions import RedisError

from fntx_sessions import traces
from fntx_sessions.caller.address import redis_url
from fntx_sessions.caller.announcements import Announcements, Bell
from fntx_sessions.caller.answers import Answers, Expected, shut_down
from fntx_sessions.caller.line import Line
from fntx_sessions.caller.producer import (
    COMMANDS,
    QUERIES,
    SAFETY,
    START_REDIS,
    THREADS,
    Message,
    NotSent,
    Producer,
    queue_of,
)
from fntx_sessions.caller.stored import Answer
from fntx_sessions.exceptions import FntxError, InvalidArgument, OutcomeUnknown, Retryable, Unavailable, way_out
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.monitoring.tracing import start_tracing
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.state.redis_client import WRITING

# What does not come back within a moment: whoever looks is told at once what can be seen meanwhile.
_MEANWHILE = {
    "Postgres": "`fntx status` shows what can be seen meanwhile, and since when; what was acknowledged is safe, and "
    "workers back up what they host. `fntx doctor` says what to run.",
    WRITING: "",
}
# Where subscriptions stand: what they ask are questions too.
NEWS = "news"
# Of whom one is as far out of reach as of them.
_OUT_OF_REACH = "the memory system"
# The pause between two sends doubles up to this many times: a queue that is behind must not be filled by its callers.
_SLOWEST_RESEND = 4
_MOST_SKIPPED = 2
_PENDING_PAUSES_S = (0.05, 0.1, 0.2, 0.5)
# A pending start is finished by a sweep; this is for it to come round after the session's own deadline.
_SWEEP_GRACE_S = 10.0


_EVERY: "weakref.WeakSet[Caller]" = weakref.WeakSet()


class Caller:
    """Asks the desk from one event loop. Made and closed by a manager."""

    def __init__(self, settings: Settings | None = None, token: str | None = None) -> None:
        self.settings = settings or get_settings()
        start_tracing(self.settings)
        url = redis_url(self.settings)
        self._answers = Answers(url, self.settings)
        self._announcements = Announcements(self._answers.redis)
        self._producer = Producer(self.settings, url, token)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="fntx-send")
        # What waits for an answer would be sent again when its queue is behind: the more, the further behind it gets.
        # A stop does not wait behind questions, nor do subscriptions.
        self._lines = {name: Line(self.settings.command_in_flight) for name in (SAFETY, COMMANDS, QUERIES, NEWS)}
        self._closed = False
        _EVERY.add(self)

    async def check(self) -> None:
        """Return when Redis answers; raises Unavailable."""
        try:
            await self._answers.ping()
        except (RedisError, OSError) as error:
            told = str(error) or type(error).__name__
            raise Unavailable("Redis", told, way_out(told, START_REDIS)) from error

    async def close(self) -> None:
        """End all waits and close the connections."""
        self._closed = True
        await self._announcements.close()
        await self._answers.close()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._producer.close)

    async def command(
        self, task: str, arguments: dict[str, Any], *, command_id: UUID | None = None, deadline_s: float | None = None
    ) -> Outcome:
        """Do one command and return its outcome once it is done or refused.

        command_id: asked before under this id, the same outcome comes again; None takes a new id. deadline_s: how long
        to go on asking; None: `command_deadline_s` from its turn on, and a start that waits for agents as long as the
        session's own `wait_ready_s` says. A refusal that never reached a session (Unauthenticated, InvalidArgument,
        ...) is raised, as are OutcomeUnknown when the deadline passed and Unavailable when nothing was sent or done.
        """
        asked_id = command_id or uuid4()
        with traces.span(task, "client", command_id=asked_id, session_id=arguments.get("session_id")):
            message = Message(task, _plain(arguments), asked_id, queue_of(task))
            if command_id is not None:
                # Asked with other arguments this time, the stored answer would be the wrong one.
                await self._answers.forget(command_id)
            asking = _Asking(self, message, deadline_s)
            answer = await asking.answer()
            outcome = Outcome.from_dict(answer if "trigger" in answer else _raised(answer))
            return await self._settled(outcome, asking, extend=deadline_s is None)

    async def ask(
        self, task: str, arguments: dict[str, Any], *, command_id: UUID, deadline_s: float | None = None
    ) -> Any:
        """Do a command of the desk, not of one session, and return its `result`; asked again, it acts once.

        Raises what it was refused with, OutcomeUnknown and Unavailable, as `command` does.
        """
        with traces.span(task, "client", command_id=command_id):
            message = Message(task, _plain(arguments), command_id, queue_of(task))
            await self._answers.forget(command_id)
            asking = _Asking(self, message, deadline_s)
            return _raised(await asking.answer())["result"]

    async def query(
        self, task: str, arguments: dict[str, Any], *, deadline_s: float | None = None, line: str | None = None
    ) -> Any:
        """Ask a question and return the answer's `result`; raises NotFound and the like, or Unavailable.

        deadline_s None: `command_deadline_s` from its turn on, and for as long as those before it are being answered.
        line: where it waits for its turn, if not with all questions. Where a worker finds Postgres out of reach, or
        Redis takes nothing, that is told after `query_patience_s`.
        """
        message = Message(task, _plain(arguments), uuid4(), QUERIES)
        asking = _Asking(self, message, deadline_s, line or QUERIES)
        answer = await asking.answer()
        await self._answers.forget(message.task_id)
        return _raised(answer)["result"]

    async def _settled(self, outcome: Outcome, asking: "_Asking", *, extend: bool) -> Outcome:
        """Return the outcome once it is no longer pending; what is pending is finished by a sweep."""
        if outcome.state == "pending" and extend:
            asking.extend(_own_deadline_s(outcome))
        tries = 0
        while outcome.state == "pending":
            left = asking.left_s()
            if left <= 0:
                raise asking.unknown()
            pause = _PENDING_PAUSES_S[min(tries, len(_PENDING_PAUSES_S) - 1)]
            await asyncio.sleep(min(pause, left))
            tries += 1
            outcome = await self._asked_again(outcome, asking)
        return outcome

    async def _asked_again(self, outcome: Outcome, asking: "_Asking") -> Outcome:
        asked = {"command_id": outcome.command_id, "session_id": outcome.session_id}
        try:
            found = await self.query("fntx.sessions.outcome", asked, deadline_s=max(asking.left_s(), 0.1))
        except Retryable:
            return outcome
        return Outcome.from_dict(found, repeated=True)

    async def send(self, message: Message, within_s: float) -> NotSent | None:
        """Send from a thread; the loop never blocks. Not over in time: it may be sent yet. Raises StackError."""
        if self._closed:
            raise shut_down()
        sending = asyncio.get_running_loop().run_in_executor(self._threads, self._producer.send, message)
        done, _ = await asyncio.wait([sending], timeout=max(0.0, within_s))
        if sending.cancelled():
            raise shut_down()
        if done:
            return sending.result()
        return NotSent(Unavailable("Redis", "it does not take messages", START_REDIS), certain=False)

    def line(self, name: str) -> Line:
        """Return where messages wait for their turn."""
        return self._lines[name]

    def expect(self, task_id: UUID) -> Any:
        """Watch for an answer inside a block."""
        return self._answers.expect(task_id)

    async def behind(self, queue: str) -> bool:
        """Tell whether messages wait in a queue."""
        return await self._answers.behind(queue)

    async def forget(self, task_id: UUID) -> None:
        """Forget a stored answer."""
        await self._answers.forget(task_id)

    @property
    def followers(self) -> int:
        """How many subscriptions there are."""
        return self._announcements.followers

    def bell(self, session_id: UUID) -> Bell:
        """Return what rings when a session has news."""
        return self._announcements.bell(session_id)

    def leave(self) -> None:
        """Answer nobody any more, and leave every connection as it is."""
        self._closed = True

    def is_closed(self) -> bool:
        """Tell whether it was closed, or was left to the parent of this process."""
        return self._closed

    def quicken(self) -> None:
        """Look for answers often again."""
        self._answers.quicken()


def _leave_to_parent() -> None:
    """Let a forked child never touch, nor close, what its parent holds.

    Closing an inherited connection would take it out of the parent's own event loop, which both share in the kernel.
    What refers to itself and is frozen is never finalized, not even when the child ends.
    """
    held: list[Any] = [*_EVERY]
    for caller in held:
        caller.leave()
    _EVERY.clear()
    if held:
        held.append(held)
        gc.freeze()


os.register_at_fork(after_in_child=_leave_to_parent)


class _Asking:
    """One message, sent until it is answered or the deadline passes."""

    def __init__(self, caller: Caller, message: Message, deadline_s: float | None, line: str | None = None) -> None:
        self._caller = caller
        self._message = message
        self._line = caller.line(line or message.queue)
        # A deadline that nobody named is for an outage, not for a line that moves.
        self._patient = deadline_s is None
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._deadline_s = deadline_s or caller.settings.command_deadline_s
        self._mine_at = 0
        self._resend_s = caller.settings.command_resend_s
        # Whether a send may still be acted on, and the last thing that went wrong.
        self._open = False
        self._skipped = 0
        self._problem: FntxError | None = None

    def left_s(self) -> float:
        """Return the seconds to the deadline, negative when it is over."""
        return self._began + self._deadline_s - self._clock()

    def extend(self, seconds: float) -> None:
        """Let the deadline be at least `seconds` from now."""
        self._deadline_s += max(0.0, seconds - self.left_s())

    async def answer(self) -> Answer:
        """Return the first answer that is not a call to ask again; raises OutcomeUnknown or Unavailable."""
        async with self._line.turn(self._deadline_s, patient=self._patient) as mine:
            if not mine:
                raise self._no_turn()
            if self._patient:
                self._began = self._clock()
            # Once so many more are answered, those that were sent before this one are, and others' beside them.
            self._mine_at = self._line.answered + 2 * self._line.under_way
            answer = await self._answered()
            self._line.note_answer()
            return answer

    def _no_turn(self) -> FntxError:
        line = self._line
        detail = (
            f"{self._message.task} waited {self._deadline_s:g} s for its turn and nothing of it was sent: this manager "
            f"has {line.under_way} messages under way, which is all it may, and {line.waiting} more wait"
        )
        return Unavailable("the desk", detail, "Ask less at once, or with a longer deadline.")

    def _is_over(self) -> bool:
        """Tell whether the deadline has passed; a question is waited for while those before it are being answered."""
        if self.left_s() > 0:
            return False
        line, question = self._line, self._message.queue == QUERIES
        if self._patient and question and line.answered < self._mine_at and line.moved_within(self._deadline_s):
            self.extend(self._deadline_s)
            return False
        return True

    async def _answered(self) -> Answer:
        pause = self._resend_s
        with self._caller.expect(self._message.task_id) as expected:
            while True:
                answer = await self._once(expected, pause)
                if answer is not None:
                    return answer
                if self._is_over() or self._is_futile():
                    raise self._gave_up()
                pause = min(2 * pause, _SLOWEST_RESEND * self._resend_s)

    async def _once(self, expected: Expected, pause: float) -> Answer | None:
        round_ends = self._clock() + min(pause, self.left_s())
        if not await self._still_waits():
            self._note(await self._caller.send(self._message, round_ends - self._clock()))
            self._caller.quicken()
        if self._is_futile():
            return None
        answer = await expected.within(round_ends - self._clock())
        if answer is None or not _asks_again(answer):
            return answer
        self._problem, self._open = _meanwhile(FntxError.from_dict(answer["error"]), self._message), False
        # Celery never writes over an answer: this one has to go before the next can be seen.
        await self._caller.forget(self._message.task_id)
        expected.again()
        if self._is_futile():
            return None
        await asyncio.sleep(max(0.0, round_ends - self._clock()))
        return None

    async def _still_waits(self) -> bool:
        """Tell whether a question that was sent is probably in its queue yet: sent again, it would only lengthen it.

        Not believed more than twice running, as the queue may be others'.
        """
        rounds, self._skipped = self._skipped, 0
        if self._message.queue != QUERIES or not self._open or rounds >= _MOST_SKIPPED:
            return False
        if not await self._caller.behind(self._message.queue):
            return False
        self._skipped = rounds + 1
        return True

    def _note(self, not_sent: NotSent | None) -> None:
        if not_sent is None or not not_sent.certain:
            self._open = True
        if not_sent is not None:
            self._problem = not_sent.problem

    def _is_futile(self) -> bool:
        """Tell whether a question was told often enough that it cannot be answered now."""
        told = isinstance(self._problem, Unavailable) and _is_away(self._problem.args[0]) and not self._open
        waited_s = self._clock() - self._began
        return told and self._message.queue == QUERIES and waited_s >= self._caller.settings.query_patience_s

    def _gave_up(self) -> FntxError:
        if self._problem is not None and not self._open:
            return self._problem
        if self._message.queue == QUERIES:
            detail = f"no answer to {self._message.task} within {self._deadline_s:g} s"
            return Unavailable("the desk", detail, "See `fntx doctor`: a store, or who reads `queries`, stands still.")
        return self.unknown()

    def unknown(self) -> OutcomeUnknown:
        """Return the error that says how to ask again."""
        return OutcomeUnknown(str(self._message.task_id), self._message.task, round(self._deadline_s, 1))


def _is_away(what: str) -> bool:
    return what in _MEANWHILE or what.startswith(_OUT_OF_REACH)


def _asks_again(answer: Answer) -> bool:
    error = answer.get("error")
    return error is not None and error.get("family") == Retryable.family


def _meanwhile(error: FntxError, message: Message) -> FntxError:
    """Return the error; to a question, with what can be seen while it cannot be answered."""
    fix = _MEANWHILE.get(error.args[0], "") if isinstance(error, Unavailable) and message.queue == QUERIES else ""
    return Unavailable(*error.args[:2], fix) if fix else error


def _raised(answer: Answer) -> Answer:
    """Return an answer without an error; raises the error of any other."""
    if answer.get("error") is not None:
        raise FntxError.from_dict(answer["error"])
    return answer


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments as JSON types, without those that are None; raises InvalidArgument naming what cannot be."""
    plain: dict[str, Any] = {}
    for name, value in arguments.items():
        try:
            plain |= {} if value is None else {name: to_jsonable_python(value)}
        except (PydanticSerializationError, ValueError) as error:
            raise InvalidArgument(name, f"cannot be sent as JSON: {error}", "Use plain values.") from None
    return plain


def _own_deadline_s(outcome: Outcome) -> float:
    """Return how long a pending command waits by its own account, with time for the sweep that ends it."""
    deadline = outcome.extra.get("deadline")
    if deadline is None or outcome.at is None:
        return 0.0
    return (datetime.fromisoformat(deadline) - outcome.at).total_seconds() + _SWEEP_GRACE_S
