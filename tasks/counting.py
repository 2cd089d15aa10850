"""Counting tasks as they end: how long they took, and what came of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from celery.exceptions import TaskPredicate

from fntx_sessions.exceptions import Rejected, Retryable
from fntx_sessions.figures import FAILURES, REFUSALS, SWEEP_SECONDS, SWEEPS, Figure

Answer = dict[str, Any]
_FAILED = ("unavailable", "error")


@contextmanager
def counted(task: str, outcomes: Figure, seconds: Figure) -> Iterator[Callable[[Answer], Answer]]:
    """Run a block that passes its answer through what this yields; one that Celery runs again counts as `retried`."""
    began = perf_counter()

    def end(answer: Answer) -> Answer:
        outcome = str(answer.get("state"))
        seconds.note(perf_counter() - began, task)
        outcomes.note(1, task, outcome)
        if outcome == "refused":
            REFUSALS.note(1, str((answer.get("error") or {}).get("error")))
        elif outcome in _FAILED:
            FAILURES.note(1, outcome)
        return answer

    try:
        yield end
    except TaskPredicate:
        outcomes.note(1, task, "retried")
        raise


@contextmanager
def counted_sweep(name: str) -> Iterator[None]:
    """Run a sweep, counted by how it ended; what it raises is raised on."""
    began, outcome = perf_counter(), "failed"
    try:
        yield
        outcome = "done"
    except Rejected:
        outcome = "refused"
        raise
    except Retryable:
        outcome = "skipped"
        raise
    finally:
        SWEEP_SECONDS.note(perf_counter() - began, name)
        SWEEPS.note(1, name, outcome)
