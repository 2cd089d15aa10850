"""A memory system that failed is left alone for a moment by everybody: whoever asks it is refused at once.

That it is down stands in Redis, so that one failure is enough for all workers, and lapses by itself. Redis away: it is
not known to be down.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis

from fntx_sessions.exceptions import Busy, Unavailable
from fntx_sessions.memory.calling import FIX, what
from fntx_sessions.settings import Settings
from fntx_sessions.state.redis_client import redis_errors

_KEY = "fntx:memory:down"
# So many failures and nothing that went well: it is down, and the rest of a batch is not tried.
IS_DOWN = 3


@contextmanager
def asked(client: redis.Redis, settings: Settings) -> Iterator[None]:
    """Run a block that asks the memory system; raises Unavailable at once while it is known to be down."""
    _refuse(client, settings)
    try:
        yield
    except Busy:
        locked = Unavailable(what(settings.memory), "its table `memories` is locked", FIX)
        _note_down(client, settings, locked.args[1])
        raise locked from None
    except Unavailable as error:
        if error.args[0] == what(settings.memory):
            _note_down(client, settings, error.args[1])
        raise


def note_outage(client: redis.Redis, settings: Settings, failed: int, *, well: bool) -> None:
    """Note that it is down where many calls failed and none went well."""
    if failed >= IS_DOWN and not well:
        _note_down(client, settings, "it took nothing of what it was handed")


def _note_down(client: redis.Redis, settings: Settings, why: str) -> None:
    with suppress(Unavailable), redis_errors():
        client.set(_key(settings), why, px=max(1, int(settings.memory_retry_s * 1000)))


def _refuse(client: redis.Redis, settings: Settings) -> None:
    told: Any = None
    with suppress(Unavailable), redis_errors():
        told = client.get(_key(settings))
    if told is not None:
        raise Unavailable(what(settings.memory), f"{told.decode()}; it is asked again in a moment", FIX)


def _key(settings: Settings) -> str:
    return f"{_KEY}:{settings.memory}"
