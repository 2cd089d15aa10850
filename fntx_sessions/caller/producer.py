"""Putting messages on the queues: a Celery app of its own that only sends.

It is never the current app of the process, so that a service with Celery tasks of its own keeps its own app, its own
logging and its own routes. Whoever waits for the answers reads them from Redis: `caller.answers`.
"""

import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from celery import Celery
from kombu import Exchange, Queue
from kombu.connection import ConnectionPool
from kombu.exceptions import LimitExceeded, OperationalError
from kombu.pools import ProducerPool
from redis import exceptions as foreign

from fntx_sessions import traces
from fntx_sessions.exceptions import FntxError, InvalidArgument, Unavailable, way_out
from fntx_sessions.security.local import current_token
from fntx_sessions.security.message_signing import serializer
from fntx_sessions.settings import Settings
from fntx_sessions.state.redis_client import WRITING, translate

COMMANDS, QUERIES = "commands", "queries"
# What ends risk, and whoever makes trouble: command workers look here first, however many others wait.
SAFETY = "safety"
# Here, as whoever only asks needs none of Celery's worker half.
SAFETY_TASKS = frozenset(
    {"fntx.sessions.pause", "fntx.sessions.suspend", "fntx.sessions.stop", "fntx.halts.place", "fntx.orders.cancel"}
    | {"fntx.tokens.revoke"}
)
TOKEN_HEADER = "fntx_token"  # noqa: S105 - the header's name
START_REDIS = "Start the stack with `fntx up`, or set FNTX_REDIS_URL to a server that runs."
THREADS = 4

# A caller that waits has less patience than a worker.
_PATIENCE_S = 2.0
_HEADERS_BYTES = 5000
_NO_QUEUE = "What lies in a queue's place is dropped by the worker that reads it: try again, or see `fntx doctor`."
# What says that a message cannot have reached the queue; anything else may have been delivered and then failed.
_NOT_SENT = (
    ConnectionRefusedError, FileNotFoundError, socket.gaierror, foreign.AuthenticationError, foreign.ResponseError,
    LimitExceeded, ssl.SSLCertVerificationError,
)  # fmt: skip
# Of TLS's other errors those that only a beginning has: no TLS on the other side, no certificate in the CA file.
_NO_BEGINNING = {"WRONG_VERSION_NUMBER", "NO_CERTIFICATE_OR_CRL_FOUND"}


def queue_of(command: str) -> str:
    """Return the queue of a command by its task's name."""
    return SAFETY if command in SAFETY_TASKS else COMMANDS


@dataclass(frozen=True, slots=True)
class Message:
    """One task to be run; `task_id` names its answer. A command's id is its task id too. trace: what it belongs to."""

    task: str
    arguments: dict[str, Any]
    task_id: UUID
    queue: str
    # Of whoever asks: it is sent from another thread.
    trace: str | None = field(default_factory=traces.current)

    def headers(self, token: str | None) -> dict[str, str]:
        """Return what it carries beside its arguments."""
        known = {TOKEN_HEADER: token, traces.HEADER: self.trace}
        return {name: value for name, value in known.items() if value}


@dataclass(frozen=True, slots=True)
class NotSent:
    """Why a message could not be sent. certain: it cannot have reached the queue."""

    problem: FntxError
    certain: bool


class Producer:
    """Sends messages; blocking and safe to use from several threads."""

    def __init__(self, settings: Settings, url: str, token: str | None = None) -> None:
        self._settings = settings
        self._token = token
        self._app = Celery("fntx-caller", set_as_current=False, broker=_kombu_url(url), backend="disabled://")
        self._app.conf.update(_configuration(settings))
        # Not the app's: that is kombu's of the whole process, and so is its limit, which others count on.
        self._connections = _Connections(self._app.connection_for_write(), limit=THREADS)
        self._producers = ProducerPool(self._connections, limit=THREADS)

    def send(self, message: Message) -> NotSent | None:
        """Send a message once, within a bounded time; returns why it may not have been sent, None when it was.

        Raises InvalidArgument for one so large that no worker reads it: nobody would answer it.
        """
        _check_size(message, self._settings.message_max_bytes)
        token = self._token or current_token(self._settings)
        try:
            with self._producers.acquire(block=True, timeout=_PATIENCE_S) as producer:
                self._put(message, message.headers(token), producer)
        except (OperationalError, LimitExceeded, foreign.RedisError, OSError) as error:
            return NotSent(_problem(error), _is_certain(error))
        return None

    def _put(self, message: Message, headers: dict[str, str], producer: Any) -> None:
        self._app.send_task(
            message.task,
            kwargs=message.arguments,
            task_id=str(message.task_id),
            queue=message.queue,
            headers=headers,
            producer=producer,
            add_to_parent=False,
            # Workers declare their queues; a caller has no right to.
            declare=[],
            retry=True,
            # Once more at once: a pooled connection may have died while nobody used it.
            retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0},
        )

    def close(self) -> None:
        """Close the connections."""
        self._connections.force_close_all()
        self._app.close()


def _check_size(message: Message, max_bytes: int) -> None:
    # In base64, beside headers that hold a token and a description of the arguments.
    size, room = len(json.dumps(message.arguments, default=str)), max_bytes * 3 // 4 - _HEADERS_BYTES
    if size > room:
        raise InvalidArgument("arguments", f"take {size} bytes, {room} fit into a message", "Send less.")


class _Connections(ConnectionPool):
    """Connections of one producer, each closed for good with it: kombu's own way changes the process's timeouts."""

    def collect_resource(self, resource: Any, socket_timeout: float | None = None) -> None:
        """Close a connection; what is not made yet is none."""
        _ = socket_timeout
        if not callable(resource):
            self.close_resource(resource)


def _configuration(settings: Settings) -> dict[str, Any]:
    queues = [Queue(name, Exchange(name, type="direct"), routing_key=name) for name in (SAFETY, COMMANDS, QUERIES)]
    signed = serializer(settings)
    return {
        "accept_content": [signed],
        "task_serializer": signed,
        "task_queues": queues,
        "task_default_queue": COMMANDS,
        "task_create_missing_queues": False,
        "broker_transport_options": {
            "socket_timeout": min(settings.redis_socket_timeout_s, _PATIENCE_S),
            "socket_connect_timeout": min(settings.redis_connect_timeout_s, _PATIENCE_S),
            "socket_keepalive": True,
            "health_check_interval": settings.redis_health_check_interval_s,
        },
    }


def _kombu_url(url: str) -> str:
    return url.replace("unix:", "redis+socket:", 1) if url.startswith("unix:") else url


def _problem(error: Exception) -> FntxError:
    """Return what redis-py said, where it is behind the error: a full Redis is not one that is away."""
    for cause in _causes(error):
        if isinstance(cause, foreign.RedisError) and isinstance(found := translate(cause), FntxError):
            return found
        if isinstance(cause, foreign.ResponseError):
            return Unavailable(WRITING, _first_line(cause), _NO_QUEUE)
    told = _first_line(error)
    return Unavailable("Redis", told, way_out(told, START_REDIS))


def _is_certain(error: Exception) -> bool:
    return any(
        isinstance(cause, _NOT_SENT) or (isinstance(cause, ssl.SSLError) and cause.reason in _NO_BEGINNING)
        for cause in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
