"""Closing positions from where somebody sits: the manager's own guard, stepped in this process, of sessions that stop.

For when nobody else steps them: no agents worker lives, the one that had a session is lost or does not come to it, or
Redis is away and those that live cannot. Until then they are watched. Each session is taken under a new epoch first, so
that a worker that wakes up meanwhile sends nothing more. Postgres and the broker port are all it needs. It never
guesses a price: without fresh quotes nothing is sent, and a person is told at once to call the broker.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text

from fntx_sessions.automation.flattening_guard import Guard
from fntx_sessions.automation.flattening_watch import Watching, stands_still
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.database.hosting import NO_AGENT_HOST, POSITIONS
from fntx_sessions.lifecycle.elsewhere import read_elsewhere
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.halting import matches
from fntx_sessions.schemas import Model, SessionStatus
from fntx_sessions.security.actor import Actor

_PAUSE_S = 0.2

_CLOSING = text(f"""
SELECT s.session_id, s.status, s.account_id, s.config, w.host_id, w.step_claimed_by, {POSITIONS} AS positions,
  EXISTS (SELECT FROM hosts o WHERE o.host_id = w.host_id AND o.lease_until > now()) AS host_lives,
  {NO_AGENT_HOST} AS unattended, now() AS desk_now,
  extract(epoch FROM now() - w.next_step_at)::float8 AS overdue_s,
  (w.measures ->> 'stored_at')::timestamptz AS stepped_at,
  (SELECT e.description FROM events e WHERE e.session_id = s.session_id AND e.event_type = 'exit_blocked'
    AND e.timestamp >= x.created_at ORDER BY e.timestamp DESC LIMIT 1) AS blocked,
  coalesce((s.pending ->> 'close_positions')::boolean, true) AS closes,
  s.pending ->> 'leave_positions_with' AS heir,
  coalesce(s.pending -> 'reported' ? 'accepted', false) AS accepted,
  (SELECT count(*) FROM order_intents i WHERE i.session_id = s.session_id AND i.state IN ('intended', 'working'))
    AS in_flight
FROM halts x JOIN sessions s ON {matches("x")} JOIN session_work w USING (session_id)
WHERE x.halt_id = :halt_id AND s.started_at IS NOT NULL
  AND (s.status = 'closing' OR (s.status = 'closed' AND s.ended_at >= x.created_at))
ORDER BY s.created_at
""")


class Flattened(Model):
    """What became of one session that was stopped.

    state: `closed`; `flat`, which closes by itself; `open`, with what keeps its positions; `left`, by its stop's own
    policy. positions: open ones by the ledger, and what agents elsewhere report: contracts, and shares in lots of 100.
    """

    session_id: UUID
    account_id: str
    state: Literal["closed", "flat", "open", "left"]
    positions: int
    why: str = ""


def flatten(
    desk: Desk, actor: Actor, halt_id: UUID, *, live: bool, within_s: float, say: Callable[[str], None] | None = None
) -> list[Flattened]:
    """Close the positions of the sessions that a halt stopped, for at most `within_s`; return what became of each.

    live: Redis answers. What agents workers step is watched as long as they get on with it, and stepped here from the
    moment they do not. say: told who closes them, each time that changes. Raises Unavailable where Postgres is out of
    reach.
    """
    guard, until = Guard(desk, actor, live=live), time.monotonic() + within_s
    watching = Watching(desk, guard)
    told = say or (lambda _: None)
    with ExitStack() as hosted:
        while time.monotonic() < until and (found := _open(desk, halt_id, guard)):
            mine = [row for row in found if not live or watching.is_ours(row)]
            if mine and not guard.hosts:
                told("no agents worker steps them: closing positions here")
                hosted.enter_context(guard.hosting())
            elif not mine and not watching.began:
                told("agents workers close the positions")
            taken = {row["session_id"] for row in mine}
            watching.look([row for row in found if row["session_id"] not in taken])
            if not guard.step(mine, until):
                time.sleep(_PAUSE_S)
    return report(desk, halt_id, guard.given_up)


def _open(desk: Desk, halt_id: UUID, guard: Guard) -> list[dict[str, Any]]:
    # Redis away, nothing flat is waited for anyway: it is not asked each time.
    found = _with_theirs(desk, _stopped(desk, halt_id)) if guard.live else _stopped(desk, halt_id)
    return [row for row in found if _is_waited_for(row, guard)]


def report(desk: Desk, halt_id: UUID, given_up: dict[UUID, str]) -> list[Flattened]:
    """Return how the sessions that a halt stopped stand. given_up: why no more was tried, where that is known."""
    return [_flattened(row, given_up.get(row["session_id"], "")) for row in _with_theirs(desk, _stopped(desk, halt_id))]


def _stopped(desk: Desk, halt_id: UUID) -> list[dict[str, Any]]:
    with transaction(desk.engine) as connection:
        return rows(connection.execute(_CLOSING, {"halt_id": halt_id}))


def _with_theirs(desk: Desk, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add what agents elsewhere hold, until a risk manager has accepted it: nothing that could be closed here."""
    asked = [row["session_id"] for row in found if row["status"] != SessionStatus.CLOSED and not row["accepted"]]
    theirs = read_elsewhere(*desk.parts(), asked)
    known = {session_id: one for session_id, one in theirs.items() if not one.flat}
    return [row | {"theirs": known.get(row["session_id"])} for row in found]


def _is_waited_for(row: dict[str, Any], guard: Guard) -> bool:
    """Tell whether there is something to do: what is flat is waited for only where it can be closed."""
    if row["status"] == SessionStatus.CLOSED or not row["closes"] or row["session_id"] in guard.given_up:
        return False
    ours = row["positions"] > 0 or row["in_flight"] > 0
    return ours or (guard.live and row["theirs"] is None)


def _flattened(row: dict[str, Any], why: str) -> Flattened:
    held, theirs = bool(row["positions"] or row["in_flight"]), row["theirs"]
    state: Literal["closed", "flat", "open", "left"] = "open" if held else "flat"
    count = row["positions"] + (theirs.count if theirs else 0)
    if row["status"] == SessionStatus.CLOSED:
        state = "closed"
    elif not row["closes"]:
        state, why = "left", f"its stop leaves what it holds to {row['heir'] or 'nobody who is named'}"
        why += f"; {theirs.told()}" if theirs else ""
    elif theirs is not None:
        state = "open"
        why = "; ".join(filter(None, (why, theirs.obstacle(row["session_id"]))))
    elif not held:
        why = why or "it closes by itself once Redis and a worker are back"
    else:
        why = why or f"there was no more time: {stands_still(row)}"
    why = why if state != "closed" else ""
    return Flattened(session_id=row["session_id"], account_id=row["account_id"], state=state, positions=count, why=why)
