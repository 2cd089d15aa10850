"""Keep a worker alive when its Redis goes away: a mend for kombu 5.7.0, import it before the app is made.

After a connection loss Celery 5.7 collects the connection and then closes it once more. The second close hands the
unacknowledged messages back through a channel whose transport has lost its connection already, and the AttributeError
that follows is in nobody's list of connection errors: the worker ends. Said as a connection error, it is handled where
all others are. See docs/decisions/0041-kombu-mend.md; tests/faults/test_broker_loss.py fails without it.
"""

from functools import wraps
from importlib.metadata import version as installed
from typing import Any

from kombu.transport.redis import Channel
from redis.exceptions import ConnectionError as RedisConnectionError

_CHANNEL: Any = Channel  # the stubs know only its public half
AFFECTED = frozenset({"5.7.0"})


def apply(version: str | None = None) -> bool:
    """Mend kombu's Redis channel where this version needs it; returns whether it is mended. Applies once."""
    if (version or installed("kombu")) not in AFFECTED:
        return False
    if not getattr(_CHANNEL._connparams, "mended", False):  # noqa: SLF001 - there is no public door
        _CHANNEL._connparams = _mended(_CHANNEL._connparams)  # noqa: SLF001
    return True


def _mended(original: Any) -> Any:
    @wraps(original)
    def connection_parameters(channel: Any, *args: Any, **kwargs: Any) -> Any:
        if channel.connection is None or channel.connection.client is None:
            raise RedisConnectionError("this channel's connection was closed")
        return original(channel, *args, **kwargs)

    connection_parameters.mended = True  # type: ignore[attr-defined]
    return connection_parameters


apply()
