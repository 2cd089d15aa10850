"""The Redis client of this process: bounded waits, one name for a session's keys, foreign errors translated once."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from uuid import UUID

import redis
from redis import exceptions as foreign

from fntx_sessions.exceptions import StackError, Unavailable, way_out
from fntx_sessions.settings import Settings, get_settings

# What is out of reach where Redis answers and takes nothing new.
WRITING = "Writing to Redis"
_START_REDIS = "Start the stack with `fntx up`, or set FNTX_REDIS_URL to a server that runs."

# It answers, and takes nothing: error -> what it is, and what to do about it.
TAKES_NOTHING: tuple[tuple[type[foreign.RedisError], str, str], ...] = (
    (
        foreign.OutOfMemoryError,
        "its memory is full",
        "Raise maxmemory or free some memory, it goes on by itself then. `fntx doctor` says how much it has.",
    ),
    (foreign.ReadOnlyError, "it is a replica", "Point FNTX_REDIS_URL at the primary."),
)
# Foreign error -> what to do about it. Whatever is not listed is a bug of ours and stays itself.
OUT_OF_REACH: tuple[tuple[type[foreign.RedisError], str], ...] = (
    (foreign.AuthenticationError, "Check the user and password in FNTX_REDIS_URL."),
    (foreign.ConnectionError, _START_REDIS),
    (foreign.TimeoutError, _START_REDIS),
    (foreign.ClusterDownError, _START_REDIS),
    (foreign.MasterDownError, _START_REDIS),
)

_GIVE_RIGHTS = "Give it those of its line in deploy/redis.acl; `ACL LOG` of the server says what was refused."
_PORTION_BYTES = 256_000


def build_redis(url: str, settings: Settings) -> redis.Redis:
    """Return a client for `url` (redis://, rediss:// or unix://) whose every wait is bounded; it speaks bytes."""
    tcp: dict[str, Any] = {} if url.startswith("unix:") else {"socket_keepalive": True}
    return redis.Redis.from_url(
        url,
        socket_timeout=settings.redis_socket_timeout_s,
        socket_connect_timeout=settings.redis_connect_timeout_s,
        health_check_interval=settings.redis_health_check_interval_s,
        decode_responses=False,
        **tcp,
    )


@lru_cache(maxsize=1)
def get_redis() -> redis.Redis:
    """Return this process's client, built on first use; raises Unavailable when no Redis is configured."""
    settings = get_settings()
    if settings.redis_url is None:
        raise Unavailable("Redis", "no address is configured", _START_REDIS)
    return build_redis(settings.redis_url.get_secret_value(), settings)


# A forked child must not speak on its parent's sockets. Forgetting the client closes only the child's copies.
os.register_at_fork(after_in_child=get_redis.cache_clear)


def key(session_id: UUID, name: str) -> str:
    """Return the key of one thing of one session; the braces keep a session on one node of a cluster."""
    return f"fntx:{{{session_id}}}:{name}"


def ask_many(client: redis.Redis, packed: Sequence[bytes]) -> list[Any]:
    """Send commands that are packed already and return their answers: a pipeline that costs little for each.

    An answer that is an error is returned as it is, in its place; raises Unavailable when Redis is out of reach.
    """
    if not packed:
        return []
    with redis_errors():
        connection = client.connection_pool.get_connection()
        try:
            connection.send_packed_command(_portions(packed))  # type: ignore[no-untyped-call]
            return [_answer(connection) for _ in packed]
        except BaseException:
            connection.disconnect()  # type: ignore[no-untyped-call]  # what else it answers belongs to nobody
            raise
        finally:
            client.connection_pool.release(connection)


def _portions(packed: Sequence[bytes]) -> list[bytes]:
    """Join small commands: one write to the socket each would cost more than they do."""
    portions, small, size = list[bytes](), list[bytes](), 0
    for command in packed:
        small.append(command)
        size += len(command)
        if size > _PORTION_BYTES:
            portions.append(b"".join(small))
            small, size = [], 0
    return [*portions, b"".join(small)] if small else portions


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except foreign.ResponseError as error:
        return error


@contextmanager
def redis_errors() -> Iterator[None]:
    """Run a block that talks to Redis; raises Unavailable where Redis cannot be reached or takes no more.

    Raises StackError where its user lacks a right.
    """
    try:
        yield
    except foreign.RedisError as error:
        raise translate(error) from error


def translate(error: foreign.RedisError) -> Unavailable | StackError | foreign.RedisError:
    """Return Unavailable for an error of the server or the way to it, StackError for a right that we lack there.

    Any other error is returned as it is.
    """
    # What it says of a pipeline begins with the command; nobody who reads this has sent it.
    told = str(error).rpartition(" caused error: ")[2].rstrip(".") or type(error).__name__
    if isinstance(error, foreign.NoPermissionError):
        return StackError(f"the user of FNTX_REDIS_URL lacks a right: {told}", _GIVE_RIGHTS)
    for refusal, problem, fix in TAKES_NOTHING:
        if isinstance(error, refusal):
            return Unavailable(WRITING, f"{problem} ({told})", fix)
    for kind, fix in OUT_OF_REACH:
        if isinstance(error, kind):
            return Unavailable("Redis", told, way_out(told, fix))
    # The library has no class for a server that takes no writes because it cannot store them, as on a full disk.
    return Unavailable(WRITING, told, way_out(told, "See `fntx doctor`.")) if told.startswith("MISCONF") else error
