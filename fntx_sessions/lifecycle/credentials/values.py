"""What a credential may be called and hold."""

import re

from fntx_sessions.exceptions import InvalidArgument

# No slash: the name stands between slashes in what its value is sealed as.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")


def checked_name(name: str) -> str:
    """Return a name; raises InvalidArgument, which quotes nothing: somebody may have given the value for it."""
    if not _NAME.fullmatch(name):
        fix = "Begin with a letter, then letters, digits, `_`, `.` and `-`, 100 at most: broker_key."
        raise InvalidArgument("name", "is not a credential's", fix)
    return name


def checked_value(value: str, most_bytes: int) -> str:
    """Return a value; raises InvalidArgument that says what is wrong with it and nothing of it."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidArgument("value", "is no text", "Encode bytes, as base64 for one.") from None
    if not value.strip() or "\x00" in value:
        raise InvalidArgument("value", "is empty or holds a NUL", "Give the credential itself.")
    if size > most_bytes:
        problem = f"takes {size} bytes, {most_bytes} are allowed (FNTX_CREDENTIAL_MAX_BYTES)"
        raise InvalidArgument("value", problem, "Keep a key to it here, and the rest elsewhere.")
    return value
