"""Arguments of an address that are numbers."""

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.monitoring.flower.page import Asked

_MOST = 2**62
_DIGITS = 19


def whole(given: str) -> int | None:
    """Return a whole number from 0 on, None for anything else: `isdigit` alone lets superscripts pass."""
    return int(given) if given.isascii() and given.isdigit() and len(given) <= _DIGITS else None


def number(asked: Asked, name: str, *, most: int = _MOST) -> int | None:
    """Return an argument that is a whole number from 1 on, None where it was not given; raises InvalidArgument."""
    given = asked.get(name)
    if not given:
        return None
    found = whole(given)
    if found is None or not 1 <= found <= most:
        raise InvalidArgument(name, f"{given[:50]!r} is no number from 1 to {most}", "Go there by the page's links.")
    return found
