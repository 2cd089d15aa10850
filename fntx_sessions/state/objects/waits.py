"""How long a cold store is waited for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waits:
    """Bounds of every request: seconds for one answer, seconds of trying again, bytes above which pieces are sent."""

    timeout_s: float = 10.0
    retry_s: float = 30.0
    resumable_bytes: int = 8_000_000
