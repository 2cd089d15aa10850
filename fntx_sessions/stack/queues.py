"""How much waits in the broker, counted as Celery's Redis transport keeps it."""

from typing import Any

import redis

# Celery's priorities on Redis are four lists a queue: the bare name holds the most urgent.
_PRIORITY_SUFFIXES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
# Messages a worker holds: one hash for quick workers, one for those whose queues are slow.
_UNACKED = ("unacked", "unacked_slow")


def queue_depths(client: redis.Redis) -> dict[str, int]:
    """Return queue -> messages waiting, over all priorities, in one round trip."""
    from tasks.routes import QUEUES  # noqa: PLC0415 -- the names belong to the Celery edge

    lists = [queue + suffix for queue in QUEUES for suffix in _PRIORITY_SUFFIXES]
    with client.pipeline(transaction=False) as pipeline:
        for name in lists:
            pipeline.llen(name)
        lengths: list[int] = pipeline.execute()
    width = len(_PRIORITY_SUFFIXES)
    return {queue: sum(lengths[i * width : (i + 1) * width]) for i, queue in enumerate(QUEUES)}


def unacked(client: redis.Redis) -> int:
    """Return how many messages workers hold without having finished them."""
    held: list[Any] = [client.hlen(name) for name in _UNACKED]
    return sum(held)
