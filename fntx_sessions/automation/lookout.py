"""Who tells that beat or a sweep stands still: every worker, from a thread of its own, for no sweep could.

One look each few seconds and desk, whichever worker's thread comes first. What is found becomes alerts; while beat is
dead nobody steps, so that each session with positions is told too, once an outage.
"""

import threading
from collections.abc import Iterator
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, Row, text

from fntx_sessions.automation.alerts import Alert, Changes, Found, settle_in
from fntx_sessions.automation.lag import DUE, Lag, read_lag
from fntx_sessions.database.engine import transaction
from fntx_sessions.database.hosting import POSITIONS
from fntx_sessions.exceptions import FntxError
from fntx_sessions.lifecycle.told import positions
from fntx_sessions.schemas import Severity
from fntx_sessions.settings import Settings
from fntx_sessions.state.event_rows import StateEvent, add_events

BEAT_LATE, SWEEP_LATE, OVERDUE = "beat_late", "sweep_late", "sessions_overdue"
LOOK_S = 5.0
# A stack brings workers up before beat, on a busy machine long before.
_PATIENCE = 2
_log = structlog.get_logger(__name__)

_CLAIM = text("""
INSERT INTO sweep_runs AS s (name, last_run) VALUES ('lookout', now())
ON CONFLICT (name) DO UPDATE SET previous_run = s.last_run, last_run = now()
WHERE s.last_run < now() - :every_s * interval '1 second' RETURNING 1
""")
_HOLDING = text(f"""
SELECT * FROM (
  SELECT s.session_id, {POSITIONS} AS positions FROM sessions s JOIN session_work w USING (session_id)
  WHERE w.status IN ('active', 'paused', 'suspended', 'closing', 'error') AND s.started_at IS NOT NULL
) AS h WHERE positions > 0
""")
_BEAT_FIX = "See whether beat and a worker of `sweeps` run: `fntx doctor` says; `fntx up` starts what is missing."
_STILL = "no session is stepped, no exit runs, no rule is judged and no dead worker is noticed"
_SWEEP_FIX = "Start more workers for its queue, or read their logs; `fntx status` has all sweeps."


def look(engine: Engine, settings: Settings, *, every_s: float = 0.0) -> Changes | None:
    """Look once and let the alerts be what was found; None: somebody looked within `every_s`. Raises Unavailable."""
    with transaction(engine) as connection:
        if not connection.execute(_CLAIM, {"every_s": every_s}).first():
            return None
        changes = settle_in(connection, (BEAT_LATE, SWEEP_LATE, OVERDUE), list(_found(read_lag(connection, settings))))
        for alert in changes.raised:
            if alert.name == BEAT_LATE:
                _tell_sessions(connection, alert)
    return changes


def _found(lag: Lag) -> Iterator[Found]:
    if lag.beat_late:
        told = f"nothing that beat sent has run for {lag.beat_lag_s:.0f} s: {_STILL}. {_BEAT_FIX}"
        yield Found(BEAT_LATE, "beat", Severity.CRITICAL, told)
        return  # which says all the rest
    for name, sweep in lag.late.items():
        yield Found(SWEEP_LATE, name, Severity.WARNING, f"the sweep {name} is {sweep}. {_SWEEP_FIX}")
    for kind, overdue in lag.waiting.items():
        fix = f"The sweep {DUE[kind][1]} is behind: read the log of its worker. `fntx status` has all."
        yield Found(OVERDUE, kind, Severity.WARNING, f"{kind}: {overdue}. {fix}")


def _tell_sessions(connection: Connection, alert: Alert) -> None:
    add_events(connection, [_event(row, alert) for row in connection.execute(_HOLDING)])


def _event(row: Row[Any], alert: Alert) -> StateEvent:
    told = f"{positions(row.positions)}, and {alert.description}"
    return StateEvent(row.session_id, BEAT_LATE, alert.since.isoformat(), told, Severity.CRITICAL, requires_action=True)


class Lookout:
    """Looks each few seconds, from a thread of a worker's main process."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        """Take an engine that no pool forks over."""
        self._engine, self._settings = engine, settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fntx-lookout", daemon=True)

    def start(self) -> None:
        """Begin to look, once beat has had time to come up."""
        self._thread.start()

    def end(self) -> None:
        """Stop; a look under way is finished."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._settings.db_statement_timeout_ms / 1000)

    def _run(self) -> None:
        wait_s = _PATIENCE * self._settings.beat_late_s
        while not self._stop.wait(wait_s):
            wait_s = min(LOOK_S, self._settings.beat_late_s)
            try:
                look(self._engine, self._settings, every_s=0.9 * wait_s)
            except FntxError as error:
                _log.warning("lag_not_measured", problem=str(error))
            except Exception:  # noqa: BLE001 -- logged whole; the next look may fare better, and nobody else looks
                _log.exception("lag_not_measured")
