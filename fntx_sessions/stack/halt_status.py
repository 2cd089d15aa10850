"""The halts that stand, for `fntx status` and `fntx doctor`: one that is forgotten is why nothing starts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Connection, text

from fntx_sessions.lifecycle.halting import scope_text
from fntx_sessions.pasting import release_command
from fntx_sessions.stack.check import Check

_SHOWN = 20
_STANDING = text("""
SELECT halt_id, scope, scope_name, reason, flatten, actor, created_at FROM halts
WHERE released_at IS NULL ORDER BY created_at
""")


@dataclass(frozen=True)
class HaltFound:
    """A halt that stands. scope: as one writes it, `template:NAME`."""

    scope: str
    actor: str
    since: datetime
    reason: str
    flatten: bool
    halt_id: UUID

    def __str__(self) -> str:
        """Say what is halted, by whom, since when and why."""
        closing = ", to be flat" if self.flatten else ""
        since = f"{self.since.astimezone(UTC):%d %b %H:%M:%S} UTC"
        return f"{self.scope} is halted{closing}, by {self.actor} since {since}: {self.reason}"


def read_halts(connection: Connection) -> list[HaltFound]:
    """Return the halts that stand, oldest first."""
    return [
        HaltFound(scope_text(dict(row)), row["actor"], row["created_at"], row["reason"], row["flatten"], row["halt_id"])
        for row in connection.execute(_STANDING).mappings()
    ]


def halts_sentence(found: list[HaltFound]) -> str:
    """Say which halts stand."""
    told = "; ".join(map(str, found[:_SHOWN]))
    more = f"; and {len(found) - _SHOWN} more, see fntx halt ls" if len(found) > _SHOWN else ""
    return f"{told}{more}" if found else "none stands"


def diagnose_halts(found: list[HaltFound]) -> Iterator[Check]:
    """Yield a warning a halt that stands; a finding that there is none."""
    for halt in found[:_SHOWN]:
        told = f"{halt}; nothing in it starts, resumes or opens a position"
        yield Check("halt", "warn", told, f"when that is over: {release_command(halt.scope)}")
    if len(found) > _SHOWN:
        yield Check("halts", "warn", f"{len(found) - _SHOWN} more stand", "fntx halt ls")
    if not found:
        yield Check("halts", "ok", halts_sentence(found))
