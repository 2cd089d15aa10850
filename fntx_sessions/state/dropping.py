"""Weeks of history that are old enough leave Postgres: their partition is dropped, never deleted from.

Only once each session's rows in it are in a proven segment or archive, counted again under a lock that keeps late
writers out. Rows that a session's measures are made of (fills, samples, transitions) stay until its archive has taken
over, those of a pinned session as long as it is pinned: they move into the past, and are read and counted as before. So
P&L, trades, drawdown and durations of a session that goes on never change by what is dropped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.history import RELATIONS
from fntx_sessions.database.partitions import changing, patiently, run
from fntx_sessions.database.past import drop_week, prove_past
from fntx_sessions.database.weeks import Week, layouts
from fntx_sessions.settings import Settings
from fntx_sessions.state.segment_rows import old_weeks
from fntx_sessions.testing import failpoint

COUNT_TIMEOUT_MS = 120_000  # counting a week holds up nobody but late writers into that very week
KEPT_MAX = 200_000  # rows that may move into the past while everybody waits; with more of them the week stays
_SHOWN = 20
# What became of each session's rows in a week. open: in no proven segment or archive that holds all of them.
_STATE = """
WITH h AS (SELECT session_id, count(*) AS n, max(timestamp) AS latest FROM ONLY {week} GROUP BY session_id), x AS (
  SELECT h.session_id, h.n, coalesce(s.pinned, false) AS pinned, s.session_id IS NOT NULL AND NOT EXISTS (SELECT
      FROM archives a WHERE a.session_id = h.session_id AND a.rows_dropped_at IS NOT NULL) AS counted, NOT (
      EXISTS (SELECT FROM archives a WHERE a.session_id = h.session_id AND a.verified_at IS NOT NULL
        AND a.archived_at >= h.latest)
      OR EXISTS (SELECT FROM archive_segments g WHERE g.session_id = h.session_id AND g.relation = :relation
        AND g.week = :week AND g.verified_at IS NOT NULL AND g.rows = h.n)
      OR EXISTS (SELECT FROM session_keys k WHERE k.session_id = h.session_id AND k.shredded_at IS NOT NULL)) AS open
  FROM h LEFT JOIN sessions s USING (session_id)
)
SELECT coalesce(array_agg(session_id) FILTER (WHERE pinned OR (counted AND :measured)), '{{}}') AS kept,
  coalesce(sum(n) FILTER (WHERE pinned OR (counted AND :measured)), 0)::bigint AS kept_rows,
  coalesce(array_agg(session_id) FILTER (WHERE open AND NOT pinned), '{{}}') AS open
FROM x
"""
# A row came after the segment was proven: it is written again.
_AGAIN = text("""
UPDATE archive_segments SET verified_at = NULL
WHERE relation = :relation AND week = :week AND session_id = ANY(CAST(:ids AS uuid[]))
""")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _State:
    """kept: sessions whose rows stay, how many rows; open: sessions whose rows are not proven to be elsewhere."""

    kept: list[UUID]
    kept_rows: int
    open: list[UUID]

    @property
    def droppable(self) -> bool:
        """Tell whether nothing is lost by dropping it, and nobody waits long."""
        return not self.open and self.kept_rows <= KEPT_MAX


def drop_due(engine: Engine, settings: Settings) -> list[str]:
    """Drop the weeks that ended longer than `warm_keep_s` ago, each relation's oldest first; return their names.

    engine: one that may change tables. A week that has to stay keeps the later ones of its relation; why is logged.
    """
    waiting: set[str] = set()
    dropped = []
    for relation, week in old_weeks(engine, settings.warm_keep_s):
        if relation in waiting:
            continue
        if patiently(week.name, _dropping(engine, relation, week)):
            dropped.append(week.name)
        else:
            waiting.add(relation)
    return dropped


def _dropping(engine: Engine, relation: str, week: Week) -> Callable[[], bool]:
    return lambda: _ready(engine, relation, week) and _drop(engine, relation, week)


def _ready(engine: Engine, relation: str, week: Week) -> bool:
    """Look without any lock first; what came late is made due again."""
    with changing(engine, COUNT_TIMEOUT_MS) as connection:
        layout = layouts(connection)[relation]
        if week not in layout.weeks or week.since != layout.past_until:
            return False
        state = _state(connection, relation, week)
        if state.open:
            connection.execute(_AGAIN, {"relation": relation, "week": week.since, "ids": list(map(str, state.open))})
    if not state.droppable:
        _tell(week, state)
        return False
    prove_past(engine, layout, COUNT_TIMEOUT_MS)
    failpoint("partition.drop_ready")
    return True


def _drop(engine: Engine, relation: str, week: Week) -> bool:
    with changing(engine, COUNT_TIMEOUT_MS) as connection:
        layout = layouts(connection)[relation]
        if week not in layout.weeks or week.since != layout.past_until:
            return False
        run(connection, f"LOCK TABLE ONLY {week.name} IN SHARE MODE")
        state = _state(connection, relation, week)
        if not state.droppable:
            return False
        failpoint("partition.counted")
        kept = drop_week(connection, layout, week, state.kept)
        failpoint("partition.drop_before_commit")
    failpoint("partition.drop_committed")
    _log.info("partition_dropped", partition=week.name, kept=kept)
    return True


def _state(connection: Connection, relation: str, week: Week) -> _State:
    statement = text(_STATE.format(week=week.name))
    bound = {"relation": relation, "week": week.since, "measured": RELATIONS[relation].measured}
    row = connection.execute(statement, bound).one()
    return _State(list(row.kept), row.kept_rows, list(row.open))


def _tell(week: Week, state: _State) -> None:
    shown = [str(session_id) for session_id in state.open[:_SHOWN]]
    _log.warning("partition_stays", partition=week.name, open=len(state.open), sessions=shown, kept=state.kept_rows)
