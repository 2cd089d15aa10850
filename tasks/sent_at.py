"""When beat sent a message, in its headers: how a worker tells a late beat from a late worker."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

SENT_AT_HEADER = "fntx_sent_at"


def now_as_header() -> str:
    """Return the present moment as the header says it."""
    return datetime.now(UTC).isoformat()


def moment_of(headers: Mapping[str, Any] | None) -> datetime | None:
    """Return when beat sent it, aware; None where it did not, or says no time: whoever can send can write anything."""
    said = (headers or {}).get(SENT_AT_HEADER)
    try:
        moment = datetime.fromisoformat(said) if isinstance(said, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo else None
