"""Sessions that hold positions while no agents worker lives: a person is told, once an outage, who runs their exits."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.database.hosting import GUARD_HOSTS, NO_AGENT_HOST_SINCE, POSITIONS
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.told import positions
from fntx_sessions.pasting import halt_command
from fntx_sessions.schemas import Severity
from fntx_sessions.state.event_rows import StateEvent, add_events

NO_HOST = "no_host"
_LEASES = 2

# Asked cheaply, first of all: an outage that was told is not looked at again.
_OUTAGE = text(f"""
SELECT o.since, {GUARD_HOSTS} AS guards FROM (SELECT {NO_AGENT_HOST_SINCE} AS since) AS o
WHERE coalesce(o.since, '-infinity') < now() - make_interval(secs => :long_s) AND EXISTS (SELECT FROM session_work
    WHERE next_step_at IS NOT NULL AND status <> 'closed')
  AND NOT EXISTS (SELECT FROM sweep_runs WHERE name = '{NO_HOST}' AND last_run > coalesce(o.since, '-infinity'))
""")
# Whatever was stepped since the last agents worker was gone was stepped by a guard.
_HOLDING = text(f"""
SELECT * FROM (
  SELECT s.session_id, {POSITIONS} AS positions, coalesce((w.measures ->> 'stored_at')::timestamptz
    > coalesce(CAST(:since AS timestamptz), '-infinity'), false) AS guarded
  FROM sessions s JOIN session_work w USING (session_id)
  WHERE w.next_step_at IS NOT NULL AND w.status <> 'closed'
) AS h WHERE positions > 0
""")
_TOLD = text(f"""
INSERT INTO sweep_runs (name, last_run) VALUES ('{NO_HOST}', now())
ON CONFLICT (name) DO UPDATE SET last_run = now()
""")


def tell_unattended(desk: Desk) -> int:
    """Put a critical event on every session with positions that no agents worker had for two leases; return how many.

    It says whether a guard has stepped the session since, and where, or that nobody has.
    """
    with transaction(desk.engine) as connection:
        outage = connection.execute(_OUTAGE, {"long_s": _LEASES * desk.settings.lease_s}).one_or_none()
        if outage is None:
            return 0
        events = [_event(row, outage) for row in connection.execute(_HOLDING, {"since": outage.since})]
        add_events(connection, events)
        connection.execute(_TOLD)
    return len(events)


def _event(row: Row[Any], outage: Row[Any]) -> StateEvent:
    since: datetime | None = outage.since
    dead = f" since {since:%d %b %H:%M:%S} UTC" if since else ""
    told = f"{positions(row.positions)}, and no agents worker lives{dead}: {_exits(row, outage)}. {_fix(row)}"
    once = since.isoformat() if since else "ever"
    return StateEvent(row.session_id, NO_HOST, once, told, Severity.CRITICAL, requires_action=True)


def _exits(row: Row[Any], outage: Row[Any]) -> str:
    if row.guarded:
        return f"its exits are run by the manager's guard, in {outage.guards or 'a worker that is gone now'}"
    return "nobody has run its exits since"


def _fix(row: Row[Any]) -> str:
    close = halt_command(f"session:{row.session_id}", "no agents worker", flatten=True)
    return f"Start one: `fntx up`; `fntx doctor` says which hangs. To close it now, without one: `{close}`"
