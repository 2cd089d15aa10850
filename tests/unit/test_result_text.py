"""What Flower shows of a result is what Celery would show, at a fraction of the cost where the result is small."""

from uuid import UUID

import pytest
from celery.app import trace
from celery.utils.saferepr import saferepr

import tasks.celery  # noqa: F401 - puts it in place
from tasks.result_text import result_text

_MOST = 1024
ANSWER = {
    "command_id": str(UUID(int=7)), "session_id": str(UUID(int=8)), "trigger": "pause_session", "state": "done",
    "version": 3, "warnings": ["one", "two"], "extra": {"in_flight": [], "quiet": True}, "error": None,
}  # fmt: skip


def endless() -> dict:
    """Return a dict that holds itself."""
    made = {}
    made["again"] = made
    return made


@pytest.mark.parametrize(
    "result",
    [
        ANSWER,
        {},
        None,
        [ANSWER] * 1000,
        {"state": "done", "result": "x" * 5000},
        {"x" * 2000: 1},
        {"a": {"b": {"c": {"d": [1]}}}},
        {"a": [[[[]]]]},
        endless(),
    ],
)
def test_it_says_what_celery_says(result):
    """Small or long, flat or deep, and one without an end."""
    assert result_text(result, _MOST) == saferepr(result, _MOST)


def test_control_characters_are_escaped():
    """What somebody wrote as a reason moves no terminal."""
    assert result_text({"reason": "\x1b[2J"}, _MOST) == "{'reason': '\\x1b[2J'}"


def test_tasks_are_traced_with_it():
    """Celery looks it up where it was put: an upgrade that looks elsewhere would cost, not fail."""
    assert trace.saferepr is result_text
