"""Callers nobody could verify, and messages that were none of ours, of the last hour: for `fntx doctor` and Health."""

from collections.abc import Iterator

from sqlalchemy import Connection

from fntx_sessions.security.refusals import Refused, read_lately
from fntx_sessions.stack.check import Check

WITHIN_S = 3600
# A few are people whose token is over; so many an hour are not.
MANY = 1000
# These are nobody's mistake.
_FORGED = frozenset({"forged", "unknown key", "wrong key", "other issuer", "other service"})
FIX = "`fntx audit refused` says when and where; whoever sends them reaches the broker: see docs/operations.md, A flood"


def read_refused(connection: Connection) -> list[Refused]:
    """Return who was refused within the hour, by kind."""
    return read_lately(connection, WITHIN_S)


def refused_sentence(found: list[Refused]) -> str:
    """Say how many of which kind, and what was wrong with the last of the most frequent."""
    if not found:
        return "none within the hour"
    kinds = ", ".join(f"{one.number:,} {one.kind}" for one in found)
    return f"{kinds} within the hour; the last {found[0].kind} at {', '.join(found[0].hosts)}: {found[0].last}"


def worrying(found: list[Refused]) -> bool:
    """Tell whether somebody should look who sends them."""
    return sum(one.number for one in found) >= MANY or any(one.kind in _FORGED for one in found)


def diagnose_refused(found: list[Refused]) -> Iterator[Check]:
    """Yield whether somebody floods or forges."""
    bad = worrying(found)
    yield Check("refused callers", "warn" if bad else "ok", refused_sentence(found), FIX if bad else "")
