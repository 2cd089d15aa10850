"""A desk that asks nobody for a token: said wherever somebody looks, as it is for tests alone."""

from fntx_sessions.settings import Settings

VARIABLE = "FNTX_AUTH_MODE"
# No `NAME=value` of something that sounds secret: logs would hide the value.
OPEN_TOLD = (
    f"this desk asks nobody for a token ({VARIABLE} is open): whoever reaches Redis may do everything on it, and the "
    "audit names nobody. It is for tests."
)
CLOSE_IT = f"unset {VARIABLE}; fntx down; fntx up"


def is_open(settings: Settings) -> bool:
    """Tell whether commands need no token."""
    return settings.auth_mode == "open"
