"""Moments as people give them on a command line: a time in UTC, or how long ago."""

import re
from datetime import UTC, datetime, timedelta

from fntx_sessions.exceptions import InvalidArgument

_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment_given(told: str | None, option: str) -> datetime | None:
    """Return the time that `15m`, `2h`, `2026-01-05` or `2026-01-05T15:58` stands for; raises InvalidArgument."""
    if told is None:
        return None
    if ago := _AGO.fullmatch(told.strip()):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        found = datetime.fromisoformat(told.strip())
    except ValueError:
        fix = "Give a time in UTC, as 2026-01-05T15:58, or how long ago: 30s, 15m, 2h, 3d."
        raise InvalidArgument(option, f"{told[:40]!r} is no time", fix) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
