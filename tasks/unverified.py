"""Messages of callers nobody can verify, refused where a worker takes them: before a process of its pool is bothered.

What is left of one is a number, and for a short while an answer. So a flood costs a signature check each, and commands
do not wait until the pool has been through it. The pool's process verifies anew; what is revoked this one knows from a
thread that looks, so that it waits for no store.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from celery import current_app
from celery.exceptions import InvalidTaskError
from redis.exceptions import RedisError

from fntx_sessions.exceptions import FntxError, NotFound, Unauthenticated
from fntx_sessions.printable import printable
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.binding import binding
from fntx_sessions.security.revocations import keep_fresh
from fntx_sessions.security.tokens import verify
from fntx_sessions.settings import get_settings
from tasks.refusing import answer_to, refuse_caller
from tasks.signals import TOKEN_HEADER

_NAME_CHARACTERS = 80
_NO_TASK = "These workers may be of another version than who asks: see docs/integration.md for the tasks."

Answer = dict[str, Any]
log = structlog.get_logger(__name__)


class RefusedMessage(InvalidTaskError):
    """A message that is refused for who sent it; it is counted already."""


class UnverifiedMessage(RefusedMessage):
    """A message whose caller nobody can verify."""


def refuse_unverified(message: Any, app: Any, kwargs: dict[str, Any]) -> Actor | None:
    """Return who sent a message; None: that could not be looked at here.

    Raises UnverifiedMessage, counted and answered, for a message without a token that is ours, good now and for this,
    and not known to be revoked.
    """
    try:
        return _sender(message.headers or {}, kwargs)
    except Unauthenticated as error:
        refuse_caller(error)
        answer_refused(message, app, kwargs, error)
        raise UnverifiedMessage(str(error)) from error
    except Exception:
        # Whatever it is, it must not end the worker: the pool's process looks again.
        log.exception("token_not_read")
        return None


def asked_for(name: str, task_id: object, kwargs: Mapping[str, Any]) -> str:
    """Return what a message asks for, as a token may be bound to it; nothing where it is no JSON."""
    with suppress(ValueError, TypeError):
        return binding(name, str(kwargs.get("command_id") or task_id), kwargs)
    return ""


def _sender(headers: dict[str, Any], kwargs: dict[str, Any]) -> Actor:
    settings = get_settings()
    keep_fresh(settings)
    asked = partial(asked_for, str(headers.get("task")), headers.get("id"), kwargs)
    return verify(headers.get(TOKEN_HEADER), settings, asked=asked, wait=False)


def answer_refused(message: Any, app: Any, kwargs: dict[str, Any], error: FntxError) -> None:
    """Answer a message that no process of the pool sees, as far as that can be done; never raises."""
    with suppress(Exception):
        _answer(message.headers, app, kwargs, error)


def _answer(headers: dict[str, Any], app: Any, kwargs: dict[str, Any], error: FntxError) -> None:
    name, task_id = headers["task"], headers["id"]
    if app.tasks[name].ignore_result:
        return
    keep_for_a_while(app.backend, task_id, answer_to(name, task_id, kwargs, "refused", error.to_dict()))


def answer_unknown(headers: Mapping[str, Any]) -> None:
    """Answer a message of a task that no worker here knows, whoever sent it; never raises."""
    name, task_id = printable(headers["task"][:_NAME_CHARACTERS]), headers["id"]
    error = NotFound("task", name, _NO_TASK).to_dict()
    with suppress(Exception):
        keep_for_a_while(current_app.backend, task_id, answer_to(name, task_id, {}, "refused", error))


def keep_for_a_while(backend: Any, task_id: str, answer: Answer, request: Any = None) -> None:
    """Store an answer for so long as one that waits needs to see it, and never in the place of another.

    Celery would keep it as long as those of real commands, which lets a flood fill Redis, and over what a task of the
    same id was answered.
    """
    key = backend.get_key_for_task(task_id)
    kept = backend._get_result_meta(answer, "SUCCESS", None, request)  # noqa: SLF001 - the form of all others
    meta = backend.encode(kept | {"task_id": task_id})
    with suppress(RedisError):
        if backend.client.set(key, meta, nx=True, ex=get_settings().refused_answer_expires_s):
            backend.client.publish(key, meta)
