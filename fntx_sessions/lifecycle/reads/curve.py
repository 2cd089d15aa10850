"""A session's P&L and exposure over time, thinned to what a picture can show; what stands out is never thinned away."""

from uuid import UUID

from pydantic import Field
from sqlalchemy import Engine, text

from fntx_sessions.lifecycle.reads.rows import of_session
from fntx_sessions.schemas import Finite, Model, Money, Time

# Of each stretch of time the first and the last, the lowest and the highest result, and the most at stake.
_EACH = 5
_CURVE = text("""
WITH span AS (
  SELECT extract(epoch FROM min(timestamp)) AS first, extract(epoch FROM max(timestamp)) AS last, count(*) AS samples
  FROM samples WHERE session_id = :session_id AND timestamp >= coalesce(CAST(:since AS timestamptz), '-infinity')
), placed AS (
  SELECT timestamp, net_pnl, exposure, spot,
    width_bucket(extract(epoch FROM timestamp), first, last + 1, CAST(:stretches AS int)) AS stretch
  FROM samples, span
  WHERE session_id = :session_id AND timestamp >= coalesce(CAST(:since AS timestamptz), '-infinity')
), ends AS (
  SELECT unnest(ARRAY[extract(epoch FROM min(timestamp)), extract(epoch FROM max(timestamp)),
    (min(ARRAY[net_pnl, extract(epoch FROM timestamp)]))[2], -(max(ARRAY[net_pnl, -extract(epoch FROM timestamp)]))[2],
    -(max(ARRAY[exposure, -extract(epoch FROM timestamp)]))[2]]) AS at FROM placed GROUP BY stretch
), kept AS (
  SELECT DISTINCT timestamptz 'epoch' + at * interval '1 second' AS timestamp FROM ends
)
SELECT r.timestamp IS NOT NULL AS found, r.timestamp, r.net_pnl, r.exposure, r.spot,
  (SELECT samples FROM span) AS samples
FROM sessions s LEFT JOIN (SELECT p.* FROM placed p JOIN kept USING (timestamp)) r ON true
WHERE s.session_id = :session_id ORDER BY r.timestamp
""")


class CurveQuery(Model):
    """curve: of which session, from when on (None: its first sample), in how many points at most."""

    session_id: UUID
    since: Time | None = None
    points: int = Field(default=200, ge=_EACH, le=5000)


class CurvePoint(Model):
    """One sample, on the session's clock. net_pnl: dollars since its start; exposure: dollars of short strikes.

    spot: SPY's price; None: nobody knew it.
    """

    timestamp: Time
    net_pnl: Money
    exposure: Money
    spot: Finite | None = None


class SessionCurve(Model):
    """What is shown of `samples` samples, oldest first; no points: none was taken, or they left with the archive."""

    session_id: UUID
    samples: int
    points: list[CurvePoint]


def get_curve(engine: Engine, asked: CurveQuery) -> SessionCurve:
    """Return the curve of a session in at most `points` of its samples; raises NotFound, Busy and Unavailable."""
    stretches = max(1, asked.points // _EACH)
    found = of_session(engine, _CURVE, asked.session_id, since=asked.since, stretches=stretches)
    taken = found[0]["samples"] if found else 0
    points = [CurvePoint.model_validate({name: row[name] for name in CurvePoint.model_fields}) for row in found]
    return SessionCurve(session_id=asked.session_id, samples=taken, points=points)
