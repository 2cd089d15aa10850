"""Asking the desk from a thread: one task sent, sent again, and its answer waited for. Blocking, and bounded."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import redis
from pydantic_core import to_jsonable_python

from fntx_sessions import traces
from fntx_sessions.caller.producer import COMMANDS, Message, Producer
from fntx_sessions.caller.stored import Answer, answer_key, read_answer
from fntx_sessions.exceptions import FntxError, OutcomeUnknown, Retryable, Unavailable
from fntx_sessions.settings import Settings
from fntx_sessions.state.redis_client import redis_errors

_PAUSES_S = (0.005, 0.01, 0.02, 0.05)
_SLOWEST_RESEND = 4


class DeskQuestions:
    """Asks with one token. Safe to use from several threads; connections to the broker last as long as a question."""

    def __init__(self, client: redis.Redis, settings: Settings, url: str, token: str | None) -> None:
        self._redis = client
        self._settings = settings
        self._url = url
        self._token = token

    def ask(self, task: str, arguments: dict[str, Any], command_id: UUID | None = None) -> Answer:
        """Return the answer of a task that is safe to run twice under one id.

        Asks again after `command_resend_s` and gives up after `command_deadline_s`. Raises what the task was refused
        with; Unavailable when it could not be sent or done; OutcomeUnknown when no answer came.
        """
        asked_id = command_id or uuid4()
        with traces.span(task, "client", command_id=asked_id, session_id=arguments.get("session_id")):
            return self._answered(task, arguments, asked_id)

    def _answered(self, task: str, arguments: dict[str, Any], asked_id: UUID) -> Answer:
        kwargs = {name: to_jsonable_python(value) for name, value in arguments.items() if value is not None}
        message = Message(task, kwargs, asked_id, COMMANDS)
        problem: FntxError | None = None
        with closing(Producer(self._settings, self._url, self._token)) as producer:
            for until in self._rounds():
                found = self._once(producer, message, until)
                if isinstance(found, dict):
                    return found
                problem = found
                if problem is not None and not isinstance(problem, Retryable):
                    raise problem
                time.sleep(max(0.0, until - time.monotonic()))
        raise problem or OutcomeUnknown(str(message.task_id), task, self._settings.command_deadline_s)

    def _once(self, producer: Producer, message: Message, until: float) -> Answer | FntxError | None:
        """Send once and wait until then; returns the answer, or what went wrong, or None when nobody answered."""
        not_sent = producer.send(message)
        if not_sent is not None and not_sent.certain:
            return not_sent.problem
        try:
            answer = self._awaited(message.task_id, until)
        except Unavailable as error:
            return error
        if answer is None:
            return None if not_sent is None else not_sent.problem
        return answer if answer.get("error") is None else FntxError.from_dict(answer["error"])

    def _rounds(self) -> Iterator[float]:
        """Yield when each round of asking ends, by the monotonic clock; at least one."""
        pause, ends = self._settings.command_resend_s, time.monotonic() + self._settings.command_deadline_s
        until = 0.0
        while until < ends:
            until = min(time.monotonic() + pause, ends)
            yield until
            pause = min(2 * pause, _SLOWEST_RESEND * self._settings.command_resend_s)

    def _awaited(self, task_id: UUID, until: float) -> Answer | None:
        """Return the answer that is stored by then, and forget it; None when there is none yet."""
        key, looks = answer_key(task_id), 0
        while True:
            with redis_errors():
                stored = self._redis.get(key)
            if stored is not None and (answer := read_answer(stored)) is not None:
                # Celery never writes over an answer, and this one may have to make room for the next.
                with redis_errors():
                    self._redis.unlink(key)
                return answer
            if time.monotonic() >= until:
                return None
            time.sleep(_PAUSES_S[min(looks, len(_PAUSES_S) - 1)])
            looks += 1
