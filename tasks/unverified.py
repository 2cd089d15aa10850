"""Messages of callers nobody can verify, refused where a worker takes them: before a process of its pool is bothered.

What is left of one is a number, and for a short while an answer. So a flood costs a signature check each, and commands
do not wait until the pool has been through it. The pool's process verifies anew, and what only Postgres knows too.
"""

from contextlib import suppress
from typing import Any

import structlog
from celery.exceptions import InvalidTaskError
from redis.exceptions import RedisError

from fntx_sessions.exceptions import Unauthenticated
from fntx_sessions.security.tokens import read, verify
from fntx_sessions.settings import get_settings
from tasks.refusing import refuse_caller
from tasks.signals import TOKEN_HEADER

Answer = dict[str, Any]
log = structlog.get_logger(__name__)
_NAME_CHARACTERS = 100


class UnverifiedMessage(InvalidTaskError):
    """A message whose caller nobody can verify; it is counted already."""


def refuse_unverified(message: Any, app: Any, kwargs: dict[str, Any]) -> None:
    """Raise UnverifiedMessage, counted and answered, for a message without a token that is ours and good now."""
    try:
        _read((message.headers or {}).get(TOKEN_HEADER))
    except Unauthenticated as error:
        refuse_caller(error)
        with suppress(Exception):
            _answer(message.headers, app, kwargs, error)
        raise UnverifiedMessage(str(error)) from error
    except Exception:
        # Whatever it is, it must not end the worker: the pool's process looks again.
        log.exception("token_not_read")


def _read(token: object) -> None:
    settings = get_settings()
    if token is None:
        verify(None, settings)
    else:
        read(token, settings)


def _answer(headers: dict[str, Any], app: Any, kwargs: dict[str, Any], error: Unauthenticated) -> None:
    name, task_id = headers["task"], headers["id"]
    if app.tasks[name].ignore_result:
        return
    given = {key: kwargs.get(key) for key in ("command_id", "session_id")}
    told = {key: str(value)[:_NAME_CHARACTERS] if value else None for key, value in given.items()}
    command_id = told["command_id"] or str(task_id)[:_NAME_CHARACTERS]
    answer = told | {"command_id": command_id, "task": name, "state": "refused", "error": error.to_dict()}
    keep_for_a_while(app.backend, task_id, answer)


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
