"""What is marked on a session's curve: transitions, trades, checkpoints and alerts, at moments of the curve's clock."""

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.lifecycle.reads.asked import HistoryQuery, Kind
from fntx_sessions.lifecycle.reads.rows import one
from fntx_sessions.lifecycle.reads.timeline import history_rows, in_words
from fntx_sessions.schemas import Model, Severity, Time

# Events from this severity on are alerts.
ALERTS_FROM = Severity.WARNING
_KINDS: tuple[Kind, ...] = ("transition", "trade", "checkpoint", "event")
# When, by the wall, a simulated clock stood where; no rows for a session that goes by the wall.
_ANCHORS = text("""
WITH simulated AS (
  SELECT s.session_id, s.started_at FROM sessions s JOIN session_work w USING (session_id)
  WHERE s.session_id = :session_id AND w.hosted AND s.config #>> '{feed,kind}' <> 'published'
), span AS (
  SELECT min(timestamp) AS first, max(timestamp) AS last FROM samples WHERE session_id = :session_id
)
SELECT wall, clock FROM (
  (SELECT recorded_at AS wall, timestamp AS clock FROM fills WHERE session_id = :session_id
    ORDER BY timestamp DESC LIMIT :limit)
  UNION ALL (SELECT timestamp, clock_at FROM rule_decisions WHERE session_id = :session_id AND clock_at IS NOT NULL
    ORDER BY seq DESC LIMIT :limit)
  UNION ALL SELECT i.started_at, span.first FROM simulated i, span
  UNION ALL SELECT coalesce((SELECT min(timestamp) FROM transitions
    WHERE session_id = :session_id AND to_status = 'closing'), clock_timestamp()), span.last FROM span
) known WHERE wall IS NOT NULL AND clock IS NOT NULL AND EXISTS (SELECT FROM simulated) ORDER BY wall, clock
""")
_ANCHORS_MOST = 500

_ALERTS = ", ".join(f"'{one.value}'" for one in list(Severity)[list(Severity).index(ALERTS_FROM) :])
# The index of alerts is found by these very words.
NEWEST = text(f"""
SELECT concat_ws('.', s.version, (SELECT max(timestamp) FROM samples WHERE session_id = s.session_id),
  (SELECT count(*) FROM checkpoints WHERE session_id = s.session_id),
  (SELECT max(timestamp) FROM fills WHERE session_id = s.session_id),
  (SELECT max(timestamp) FROM agent_reports WHERE session_id = s.session_id AND kind = 'trade'),
  (SELECT max(timestamp) FROM events WHERE session_id = s.session_id AND severity IN ({_ALERTS}))) AS newest
FROM sessions s WHERE s.session_id = :session_id
""")


class Mark(Model):
    """One thing that happened. kind: transition, trade, checkpoint or alert; what: in a few words."""

    at: Time
    kind: str
    what: str


class SessionMarks(Model):
    """Marks by their time. left_out: kinds of which there are more, earlier ones.

    simulated: the curve's clock is the session's own, and what carries the desk's time is placed where, as far as is
    known, the session's clock stood then.
    """

    marks: list[Mark]
    left_out: list[str]
    simulated: bool


def get_marks(engine: Engine, session_id: UUID, each: int) -> SessionMarks:
    """Return the newest `each` marks of every kind; raises NotFound."""
    placed = _placing(engine, session_id)
    marks, left_out = [], []
    for kind in _KINDS:
        severity = ALERTS_FROM if kind == "event" else None
        asked = HistoryQuery(session_id=session_id, kinds=[kind], severity=severity, newest=True)
        found = history_rows(engine, asked, each + 1)
        name = "alert" if kind == "event" else kind
        left_out += [name] if len(found) > each else []
        for row in found[:each]:
            at = row["at"] if kind == "trade" or placed is None else placed(row["at"])
            marks.append(Mark(at=at, kind=name, what=in_words(row)))
    return SessionMarks(marks=sorted(marks, key=lambda mark: mark.at), left_out=left_out, simulated=placed is not None)


def newest_of(engine: Engine, session_id: UUID) -> str:
    """Return what differs from before where the curve or its marks do; raises NotFound."""
    return str(one(engine, NEWEST, session_id)["newest"])


def _placing(engine: Engine, session_id: UUID) -> Callable[[datetime], datetime] | None:
    with transaction(engine) as connection:
        found = rows(connection.execute(_ANCHORS, {"session_id": session_id, "limit": _ANCHORS_MOST}))
    anchors = [(row["wall"].timestamp(), row["clock"].timestamp()) for row in found]
    return (lambda at: datetime.fromtimestamp(between(anchors, at.timestamp()), UTC)) if anchors else None


def between(anchors: list[tuple[float, float]], wall: float) -> float:
    """Return where a clock stood at a moment of the wall: in line between the nearest two known moments."""
    after = bisect_right(anchors, (wall, float("inf")))
    if after == 0:
        return anchors[0][1]
    if after == len(anchors):
        return anchors[-1][1]
    (wall_0, clock_0), (wall_1, clock_1) = anchors[after - 1 : after + 1]
    return clock_0 + (clock_1 - clock_0) * (wall - wall_0) / (wall_1 - wall_0)
