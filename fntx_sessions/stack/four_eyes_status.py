"""What takes two people, for `fntx doctor`: names that are none, and a desk on which nobody is told apart."""

from collections.abc import Iterator

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.security import roles
from fntx_sessions.settings import Settings
from fntx_sessions.stack.check import Check


def diagnose_four_eyes(settings: Settings) -> Iterator[Check]:
    """Yield whether what `four_eyes` names can take two people, where it names anything."""
    if not settings.four_eyes:
        return
    try:
        named = ", ".join(sorted(roles.of_two(settings)))
    except InvalidArgument as error:
        yield Check("two people", "fail", str(error), "Correct FNTX_FOUR_EYES: until then every command is refused.")
        return
    if settings.auth_mode == "open":
        told = f"{named}: but FNTX_AUTH_MODE=open tells nobody apart, and nothing waits"
        yield Check("two people", "fail", told, "unset FNTX_AUTH_MODE")
    else:
        yield Check("two people", "ok", f"{named} wait for a second person")
