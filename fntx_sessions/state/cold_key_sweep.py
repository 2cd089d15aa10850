"""Key objects for sessions that have none yet, so that Postgres is not the only place that holds a running one's key.

A backtest's day is passed over: it is over in seconds, and gets its key object when it is archived.
"""

from time import monotonic
from uuid import UUID

import structlog
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import FntxError, Retryable, Shredded
from fntx_sessions.settings import Settings
from fntx_sessions.state.cold_keys import ensure_cold_key
from fntx_sessions.state.objects.base import ObjectStore

BATCH = 100
SWEEP_S = 4.0  # of the 5 between two: a slow store keeps one worker no longer
CLAIM_S = 60
_log = structlog.get_logger(__name__)

# One statement settles a batch of backtests for good, and claims the rest.
_CLAIM = text("""
WITH due AS (
  SELECT session_id FROM session_keys WHERE cold_due_at <= now() ORDER BY cold_due_at LIMIT :batch
  FOR NO KEY UPDATE SKIP LOCKED
), known AS (
  SELECT due.session_id, k.wrapped IS NOT NULL AND s.session_type IS DISTINCT FROM 'backtest' AS wanted
  FROM due JOIN session_keys k USING (session_id) LEFT JOIN sessions s USING (session_id)
)
UPDATE session_keys k SET cold_due_at = CASE WHEN known.wanted THEN now() + make_interval(secs => :claim_s) END
FROM known WHERE k.session_id = known.session_id RETURNING k.session_id, known.wanted
""")
_RELEASE = text("""
UPDATE session_keys SET cold_due_at = now() WHERE session_id = ANY(CAST(:ids AS uuid[])) AND cold_due_at IS NOT NULL
""")


def write_due(engine: Engine, settings: Settings, store: ObjectStore, *, until: float | None = None) -> int:
    """Write up to `BATCH` key objects that are due, or pass backtests over; return how many were dealt with.

    until: moment of the monotonic clock after which none is begun; the rest is due again at once. One that cannot be
    written is tried again when its claim is over, and all of them after an Unavailable or Busy, which is raised.
    """
    with transaction(engine) as connection:
        claimed = connection.execute(_CLAIM, {"batch": BATCH, "claim_s": CLAIM_S}).all()
    left = [row.session_id for row in claimed if row.wanted]
    while left and (until is None or monotonic() < until):
        _write(engine, settings, store, left[-1])
        left.pop()
    if left:
        with transaction(engine) as connection:
            connection.execute(_RELEASE, {"ids": list(map(str, left))})
    return len(claimed) - len(left)


def _write(engine: Engine, settings: Settings, store: ObjectStore, session_id: UUID) -> None:
    try:
        ensure_cold_key(engine, settings, store, session_id)
    except Retryable:
        raise
    except Shredded:
        return
    except FntxError as error:
        _log.error("cold_key.not_written", session_id=str(session_id), problem=str(error))
