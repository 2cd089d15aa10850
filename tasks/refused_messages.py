"""Messages that are no task of ours: counted, and told in a line that holds nothing of what they hold.

Celery logs them whole, arguments and headers, which are anybody's: a newer client's command holds reasons, a forger's
may hold what fills the disk.
"""

import logging
from typing import Any

import structlog
from celery.worker.consumer import consumer

from fntx_sessions.figures import REFUSALS
from fntx_sessions.printable import printable
from fntx_sessions.security.denials import Denials

_KINDS = {
    consumer.UNKNOWN_TASK_ERROR: "no such task",  # type: ignore[attr-defined]
    consumer.INVALID_TASK_ERROR: "no message of a task",  # type: ignore[attr-defined]
    consumer.UNKNOWN_FORMAT: "no message of Celery",  # type: ignore[attr-defined]
    consumer.MESSAGE_DECODE_ERROR: "cannot be decoded",  # type: ignore[attr-defined]  # not in the stubs
}
_NAME_CHARACTERS = 80


class RefusedMessages(Denials):
    """Counts them as `Denials` counts callers."""

    def _say(self, number: int, last: str) -> None:
        structlog.get_logger(__name__).warning("messages_refused", number=number, last=last)


denials = RefusedMessages()


def hide_refused_messages() -> None:
    """Have Celery's lines of such messages counted and replaced from now on; a second call does nothing."""
    consumer.logger.addFilter(_count_instead)  # type: ignore[attr-defined]  # not in the stubs


def _count_instead(record: logging.LogRecord) -> bool:
    kind = _KINDS.get(str(record.msg))
    if kind is None:
        return True
    REFUSALS.note(1, "UnknownMessage")
    denials.count(f"{kind}{_named(record.args)}")
    return False


def _named(args: Any) -> str:
    """Return what the headers of a message call its task, as far as there are headers."""
    headers = args[2] if isinstance(args, tuple) and len(args) > 2 else None  # noqa: PLR2004 - the third of its four
    name = headers.get("task") if isinstance(headers, dict) else None
    return f": {printable(str(name)[:_NAME_CHARACTERS])}" if name else ""
