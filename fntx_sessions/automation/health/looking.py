"""Looking at sessions' health without changing anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.automation.health.checks import judge
from fntx_sessions.automation.health.facts import read_health_facts
from fntx_sessions.automation.health.rows import Looked
from fntx_sessions.database.engine import statements
from fntx_sessions.exceptions import InvalidArgument, NotFound
from fntx_sessions.lifecycle.execute import Desk

_LEAST_PREFIX = 4
_BY_PREFIX = text("SELECT session_id FROM sessions WHERE session_id::text LIKE :prefix ORDER BY session_id LIMIT 2")


@dataclass(frozen=True, slots=True)
class Look:
    """What was found. unseen: why Redis could not be asked, and agents were not judged; empty where it was."""

    looked: list[Looked]
    unseen: str = ""


def look(desk: Desk, session_ids: Sequence[UUID]) -> Look:
    """Judge the sessions that are there, in one question to each store. Raises Unavailable without Postgres."""
    read = read_health_facts(desk, session_ids)
    return Look([Looked(facts, judge(facts, desk.settings)) for facts in read.facts], read.unseen)


def check_session(desk: Desk, session_id: UUID) -> dict[str, Any]:
    """Return one session's checks as they are now, as JSON; raises NotFound and Unavailable."""
    found = look(desk, [session_id])
    if not found.looked:
        raise NotFound("session", str(session_id), "See `fntx ls`.")
    return found.looked[0].to_json() | {"unseen": found.unseen}


def session_id_of(engine: Engine, given: str) -> UUID:
    """Return the id that `given`, a whole id or its first 4 or more characters, stands for.

    Raises InvalidArgument when it is neither or fits several, NotFound when it fits none.
    """
    digits = given.strip().lower().replace("-", "")
    if len(digits) < _LEAST_PREFIX or set(digits) - set("0123456789abcdef"):
        raise InvalidArgument("session id", f"{given[:50]!r} is not one", f"Give {_LEAST_PREFIX} characters or more.")
    hyphened = "-".join(filter(None, (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])))
    with statements(engine) as connection:
        found = list(connection.execute(_BY_PREFIX, {"prefix": f"{hyphened}%"}).scalars())
    if not found:
        raise NotFound("session", given, "See `fntx ls`.")
    if len(found) > 1:
        raise InvalidArgument("session id", f"{given!r} fits several sessions", "Give more of it.")
    return UUID(str(found[0]))
