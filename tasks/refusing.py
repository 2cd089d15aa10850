"""What the edge does about messages it refuses: callers nobody can verify are counted, verified ones are audited.

Counts are written down by a thread of this process that lives while there are any, so that no refusal waits for
Postgres; and once more as the process ends.
"""

import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast
from uuid import UUID

import structlog
from celery import Task
from celery.exceptions import Ignore

from fntx_sessions.database.engine import get_engine
from fntx_sessions.exceptions import FntxError, Retryable, Unauthenticated
from fntx_sessions.figures import REFUSALS
from fntx_sessions.lifecycle.denying import deed_of, denied, id_of, note_counted
from fntx_sessions.lifecycle.desk_audit import Deed
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.denials import allowance, denials
from fntx_sessions.security.origin import asker
from fntx_sessions.security.refusals import LATE, MESSAGE, kind_of, refused_callers
from fntx_sessions.settings import get_settings
from tasks.desk import desk
from tasks.signals import host_id

Answer = dict[str, Any]
log = structlog.get_logger(__name__)
_ID_CHARACTERS = 100


def refuse_caller(error: Unauthenticated) -> None:
    """Count a refused message and its caller, whom nobody can verify, but for what beat sent and nobody took in time.

    That is no attempt of anybody's: it lies in the queues after every night without workers.
    """
    if kind_of(error) != LATE:
        REFUSALS.note(1, type(error).__name__)
        count_unverified(error)


def count_unverified(error: Unauthenticated) -> None:
    """Count a caller nobody can verify; touches neither Postgres nor Redis."""
    denials.count(str(error))
    refused_callers.note(kind_of(error), str(error.args[0]))
    _writer.begin()


def count_denied(actor: Actor) -> None:
    """Count what a verified caller was denied beyond their allowance; touches neither Postgres nor Redis."""
    allowance.count(actor.name)
    _writer.begin()


def count_message(detail: str) -> None:
    """Count what arrived at a worker and is no message of a task."""
    if host_id():
        refused_callers.note(MESSAGE, detail)
        _writer.begin()


def audit_refusal(task: Task, error: FntxError, asked: dict[str, Any]) -> None:  # type: ignore[type-arg]
    """Write down what a verified caller was denied, or what failed them; never raises. Nobody verified: nothing."""
    actor = asker()
    if actor is None:
        return
    try:
        deed = deed_of(error, task.name.removeprefix("fntx."), {"command_id": task.request.id, **asked})
        _audit(actor, deed, id_of(asked.get("session_id")))
    except Exception:
        log.exception("denial_not_audited", actor=actor.name)


def _audit(actor: Actor, deed: Deed, session_id: UUID | None) -> None:
    settings = get_settings()
    if settings.database_url is None or settings.redis_url is None:
        return
    denied(desk(), actor, deed, session_id)
    if allowance.waiting:
        _writer.begin()


def answer_to(name: str, task_id: object, kwargs: Mapping[str, Any], state: str, error: dict[str, Any]) -> Answer:
    """Return the answer that an error is, bounded: what it repeats is whatever a message said."""
    return {
        "command_id": str(kwargs.get("command_id") or task_id)[:_ID_CHARACTERS],
        "session_id": str(kwargs["session_id"])[:_ID_CHARACTERS] if kwargs.get("session_id") else None,
        "task": name,
        "state": state,
        "error": error,
    }


def answer_unverified(task: Task, answer: Answer) -> Answer:  # type: ignore[type-arg]
    """Answer a caller nobody can verify; in a worker the answer is kept apart, and Ignore is raised."""
    from tasks.unverified import keep_for_a_while  # noqa: PLC0415 - it counts with what is above

    request, backend = task.request, cast("Any", task.backend)
    if request.called_directly or request.is_eager or not hasattr(backend, "client"):
        return answer
    keep_for_a_while(backend, str(request.id), answer, request)
    raise Ignore


def write_down(*, whole: bool = False) -> None:
    """Write down what was counted in this process; what cannot be written is kept for the next time."""
    if get_settings().database_url is None:
        return
    try:
        refused_callers.write(get_engine(), _host())
        note_counted(get_engine(), host_id(), whole=whole)
    except Retryable as error:
        log.warning("refusals_not_written_down", waiting=refused_callers.waiting(), problem=str(error))


def end_writing() -> None:
    """Write down what is left; the process ends."""
    with suppress(Exception):
        if refused_callers.waiting() or allowance.waiting:
            write_down(whole=True)


def _host() -> str:
    # Without what is new at every start: the rows of a minute stay few.
    return host_id().rpartition(":")[0] or host_id()


class _Writer:
    """The thread that writes counts down. It ends when there is nothing left, and is begun again by the next."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked child must: threads stay with their parent."""
        self._lock = threading.Lock()
        self._runs = False

    def begin(self) -> None:
        """Have what was counted before this call written down soon."""
        with self._lock:
            if not self._runs:
                threading.Thread(target=self._run, name="fntx-refusals", daemon=True).start()
                self._runs = True

    def _run(self) -> None:
        while not self._rests():
            time.sleep(get_settings().refused_callers_flush_s)
            try:
                write_down()
            except Exception:
                log.exception("refusals_not_written_down")

    def _rests(self) -> bool:
        with self._lock:
            self._runs = bool(refused_callers.waiting() or allowance.waiting)
            return not self._runs


_writer = _Writer()
os.register_at_fork(after_in_child=_writer.forget)
