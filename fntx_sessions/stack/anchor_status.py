"""How long ago the ends of the audit's chains were told outside Postgres, for `fntx status` and `fntx doctor`."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from fntx_sessions.settings import get_settings
from fntx_sessions.stack.check import Check

# The sweep looks each half minute; a slow cold store may take as long again.
_LATE_S = 120.0
_READ = text("""
SELECT (SELECT object_name FROM audit_anchors ORDER BY anchor DESC LIMIT 1) AS newest_name,
  count(*) AS anchors, max(made_at) AS newest,
  CAST(extract(epoch FROM now() - max(made_at)) AS float8) AS age_s,
  coalesce((SELECT broken FROM audit_anchors WHERE ends_full_run ORDER BY anchor DESC LIMIT 1), 0) AS broken,
  CAST(extract(epoch FROM now() - (SELECT min(created_at) FROM sessions)) AS float8) AS first_session_age_s
FROM audit_anchors
""")


@dataclass(frozen=True)
class AnchorsFound:
    """How many there are, and what the newest is called and of when; age_s, first_session_age_s: None without any."""

    newest_name: str | None
    anchors: int
    newest: datetime | None
    age_s: float | None
    broken: int
    first_session_age_s: float | None


def read_anchors(connection: Connection) -> AnchorsFound:
    """Return what Postgres knows of the anchors."""
    return AnchorsFound(*connection.execute(_READ).one())


def diagnose_anchors(found: AnchorsFound) -> Iterator[Check]:
    """Yield how old the newest anchor is, and whether a full run found what it could not."""
    every_s = get_settings().audit_anchor_interval_s
    if found.broken:
        told = f"{found.broken} ends of chains that anchors name are not in Postgres: rows were cut off or replaced"
        yield Check("audit", "fail", told, "fntx audit verify --all")
    elif found.age_s is not None and found.age_s < -_LATE_S:
        told = "Postgres has a note of an anchor from the future: it was forged, or the clock was set back"
        yield Check("audit", "fail", told, "fntx audit verify --all")
    elif found.age_s is None:
        waited = (found.first_session_age_s or 0.0) > _LATE_S
        told = "no anchor yet: whoever owns Postgres could cut rows off the audit's chains and nobody would see"
        yield Check("audit", "warn" if waited else "ok", told, _LOOK if waited else "")
    else:
        late = found.age_s > every_s + _LATE_S
        told = f"the newest of {found.anchors} anchors is {found.age_s:.0f} s old, one is due each {every_s:.0f} s"
        yield Check("audit", "warn" if late else "ok", told, _LOOK if late else "")


_LOOK = "read the log of worker_sweeps for fntx.sweeps.anchor; is the cold store in reach?"
