"""Valkey or Redis as found: whether it answers, and whether it takes anything new."""

import contextlib
from dataclasses import dataclass, field
from typing import Any

import redis

from fntx_sessions.exceptions import Unavailable
from fntx_sessions.stack.check import first_line
from fntx_sessions.stack.queues import queue_depths, unacked
from fntx_sessions.state.redis_client import translate

CONNECT_S = 3
STANDS_STILL = (
    "meanwhile no sweep is handed out, no command is taken, no agent's report is kept and no hosted agent steps; "
    "saves of what it holds go on into Postgres, and what was acknowledged is safe"
)
_PROBE = "fntx:probe"


@dataclass(frozen=True)
class RedisStatus:
    """Valkey or Redis as found; `error` is None where it answered.

    refuses: why it takes nothing new, empty where it does; fix: what to do about that. max_bytes: 0, no limit.
    """

    error: str | None = None
    version: str | None = None
    policy: str | None = None
    append_only: bool = False
    used_bytes: int = 0
    max_bytes: int = 0
    refuses: str = ""
    fix: str = ""
    queues: dict[str, int] = field(default_factory=dict)
    unacked: int = 0

    @property
    def memory(self) -> str:
        """Say how much is in use, and of how much."""
        limit = f" of {self.max_bytes / 1e6:.1f} MB (maxmemory, {self.policy})" if self.max_bytes else ""
        return f"{self.used_bytes / 1e6:.1f} MB{limit} in use"

    def __str__(self) -> str:
        """Say how it is."""
        if self.error:
            return f"DOWN: {self.error}"
        refused = f"; TAKES NOTHING NEW: {self.refuses}; {STANDS_STILL}" if self.refuses else ""
        return f"{self.version}, {self.memory}{refused}"


def read_redis(url: str) -> RedisStatus:
    """Ask Valkey or Redis, and try a write that is gone in a second; an unreachable one is a finding, not an error."""
    client = redis.Redis.from_url(url, socket_timeout=CONNECT_S, socket_connect_timeout=CONNECT_S)
    with contextlib.closing(client):
        try:
            found: dict[str, Any] = client.info()
            refuses, fix = _refusal(client)
            return RedisStatus(
                version=str(found.get("valkey_version") or found.get("redis_version")),
                policy=found.get("maxmemory_policy"),
                append_only=bool(found.get("aof_enabled")),
                used_bytes=int(found.get("used_memory", 0)),
                max_bytes=int(found.get("maxmemory", 0)),
                refuses=refuses,
                fix=fix,
                queues=queue_depths(client),
                unacked=unacked(client),
            )
        except redis.RedisError as error:
            return RedisStatus(error=first_line(error))


def _refusal(client: redis.Redis) -> tuple[str, str]:
    """Return why it takes no write and what to do about it; raises redis-py's errors where it is out of reach."""
    try:
        client.set(_PROBE, b"", ex=1)
    except redis.ResponseError as error:
        known = translate(error)
        if isinstance(known, Unavailable):
            return str(known.args[1]), str(known.args[2])
        return first_line(error), "Give the user of FNTX_REDIS_URL the right to write."
    return "", ""
