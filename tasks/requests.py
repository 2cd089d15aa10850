"""A task as a worker takes it: its body holds arguments, and nothing else that Celery would act on."""

from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.request import Request as CeleryRequest

from tasks.denied import refuse_denied
from tasks.unverified import refuse_unverified

_PARTS = 3
# Celery runs them once the task is done: signed by the worker, with whatever arguments the message says.
_FOLLOWERS = frozenset({"callbacks", "errbacks", "chain", "chord"})


class Request(CeleryRequest):
    """Takes a message whose body is positional arguments, keywords, and an empty list of what to run afterwards.

    Raises InvalidTaskError for another, for one whose caller nobody can verify, and for one more of a flood of what its
    caller may never do.
    """

    def __init__(self, message: Any, **options: Any) -> None:
        _check(message.payload)
        app, kwargs = options["app"], message.payload[1]
        actor = refuse_unverified(message, app, kwargs)
        if actor is not None:
            refuse_denied(actor, message, app, kwargs)
        super().__init__(message, **options)


def _check(body: Any) -> None:
    if not (isinstance(body, list) and len(body) == _PARTS):
        raise InvalidTaskError("its body is not [args, kwargs, embed]")
    args, kwargs, embed = body
    if not (isinstance(args, list) and isinstance(kwargs, dict) and isinstance(embed, dict)):
        raise InvalidTaskError("its arguments are not a list and an object")
    if embed.keys() - _FOLLOWERS or any(embed.values()):
        raise InvalidTaskError("it asks for other tasks to be run after it")
    if "self" in kwargs:
        # Celery calls a task with its keywords beside itself, and would answer a traceback.
        raise InvalidTaskError("it names the task itself among its keywords")
