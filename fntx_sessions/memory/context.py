"""Context on Redis: one stream an agent, the newest entries of it. What it says is also in Postgres, or was said once.

An entry has the fields `sender`, `context` (JSON), `session` (whose it is, or empty) and `about`: two entries with the
same `about` say the same thing, told again after a crash.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import redis

from fntx_sessions.memory.slices import SharedContext, plain_object
from fntx_sessions.settings import Settings
from fntx_sessions.state.redis_client import redis_errors

DESK_SENDER = "SessionLifecycleManager"  # who speaks when the desk itself does
_PREFIX = "fntx:context:"
_PAGE = 500
_LEAST_TTL_S = 60


@dataclass(frozen=True, slots=True)
class Told:
    """One thing to tell: by whom, to whom, what, and under which name it would be told again."""

    sender: str
    recipients: Sequence[str]
    context: Mapping[str, Any]
    about: str = ""


def stream(agent: str) -> str:
    """Return the key of an agent's stream."""
    return f"{_PREFIX}{{{agent}}}"


def share(client: redis.Redis, settings: Settings, told: Sequence[Told]) -> None:
    """Tell each recipient, in order, in one pipeline; raises Unavailable, when some may have been told."""
    ttl_s = max(_LEAST_TTL_S, int(settings.memory_keep_s))
    with redis_errors():
        pipeline = client.pipeline(transaction=False)
        keys = dict[str, None]()
        for one in told:
            entry = _entry(one)
            for recipient in dict.fromkeys(one.recipients):
                keys[stream(recipient)] = None
                pipeline.xadd(stream(recipient), entry, maxlen=settings.memory_context_entries, approximate=True)
        for key in keys:
            pipeline.expire(key, ttl_s)
        pipeline.execute()


def read(client: redis.Redis, agent: str, after: str | None, limit: int) -> list[SharedContext]:
    """Return what an agent was told after entry `after`, oldest first; None: the newest `limit`. Raises Unavailable."""
    with redis_errors():
        found: Any = (
            client.xrevrange(stream(agent), count=limit)
            if after is None
            else client.xrange(stream(agent), min=f"({after}", count=limit)
        )
    if after is None:
        found.reverse()
    return [_shared(entry_id, fields) for entry_id, fields in found]


def forget_session(client: redis.Redis, session_id: UUID) -> None:
    """Take what is about a session out of every agent's stream; raises Unavailable."""
    mine = str(session_id).encode()
    with redis_errors():
        for key in client.scan_iter(match=f"{_PREFIX}*", count=1000):
            ids = [entry_id for entry_id, fields in _entries(client, key) if fields.get(b"session") == mine]
            if ids:
                client.xdel(key, *ids)


def _entries(client: Any, key: bytes) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    first = "-"
    while found := client.xrange(key, min=first, count=_PAGE):
        yield from found
        first = f"({found[-1][0].decode()}"


def _entry(one: Told) -> dict[Any, Any]:
    context = plain_object(dict(one.context))
    return {
        "sender": one.sender,
        "context": orjson.dumps(context),
        "session": str(context.get("session_id") or ""),
        "about": one.about,
    }


def _shared(entry_id: bytes, fields: dict[bytes, bytes]) -> SharedContext:
    name = entry_id.decode()
    return SharedContext(
        entry_id=name,
        sender=fields[b"sender"].decode(),
        at=datetime.fromtimestamp(int(name.split("-")[0]) / 1000, UTC),
        context=orjson.loads(fields[b"context"]),
        about=fields.get(b"about", b"").decode(),
    )
