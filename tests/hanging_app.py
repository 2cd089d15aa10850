"""The tasks, as a worker's app, where the evaluator of the session that FNTX_HOME/hangs names hangs for good."""

import contextlib
import time
from typing import Any

from fntx_sessions.agents.registry import get_agent
from fntx_sessions.settings import get_settings
from tasks.celery import app

__all__ = ["app"]
_evaluator = get_agent("EvaluatorAgent")
_honest = _evaluator.step


def _hangs(session_id: Any) -> bool:
    named = get_settings().home / "hangs"
    return named.exists() and named.read_text() == str(session_id)


def _step(state: Any, context: Any) -> Any:
    """Do not even end where a time limit asks for it: only a kill helps."""
    while _hangs(context.session_id):
        with contextlib.suppress(BaseException):
            time.sleep(0.05)
    return _honest(state, context)


_evaluator.step = _step
