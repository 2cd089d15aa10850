"""How Celery keeps an answer in Redis."""

from typing import Any
from uuid import UUID

import orjson

Answer = dict[str, Any]

# The worker was lost, or a limit ended the task: there is an end, but not an answer.
_ENDED_WITHOUT_ANSWER = frozenset({"FAILURE", "REVOKED"})
_LOST: Answer = {
    "state": "unavailable",
    "error": {
        "error": "Unavailable",
        "family": "retryable",
        "facts": {"what": "a worker", "detail": "it ended before it answered", "fix": "Ask again."},
        "message": "a worker is out of reach: it ended before it answered. Ask again.",
    },
}


def answer_key(task_id: UUID) -> str:
    """Return the key under which a task's answer is kept."""
    return f"celery-task-meta-{task_id}"


def read_answer(data: bytes | str) -> Answer | None:
    """Return what a task answered; None while Celery still tries."""
    meta = orjson.loads(data)
    if meta["status"] == "SUCCESS":
        result: Answer = meta["result"]
        return result
    return _LOST if meta["status"] in _ENDED_WITHOUT_ANSWER else None
