"""The road from Redis to Celery, with a gate: what is no message is counted and dropped, and nothing it says is done.

Without it most of what is no message ends a worker: kombu parses and unpacks inside the loop that reads Redis, and
Celery ends a worker whose loop raises. docs/decisions/0106-messages.md.
"""

from collections.abc import Callable
from queue import Empty
from typing import Any

import structlog
from celery import current_app
from kombu import serialization
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from kombu.utils import json as kombu_json
from redis.exceptions import ResponseError

from tasks import messages, routes
from tasks.refused_messages import refuse

log = structlog.get_logger(__name__)
_SCHEMES = ("redis", "rediss")
_SERIALIZATION: Any = serialization
_KOMBU: Any = kombu_redis  # the stubs know only its public half
_FAULTS: tuple[type[Exception], ...] = _KOMBU.Transport.connection_errors + _KOMBU.Transport.channel_errors


# A key that is no list holds no message. Looked at and dropped in one moment, lest a queue that came meanwhile goes.
_DROP = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' or kind == ARGV[1] then return '' end
redis.call('UNLINK', KEYS[1])
return kind
"""


def is_redis_fault(error: Exception) -> bool:
    """Tell whether an error is of the connection, and not of what came over it."""
    # kombu counts KeyError among them, and would connect anew for each header that a message lacks.
    return isinstance(error, _FAULTS) and not isinstance(error, KeyError)


def _refuse_unknown(headers: dict[str, Any]) -> None:
    """Count and answer a task nobody knows here; Celery keeps its answer as long as those of real commands."""
    from tasks.unverified import answer_unknown  # noqa: PLC0415 - it needs what no producer does

    refuse("no such task", headers["task"])
    answer_unknown(headers)


class QoS(kombu_redis.QoS):
    """What was not acknowledged; what lies among it and is no message is dropped."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Give one message back to its queue."""
        try:
            super().restore_by_tag(tag, client, leftmost)
        except Exception as error:
            if is_redis_fault(error):
                raise
            self._remove_from_indices(tag).execute()  # type: ignore[attr-defined]  # not in the stubs
            refuse("cannot be given back", type(error).__name__)


class Channel(kombu_redis.Channel):
    """A channel whose messages pass the gate."""

    QoS = QoS

    def basic_consume(self, queue: str, no_ack: bool, callback: Any, consumer_tag: Any, **options: Any) -> Any:  # noqa: FBT001 - kombu's
        """Read a queue."""
        found = super().basic_consume(queue, no_ack, callback, consumer_tag, **options)
        # Where the transport looks for who takes a message.
        callbacks: Any = self.connection._callbacks  # noqa: SLF001
        callbacks[queue] = self._gate(callbacks[queue], of_task=queue in routes.QUEUES, no_ack=no_ack)
        return found

    def _gate(self, take: Callable[[Any], Any], *, of_task: bool, no_ack: bool) -> Callable[[Any], None]:
        def pass_on(raw: Any) -> None:
            try:
                message = messages.checked(raw, of_task=of_task)
            except messages.RefusedMessage as refused:
                refuse(str(refused))
                return
            if of_task and message["headers"]["task"] not in current_app.tasks:
                _refuse_unknown(message["headers"])
                return
            try:
                take(message)
            except Exception as error:
                if is_redis_fault(error):
                    raise
                refuse("cannot be taken", type(error).__name__)
                if not no_ack:
                    self.basic_reject(message["properties"]["delivery_tag"], requeue=False)

        return pass_on

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except messages.RefusedMessage as refused:
            refuse(str(refused))
            raise Empty from None
        except ResponseError as error:
            self._clear(error, self._lists(*self.active_queues), "list")
            raise Empty from None

    def _size(self, queue: str) -> int:
        try:
            return int(super()._size(queue))
        except ResponseError as error:
            self._clear(error, self._lists(queue), "list")
            return int(super()._size(queue))

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)  # type: ignore[misc]
        except ResponseError as error:
            names = (self.keyprefix_queue, self.keyprefix_binding_permanent)  # type: ignore[attr-defined]
            self._clear(error, [name % (exchange,) for name in names], "set")
            super()._queue_bind(exchange, routing_key, pattern, queue)  # type: ignore[misc]

    def _lists(self, *queues: str) -> list[str]:
        steps = self.priority_steps
        return [self._q_for_pri(queue, step) for queue in queues for step in steps]  # type: ignore[attr-defined]

    def _clear(self, error: ResponseError, keys: list[str], kind: str) -> None:
        """Drop what lies under our keys and is of another kind; raises `error` where that was not what is wrong."""
        if not str(error).rpartition(" caused error: ")[2].startswith("WRONGTYPE"):
            raise error
        with self.conn_or_acquire() as client:
            found = {key: client.eval(_DROP, 1, key, kind) for key in keys}
        dropped = {key: bytes(other).decode() for key, other in found.items() if other}
        if not dropped:
            raise error
        for key, other in dropped.items():
            log.error(
                "queue_dropped", key=key, was=other, wanted=kind, problem="somebody put another type in its place"
            )
            refuse(f"a {other} in place of a {kind}", key)


class Transport(kombu_redis.Transport):
    """Redis, with that gate in every channel."""

    Channel = Channel


def use() -> None:
    """Have this process read Redis through the gate, and JSON alone; a second call changes nothing."""
    for scheme in _SCHEMES:
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
    _KOMBU.loads = messages.loads
    serialization.register("json", kombu_json.dumps, messages.loads, messages.PLAIN, "utf-8")
    for name in ("pickle", "yaml", "msgpack"):
        if name in _SERIALIZATION.registry.name_to_type:
            serialization.unregister(name)


use()
