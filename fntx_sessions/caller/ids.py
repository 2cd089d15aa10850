"""Session ids as people give them: whole, or their first characters where those fit one session alone."""

from typing import Any
from uuid import UUID

from fntx_sessions.exceptions import InvalidArgument, NotFound

LEAST_PREFIX = 4
SHOWN = 3
_FULL_ID = 32
_HEX = frozenset("0123456789abcdef")
_WHERE = {
    "checkpoint_id": "Copy it from `fntx checkpoints ID`.",
    "command_id": "Make one with uuid4(), and keep it to ask again.",
}


def as_id(value: UUID | str, field: str = "session_id") -> UUID:
    """Return an id given as UUID or text; raises InvalidArgument naming `field`."""
    try:
        return value if isinstance(value, UUID) else UUID(str(value))
    except ValueError:
        fix = _WHERE.get(field, "Copy it from `fntx ls`.")
        raise InvalidArgument(field, f"{str(value)[:60]!r} is not a UUID", fix) from None


def whole_or_prefix(given: str, field: str = "session_id") -> UUID | str:
    """Return a whole id, or the digits an id begins with, 4 or more; raises InvalidArgument naming `field`."""
    digits = given.strip().lower().replace("-", "")
    if not digits or set(digits) - _HEX or len(digits) > _FULL_ID:
        raise InvalidArgument(field, f"{given[:50]!r} is not one", "Copy it from `fntx ls`.")
    if len(digits) == _FULL_ID:
        return UUID(digits)
    if len(digits) < LEAST_PREFIX:
        raise InvalidArgument(field, f"{given!r} is too short", f"Give {LEAST_PREFIX} characters or more.")
    return digits


def prefix_question(digits: str) -> dict[str, Any]:
    """Return what `fntx.sessions.list` is asked to find the sessions whose ids begin so."""
    return {"id_prefix": digits, "include_children": True, "limit": SHOWN + 1}


def only(given: str, found: list[dict[str, Any]], field: str = "session_id") -> UUID:
    """Return the id of the one session found; raises NotFound for none, InvalidArgument for several."""
    if not found:
        raise NotFound("session", given, "See `fntx ls`.")
    if len(found) > 1:
        listed = ", ".join(row["session_id"] for row in found[:SHOWN]) + (" ..." if len(found) > SHOWN else "")
        raise InvalidArgument(field, f"{given!r} fits several sessions: {listed}", "Give more of it.")
    return UUID(found[0]["session_id"])
