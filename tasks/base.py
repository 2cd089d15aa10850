"""One base for all tasks: who asks is verified, arguments are validated, and every end becomes an answer.

A task is a plain function under a decorator; the function stays what it is, and tests call it::

    @command("fntx.sessions.pause")
    def pause(actor: Actor, command_id: UUID, arguments: HoldArguments) -> Outcome: ...

    @query("fntx.sessions.get")
    def get(arguments: QueryArguments) -> TradingSession: ...

    @sweep("fntx.sweeps.relay")
    def relay(actor: Actor) -> None: ...

Parameters are found by name; the model that validates is the annotation of `arguments`. docs/integration.md has the
wire format.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any, TypeVar
from uuid import UUID

import structlog
from celery import Task
from celery.exceptions import SoftTimeLimitExceeded, TaskPredicate

from beat_schedule import PREFIX
from fntx_sessions import figures, traces
from fntx_sessions.automation.sweeps import note_end, sent_at
from fntx_sessions.database.engine import get_engine
from fntx_sessions.exceptions import (
    CommandConflict,
    Fatal,
    FntxError,
    Forbidden,
    NeedsSecond,
    Rejected,
    Retryable,
    Unauthenticated,
    Unavailable,
)
from fntx_sessions.security.actor import Actor, system_actor
from fntx_sessions.security.origin import asker, set_asker, set_origin
from fntx_sessions.security.roles import SWEEP, VIEW, authorize
from fntx_sessions.security.scope import admitted
from fntx_sessions.security.tokens import verify
from fntx_sessions.settings import get_settings
from tasks import routes, second
from tasks.about import About
from tasks.celery import app
from tasks.counting import counted, counted_sweep
from tasks.handlers import Call, Handler
from tasks.refusing import answer_to, answer_unverified, audit_refusal, count_unverified, refuse_caller
from tasks.sent_at import moment_of
from tasks.signals import TOKEN_HEADER, host_id
from tasks.unverified import asked_for

F = TypeVar("F", bound=Callable[..., Any])
Answer = dict[str, Any]
log = structlog.get_logger(__name__)

RETRY_AFTER_S = (1, 1, 2)
# (soft, hard) seconds. Each hard limit is below half the visibility timeout of the workers that read the queue.
_LIMITS_S = {routes.SWEEPS: (20, 25), routes.CHECKPOINTS: (120, 180), routes.MAINTENANCE: (900, 1200)}


class FntxTask(Task):  # type: ignore[type-arg]  # generic in the stubs only
    """A task bounded in time whose child may die three times, not for ever."""

    abstract = True
    Request = "tasks.requests:Request"
    max_retries = len(RETRY_AFTER_S)
    refused: Callable[[Answer], None] | None = None
    answers_within_scope = False
    default_retry_delay = RETRY_AFTER_S[0]  # Celery's own is three minutes, and a lost child's task waits for it

    @property
    def soft_time_limit(self) -> int:  # type: ignore[override]  # read by Celery, written by nobody
        """Seconds after which the task is told to end."""
        return self._limits()[0]

    @property
    def time_limit(self) -> int:  # type: ignore[override]
        """Seconds after which its process is killed."""
        return self._limits()[1]

    def _limits(self) -> tuple[int, int]:
        settings, queue = get_settings(), routes.queue_for(self.name)
        if queue == routes.AGENTS:
            return settings.step_soft_limit_s, settings.step_time_limit_s
        return _LIMITS_S.get(queue) or (settings.command_soft_time_limit_s, settings.command_time_limit_s)

    def _asked(self) -> str:
        return asked_for(self.name, self.request.id, self.request.kwargs or {})

    def caller(self) -> Actor:
        """Return who sent this message; raises Unauthenticated."""
        set_asker(None)
        actor = verify((self.request.headers or {}).get(TOKEN_HEADER), asked=self._asked)
        structlog.contextvars.bind_contextvars(actor=actor.name)
        set_origin(host_id(), self.name)
        set_asker(actor)
        return actor


class AnsweringTask(FntxTask):
    """A task whose result somebody waits for."""

    abstract = True
    ignore_result = False


class SweepTask(FntxTask):
    """A task that beat sends: no result, and no events, which would drown everybody else's in Flower."""

    abstract = True
    ignore_result = True
    send_events = False


def command(
    name: str, *, refused: Callable[[Answer], None] | None = None, about: About | None = None
) -> Callable[[F], F]:
    """Register a function as a command task; it authorizes its actor itself, where its outcome is audited.

    refused: told the keywords of each message that was refused, whatever for; not of those that `tasks.denied` refuses,
    which no process of the pool sees. about: of one that may take two people, what it is about as it is asked.
    """
    return _register(
        name, AnsweringTask, _command, about, **({} if refused is None else {"refused": staticmethod(refused)})
    )


def query(name: str, *, within_scope: bool = False) -> Callable[[F], F]:
    """Register a function as a query task: whoever may view gets ``{"state": "done", "result": ...}``.

    within_scope: it takes `actor` and answers with what their token is good for; others refuse a token with a scope
    what names no session.
    """
    return _register(name, AnsweringTask, _query, None, answers_within_scope=within_scope)


def sweep(name: str) -> Callable[[F], F]:
    """Register a function as a sweep: the system's own, answered to nobody; what raises is logged and fails."""
    return _register(name, SweepTask, _sweep, None)


def _register(
    name: str,
    base: type[FntxTask],
    run: Callable[[FntxTask, Handler, Any, Any], Any],
    about: About | None,
    **attributes: Any,
) -> Callable[[F], F]:
    def register(function: F) -> F:
        handler = Handler.of(function)
        if run is _command:
            second.register(name, handler, about)

        def task(self: FntxTask, /, *args: Any, **kwargs: Any) -> Any:
            return run(self, handler, args, kwargs)

        task.__doc__, task.__module__ = function.__doc__, function.__module__
        app.task(name=name, base=base, bind=True, **attributes)(task)  # type: ignore[no-untyped-call]  # its stub
        return function

    return register


def _command(task: FntxTask, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Answer:
    def act() -> Answer:
        actor = task.caller()
        spans.enter_context(_traced(task))
        call = handler.parse(args, kwargs, task.request.id or "", get_settings().command_max_argument_bytes)
        structlog.contextvars.bind_contextvars(command_id=str(call.command_id))
        traces.note(command_id=call.command_id)
        actor = _admitted(actor, call)
        answer = second.run(task.name, handler, actor, call, kwargs)
        _note_conflict(task, kwargs, answer)
        _note_answer(answer)
        return answer

    with counted(task.name, figures.COMMANDS, figures.COMMAND_SECONDS) as end, ExitStack() as spans:
        answer = end(_answered(task, kwargs, act))
    return _handed_back(task, answer)


def _handed_back(task: FntxTask, answer: Answer) -> Answer:
    """Return the answer as Celery keeps it; one for a caller nobody verified is kept apart, see there."""
    unverified = asker() is None and (answer.get("error") or {}).get("error") == Unauthenticated.__name__
    return answer_unverified(task, answer) if unverified else answer


def _note_conflict(task: FntxTask, kwargs: dict[str, Any], answer: Answer) -> None:
    """Write down that an id was used again for something else, which a command answers and stores nothing of."""
    error = answer.get("error") or {}
    if error.get("error") == CommandConflict.__name__:
        about = {"session_id": answer["session_id"]} if answer.get("session_id") else {}
        audit_refusal(task, FntxError.from_dict(error), kwargs | about)


def _note_answer(answer: Answer) -> None:
    """Say what became of a command; of which session, only its answer may know."""
    session_id, error = answer.get("session_id"), (answer.get("error") or {}).get("error")
    if session_id:
        structlog.contextvars.bind_contextvars(session_id=session_id)
    log.info("command_answered", state=answer.get("state"), error=error)
    traces.note(session_id=session_id, state=answer.get("state"), error=error)


def _query(task: FntxTask, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Answer:
    def act() -> Answer:
        actor = task.caller()
        spans.enter_context(_traced(task, beginning=False))
        call = handler.parse(args, kwargs, task.request.id or "", get_settings().command_max_argument_bytes)
        actor = _admitted(actor, call)
        whole = task.answers_within_scope and call.session_id is None
        authorize(actor.everywhere() if whole else actor, VIEW, call.session_id)
        return {"state": "done", "result": handler.run(actor, call), "error": None}

    with counted(task.name, figures.QUERIES, figures.QUERY_SECONDS) as end, ExitStack() as spans:
        answer = end(_answered(task, kwargs, act))
    return _handed_back(task, answer)


def _admitted(actor: Actor, call: Call) -> Actor:
    """Return who asks, knowing whether the session they name is in their scope, where only its row tells."""
    return admitted(get_engine(), actor, call.session_id) if actor.scoped_by_kind else actor


def _traced(task: FntxTask, *, beginning: bool = True) -> AbstractContextManager[None]:
    """Return the span of a task, in its sender's trace; beginning: where the sender has none, in one of its own.

    Only for those whose token was verified: nobody else writes into anybody's traces.
    """
    parent = (task.request.headers or {}).get(traces.HEADER)
    return (traces.span if beginning else traces.part_of)(task.name, "consumer", parent, task_id=_own_id(task))


def _own_id(task: FntxTask) -> str | None:
    """Return a message's id as Celery makes them; None: it is some text of its sender's."""
    with suppress(ValueError):
        return str(UUID(str(task.request.id)))
    return None


def _sweep(task: FntxTask, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    sent_at.set(moment_of(task.request.headers))
    try:
        authorize(task.caller(), SWEEP)
    except Unauthenticated as error:
        # Nothing else: whoever nobody knows makes no sweep's end, and no work for Postgres.
        refuse_caller(error)
    except Rejected as error:
        _sweep_refused(task, kwargs, error)
    else:
        return _swept(task, handler, args, kwargs)


def _swept(task: FntxTask, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        call = handler.parse(args, kwargs, task.request.id or "", get_settings().command_max_argument_bytes)
        with counted_sweep(task.name.removeprefix(PREFIX)):
            return handler.run(system_actor(host_id()), call)
    except Rejected as error:
        _sweep_refused(task, kwargs, error)
    except Retryable as error:
        log.warning("sweep_skipped", error=str(error))  # beat sends the next one soon
    finally:
        _note_end(task)


def _sweep_refused(task: FntxTask, kwargs: dict[str, Any], error: Rejected) -> None:
    figures.REFUSALS.note(1, type(error).__name__)
    log.warning("sweep_refused", error=str(error))
    if isinstance(error, Forbidden):
        audit_refusal(task, error, kwargs)


def _note_end(task: FntxTask) -> None:
    try:
        note_end(get_engine, task.name.removeprefix(PREFIX))
    except Retryable as error:
        log.warning("sweep_end_not_noted", error=str(error))


def _answered(task: FntxTask, kwargs: dict[str, Any], act: Callable[[], Answer]) -> Answer:
    """Run `act`; whatever it raises becomes an answer too, but for the exceptions that are Celery's own language."""
    try:
        return act()
    except TaskPredicate:
        raise
    except Rejected as error:
        return _refused(task, kwargs, error)
    except NeedsSecond as error:
        log.info("second_person_needed", action=error.args[0])
        return _answer(task, kwargs, "pending", error.to_dict())
    except SoftTimeLimitExceeded:
        took = Unavailable("a worker", f"{task.name} took longer than {task.soft_time_limit} s", "Ask again.")
        return _answer(task, kwargs, "unavailable", took.to_dict())
    except Retryable as error:
        return _again_or_unavailable(task, kwargs, error)
    except Exception as error:
        log.exception("task_failed")
        return _failed(task, kwargs, error)


def _refused(task: FntxTask, kwargs: dict[str, Any], error: Rejected) -> Answer:
    if asker() is None and isinstance(error, Unauthenticated):
        count_unverified(error)
        return _answer(task, kwargs, "refused", error.to_dict())
    log.info("task_refused", error=type(error).__name__, sentence=str(error))
    if isinstance(error, Forbidden | Unauthenticated | CommandConflict):
        audit_refusal(task, error, kwargs)
    if task.refused is not None:
        task.refused(kwargs)
    return _answer(task, kwargs, "refused", error.to_dict())


def _failed(task: FntxTask, kwargs: dict[str, Any], error: Exception) -> Answer:
    """Answer what failed a caller; of a command it is audited: whoever asked for it did ask.

    What may work later is not: nothing was done, and it is asked again under its id.
    """
    told = error.to_dict() if isinstance(error, Fatal) else _internal_error(task)
    if routes.queue_for(task.name) != routes.QUERIES:
        said = error if isinstance(error, Fatal) else Fatal(f"{type(error).__name__}: {told['message']}")
        audit_refusal(task, said, kwargs)
    return _answer(task, kwargs, "error", told)


def _again_or_unavailable(task: FntxTask, kwargs: dict[str, Any], error: Retryable) -> Answer:
    tries = task.request.retries or 0
    if tries < task.max_retries and not task.request.called_directly:
        log.warning("task_retried", error=str(error), tries=tries + 1)
        raise task.retry(exc=error, countdown=RETRY_AFTER_S[tries])
    log.warning("task_gave_up", error=str(error))
    return _answer(task, kwargs, "unavailable", error.to_dict())


def _answer(task: FntxTask, kwargs: dict[str, Any], state: str, error: dict[str, Any]) -> Answer:
    return answer_to(task.name, task.request.id, kwargs, state, error)


def _internal_error(task: FntxTask) -> dict[str, Any]:
    message = f"{task.name} failed for a reason of its own; the worker's log has it under task id {task.request.id}."
    return {"error": "InternalError", "family": "fatal", "facts": {"task_id": task.request.id}, "message": message}
