"""Sessions that hold positions while no host steps any: a person is told, once an outage."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.database.hosting import NO_AGENT_HOST_SINCE, POSITIONS
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.told import positions
from fntx_sessions.schemas import Severity
from fntx_sessions.state.event_rows import StateEvent, add_events

NO_HOST = "no_host"
_LEASES = 2

# Asked cheaply, first of all: an outage that was told is not looked at again.
_OUTAGE = text(f"""
SELECT o.since FROM (SELECT {NO_AGENT_HOST_SINCE} AS since) AS o
WHERE coalesce(o.since, '-infinity') < now() - make_interval(secs => :long_s) AND EXISTS (SELECT FROM session_work
    WHERE next_step_at IS NOT NULL AND status <> 'closed')
  AND NOT EXISTS (SELECT FROM sweep_runs WHERE name = '{NO_HOST}' AND last_run > coalesce(o.since, '-infinity'))
""")
_HOLDING = text(f"""
SELECT * FROM (
  SELECT s.session_id, {POSITIONS} AS positions FROM sessions s JOIN session_work w USING (session_id)
  WHERE w.next_step_at IS NOT NULL AND w.status <> 'closed'
) AS h WHERE positions > 0
""")
_TOLD = text(f"""
INSERT INTO sweep_runs (name, last_run) VALUES ('{NO_HOST}', now())
ON CONFLICT (name) DO UPDATE SET last_run = now()
""")


def tell_unattended(desk: Desk) -> int:
    """Put a critical event on every session with positions that nobody has stepped for two leases; return how many."""
    with transaction(desk.engine) as connection:
        outage = connection.execute(_OUTAGE, {"long_s": _LEASES * desk.settings.lease_s}).one_or_none()
        if outage is None:
            return 0
        events = [_event(row, outage.since) for row in connection.execute(_HOLDING)]
        add_events(connection, events)
        connection.execute(_TOLD)
    return len(events)


def _event(row: Row[Any], since: datetime | None) -> StateEvent:
    dead = f" since {since:%d %b %H:%M:%S} UTC" if since else ""
    told = f"{positions(row.positions)}, and no agents worker lives{dead}: exits do not run. {_FIX}"
    once = since.isoformat() if since else "ever"
    return StateEvent(row.session_id, NO_HOST, once, told, Severity.CRITICAL, requires_action=True)


_FIX = "Start one: `fntx up`; `fntx doctor` says which hangs. Or stop the session."
