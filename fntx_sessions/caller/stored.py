"""How Celery keeps an answer in Redis."""

from typing import Any
from uuid import UUID

import orjson

Answer = dict[str, Any]

# Far more than any page of a list, a report or a template; whoever writes more into Redis is not our worker.
MAX_ANSWER_BYTES = 64 << 20

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
    """Return what a task answered; None while Celery still tries, and for what is no answer at all."""
    if len(data) > MAX_ANSWER_BYTES:
        return None
    try:
        meta = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    status, result = (meta.get("status"), meta.get("result")) if isinstance(meta, dict) else (None, None)
    if status == "SUCCESS":
        return result if isinstance(result, dict) else None
    return _LOST if isinstance(status, str) and status in _ENDED_WITHOUT_ANSWER else None
