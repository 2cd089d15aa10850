"""Closing positions from where somebody sits: the manager's own guard, stepped in this process, of sessions that stop.

For when nobody else steps them: no agents worker lives, or Redis is away and those that live cannot. Each session is
taken under a new epoch first, so that a worker that wakes up meanwhile sends nothing more. Postgres and the broker port
are all it needs. It never guesses a price: without fresh quotes nothing is sent, and a person is told to call the
broker.
"""

import time
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text

from fntx_sessions.automation.flattening_guard import Guard
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.database.hosting import NO_AGENT_HOST, POSITIONS
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.halting import matches
from fntx_sessions.schemas import Model, SessionStatus
from fntx_sessions.security.actor import Actor

_PAUSE_S = 0.2

_CLOSING = text(f"""
SELECT s.session_id, s.status, s.account_id, w.host_id, w.step_claimed_by, {POSITIONS} AS positions,
  EXISTS (SELECT FROM hosts o WHERE o.host_id = w.host_id AND o.lease_until > now()) AS host_lives,
  coalesce((s.pending ->> 'close_positions')::boolean, true) AS closes,
  s.pending ->> 'leave_positions_with' AS heir,
  (SELECT count(*) FROM order_intents i WHERE i.session_id = s.session_id AND i.state IN ('intended', 'working'))
    AS in_flight
FROM halts x JOIN sessions s ON {matches("x")} JOIN session_work w USING (session_id)
WHERE x.halt_id = :halt_id AND s.started_at IS NOT NULL
  AND (s.status = 'closing' OR (s.status = 'closed' AND s.ended_at >= x.created_at))
ORDER BY s.created_at
""")
_UNATTENDED = text(f"SELECT {NO_AGENT_HOST}")


class Flattened(Model):
    """What became of one session that was stopped.

    state: `closed`; `flat`, which closes by itself; `open`, with what keeps its positions; `left`, by its stop's own
    policy. positions: contracts and shares, by the ledger.
    """

    session_id: UUID
    account_id: str
    state: Literal["closed", "flat", "open", "left"]
    positions: int
    why: str = ""


def unattended(desk: Desk) -> bool:
    """Tell whether no agents worker lives; raises Unavailable."""
    with transaction(desk.engine) as connection:
        return bool(connection.execute(_UNATTENDED).scalar_one())


def flatten(desk: Desk, actor: Actor, halt_id: UUID, *, live: bool, steps: bool, within_s: float) -> list[Flattened]:
    """Close the positions of the sessions that a halt stopped, for at most `within_s`; return what became of each.

    live: Redis answers. steps False: agents workers step them; this only watches, as long as they get on with it.
    Raises Unavailable where Postgres is out of reach.
    """
    guard, until = Guard(desk, actor, live=live), time.monotonic() + within_s
    if not steps:
        return report(desk, halt_id, _watch(desk, guard, halt_id, until))
    with guard.hosting():
        while time.monotonic() < until and (found := _open(desk, halt_id, guard)):
            if not guard.step(found, until):
                time.sleep(_PAUSE_S)
    return report(desk, halt_id, guard.given_up)


def _watch(desk: Desk, guard: Guard, halt_id: UUID, until: float) -> dict[UUID, str]:
    """Wait while agents workers close positions; returns those of which nothing closed for a lease, or to the end."""
    before, moved = list[dict[str, Any]](), time.monotonic()
    while found := _open(desk, halt_id, guard):
        now = time.monotonic()
        if _standing(found) != _standing(before):
            before, moved = found, now
        if now >= until or now - moved > desk.settings.lease_s:
            break
        time.sleep(_PAUSE_S)
    told = (
        "agents workers are at it, and it is not closed yet: `fntx show ID` and `fntx events ID` say what it waits for"
    )
    return {row["session_id"]: told for row in found}


def _standing(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["session_id"], row["positions"], row["in_flight"]) for row in found]


def _open(desk: Desk, halt_id: UUID, guard: Guard) -> list[dict[str, Any]]:
    return [row for row in _stopped(desk, halt_id) if _is_waited_for(row, guard)]


def report(desk: Desk, halt_id: UUID, given_up: dict[UUID, str]) -> list[Flattened]:
    """Return how the sessions that a halt stopped stand. given_up: why no more was tried, where that is known."""
    return [_flattened(row, given_up.get(row["session_id"], "")) for row in _stopped(desk, halt_id)]


def _stopped(desk: Desk, halt_id: UUID) -> list[dict[str, Any]]:
    with transaction(desk.engine) as connection:
        return rows(connection.execute(_CLOSING, {"halt_id": halt_id}))


def _is_waited_for(row: dict[str, Any], guard: "Guard") -> bool:
    """Tell whether there is something to do: what is flat is waited for only where it can be closed."""
    if row["status"] == SessionStatus.CLOSED or not row["closes"] or row["session_id"] in guard.given_up:
        return False
    return guard.live or row["positions"] > 0 or row["in_flight"] > 0


def _flattened(row: dict[str, Any], why: str) -> Flattened:
    held = bool(row["positions"] or row["in_flight"])
    state: Literal["closed", "flat", "open", "left"] = "open" if held else "flat"
    if row["status"] == SessionStatus.CLOSED:
        state = "closed"
    elif not row["closes"]:
        state, why = "left", f"its stop leaves what it holds to {row['heir'] or 'nobody who is named'}"
    elif not held:
        why = why or "it closes by itself once Redis and a worker are back"
    else:
        why = why or "there was no more time: ask again"
    names = ("session_id", "account_id", "positions")
    return Flattened(state=state, why=why if state != "closed" else "", **{name: row[name] for name in names})
