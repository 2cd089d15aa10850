"""Messages that are no task of ours: counted, and told in a line that holds nothing of what they hold.

Celery logs them whole, arguments and headers, which are anybody's: a newer client's command holds reasons, a forger's
may hold what fills the disk.
"""

import logging
from typing import Any

import structlog
from celery.worker.consumer import consumer
from kombu.transport.redis import logger as redis_logger

from fntx_sessions.figures import REFUSALS
from fntx_sessions.printable import printable
from fntx_sessions.security.denials import Denials

# What kombu says of them; it has no names for its lines.
_EVENT = "Cannot process event on channel %r: %s"
_RESTORE = "Could not restore message: %r"
_KINDS = {
    consumer.UNKNOWN_TASK_ERROR: "no such task",  # type: ignore[attr-defined]
    consumer.INVALID_TASK_ERROR: "no message of a task",  # type: ignore[attr-defined]
    consumer.UNKNOWN_FORMAT: "no message of Celery",  # type: ignore[attr-defined]
    consumer.MESSAGE_DECODE_ERROR: "cannot be decoded",  # type: ignore[attr-defined]  # not in the stubs
    _EVENT: "cannot be decoded",
    _RESTORE: "cannot be given back",
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
    redis_logger.addFilter(_count_instead)


def _count_instead(record: logging.LogRecord) -> bool:
    kind = _KINDS.get(str(record.msg))
    if kind is None:
        return True
    if _is_counted(record.args):
        return False
    refuse(kind, _name(record.args))
    return False


def _is_counted(args: Any) -> bool:
    """Tell whether a message was refused for its caller, who is counted elsewhere."""
    from tasks.unverified import RefusedMessage  # noqa: PLC0415 - as below

    return isinstance(args, tuple) and bool(args) and isinstance(args[0], RefusedMessage)


def refuse(kind: str, name: str = "") -> None:
    """Count a message that is not read, wherever in this process it was found; `name`: the task it names, if any."""
    from tasks.refusing import count_message  # noqa: PLC0415 - what it writes down with, no producer needs

    REFUSALS.note(1, "UnknownMessage")
    count_message(kind)
    denials.count(f"{kind}: {printable(name[:_NAME_CHARACTERS])}" if name else kind)


def _name(args: Any) -> str:
    """Return what the headers of a message call its task, as far as there are headers."""
    headers = args[2] if isinstance(args, tuple) and len(args) > 2 else None  # noqa: PLR2004 - the third of its four
    return str(headers.get("task") or "") if isinstance(headers, dict) else ""
