"""Celery's remote control, down to what Flower and `fntx status` ask: nobody ends or stalls a worker by a broadcast.

Celery's own takes `shutdown`, `revoke`, `cancel_consumer`, `rate_limit` and the like from whoever can publish to Redis.
Here workers answer questions, each with the arguments that Flower sends.
"""

from typing import Annotated, Any

import msgspec
from celery.app.control import Control as CeleryControl
from kombu import pidbox
from msgspec import Meta, Struct

from tasks.refused_messages import refuse

# Question -> the arguments it takes.
QUESTIONS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("ping", "stats", "reserved", "scheduled", "revoked", "active_queues", "clock"), frozenset()),
    **dict.fromkeys(("heartbeat", "enable_events"), frozenset()),
    "active": frozenset({"safe"}),
    "registered": frozenset(),
    "conf": frozenset({"with_defaults"}),
}
_REPLIES_KEPT = 100

_Name = Annotated[str, Meta(max_length=255)]


class _ReplyTo(Struct):
    exchange: _Name
    routing_key: _Name


class _Asked(Struct):
    method: _Name
    arguments: dict[str, Any] | None = None
    destination: Annotated[list[_Name], Meta(max_length=1000)] | None = None
    # Patterns are regular expressions of whoever asks.
    pattern: None = None
    matcher: None = None
    ticket: _Name | None = None
    reply_to: _ReplyTo | None = None


class Node(pidbox.Node):
    """A worker's end of it."""

    def handle_message(self, body: Any, message: Any = None) -> Any:
        """Answer a question that is one of ours."""
        try:
            asked = msgspec.convert(body, _Asked)
        except (msgspec.ValidationError, UnicodeError):
            return refuse("no question to a worker")
        # Flower's client sends those it was given nothing for too.
        given = {name: value for name, value in (asked.arguments or {}).items() if value}
        if not self._is_known(asked, given):
            return refuse("a question that workers do not take", asked.method)
        return super().handle_message({**body, "arguments": given}, message)

    def _is_known(self, asked: _Asked, given: dict[str, Any]) -> bool:
        mailbox: Any = self.mailbox
        replies = mailbox.reply_exchange.name
        elsewhere = asked.reply_to is not None and asked.reply_to.exchange != replies
        return not elsewhere and asked.method in QUESTIONS and given.keys() <= QUESTIONS[asked.method]


class Mailbox(pidbox.Mailbox):
    """Both ends of it."""

    node_cls = Node
    unclaimed: Any

    def _collect(self, *args: Any, **options: Any) -> Any:
        # Answers to tickets that nobody asked under are kept for whoever asks; forged ones would pile up.
        if len(self.unclaimed) > _REPLIES_KEPT:
            self.unclaimed.clear()
        found = super()._collect(*args, **options)
        return [one for one in found if isinstance(one, dict)]


class Control(CeleryControl):
    """The app's way to ask its workers."""

    Mailbox = Mailbox
