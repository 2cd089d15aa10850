"""A loss rule that fires latches its account's day, in dollars or `true`, as every loss limit does."""

from collections.abc import Iterable, Iterator
from datetime import date

import structlog

from fntx_sessions.automation.rules.judgement import Judged
from fntx_sessions.automation.rules.model import Action, Truth
from fntx_sessions.exceptions import Retryable
from fntx_sessions.lifecycle import orders
from fntx_sessions.lifecycle.execute import Desk

log = structlog.get_logger(__name__)
_LOSS = "daily_loss_exceeded"
_PROTECTING = (Action.STOP, Action.PAUSE)


def latch_fired(desk: Desk, judged: Judged, account_id: str, day: date, *, latched: bool) -> Truth | None:
    """Latch the account's trade date where a loss rule is about to stop or pause; return that rule, None for none.

    Done before the command is asked: once a session is closing nobody judges it again, so that a kill between the two
    would lose the latch. Stores that do not answer keep nothing from being stopped. latched: it is already.
    """
    action = judged.verdict.action
    if latched or judged.due is None or action not in _PROTECTING:
        return None
    fired = next(_losses(judged.verdict.truths[action.value]), None)
    if fired is None:
        return None
    try:
        orders.latch(desk.engine, account_id, day, f"session {judged.session_id}", judged.verdict.why)
    except Retryable as error:
        log.error("loss_not_latched", session_id=str(judged.session_id), problem=str(error))  # noqa: TRY400 - no bug
        return None
    return fired


def _losses(truths: Iterable[Truth]) -> Iterator[Truth]:
    """Yield the loss conditions that made a rule fire."""
    for truth in truths:
        if truth.met and truth.condition == _LOSS:
            yield truth
        if truth.met and truth.condition != "none_of":
            yield from _losses(truth.children)
