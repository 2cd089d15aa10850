"""What a tier is: a place that may hold a session's latest save, as stored."""

from typing import Protocol
from uuid import UUID

from fntx_sessions.state.snapshot import Packed


class Tier(Protocol):
    """One place to read the latest save from; it answers as stored, and the reader verifies."""

    name: str

    def get(self, session_id: UUID) -> Packed | None:
        """Return the session's save as this tier holds it; None: it has none. Raises Unavailable."""
        ...
