"""States as agents have them: names repeat, numbers do not, so that they compress some four times."""

import random

import orjson

_LEG_BYTES = 45


def agent_state(agent: str, size_bytes: int, seed: int) -> bytes:
    """Return an agent's part of about `size_bytes`, the same for the same seed."""
    dice = random.Random(seed)  # noqa: S311 - a benchmark's
    legs = [
        {"strike": 400 + number % 200, "bid": dice.randrange(10_000) / 100, "ask": dice.randrange(10_000) / 100}
        for number in range(size_bytes // _LEG_BYTES)
    ]
    return orjson.dumps(
        {"agent_id": agent, "last_update": "2024-01-02T14:30:00Z", "internal_state": {"legs": legs, "seed": seed}}
    )
