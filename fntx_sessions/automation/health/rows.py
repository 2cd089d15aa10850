"""Which sessions are looked at now, and what the look leaves behind: a row each, an event where the grade changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Engine, text

from fntx_sessions.automation.health.facts import HealthFacts
from fntx_sessions.automation.health.model import Check, Grade, told, worst
from fntx_sessions.database.engine import statements
from fntx_sessions.schemas import Severity
from fntx_sessions.state.claims import LAZY

_CLAIM_S = 60.0
_CLAIM = text(f"""{LAZY}
WITH due AS (
  SELECT session_id FROM session_work
  WHERE next_health_at <= now() + :early_s * interval '1 second' AND coalesce(health_claimed_until < now(), true)
  ORDER BY next_health_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE session_work w SET health_claimed_until = now() + make_interval(secs => {_CLAIM_S})
FROM due WHERE w.session_id = due.session_id RETURNING w.session_id
""")
# Rows are locked in the order of their ids, as all who take many do. A session that moved on since it was read is
# looked at anew with the next sweep.
_STORE = text(f"""{LAZY}
WITH r AS (
  SELECT * FROM jsonb_to_recordset(CAST(:found AS jsonb)) AS x(session_id uuid, epoch bigint, grade text, checks jsonb,
    severity text, description text)
), locked AS (
  SELECT w.session_id FROM session_work w JOIN r USING (session_id) ORDER BY w.session_id FOR NO KEY UPDATE OF w
), mine AS (
  UPDATE session_work w SET health_claimed_until = NULL, next_health_at = CASE WHEN w.next_health_at IS NOT NULL
    THEN now() + :again_s * interval '1 second' END
  FROM r JOIN locked USING (session_id) WHERE w.session_id = r.session_id
  RETURNING w.session_id, w.epoch = r.epoch AS current
), kept AS (SELECT r.* FROM r JOIN mine USING (session_id) WHERE mine.current),
stored AS (
  INSERT INTO session_health AS h (session_id, grade, checks, checked_at, failed_since, failures)
  SELECT session_id, grade, checks, now(), CASE WHEN grade = 'failed' THEN now() END, (grade = 'failed')::int
  FROM kept ORDER BY session_id
  ON CONFLICT (session_id) DO UPDATE SET grade = excluded.grade, checks = excluded.checks, checked_at = now(),
    failed_since = CASE WHEN excluded.grade = 'failed' THEN coalesce(h.failed_since, now()) END,
    failures = CASE WHEN excluded.grade = 'failed' THEN h.failures + 1 ELSE 0 END
)
INSERT INTO events (event_id, session_id, timestamp, event_type, event_category, severity, description, requires_action)
SELECT gen_random_uuid(), session_id, clock_timestamp(), 'health_changed', 'health', severity, description, false
FROM kept WHERE description IS NOT NULL
""")
_SEVERITY = {Grade.OK: Severity.INFO, Grade.DEGRADED: Severity.WARNING, Grade.FAILED: Severity.ERROR}


@dataclass(frozen=True, slots=True)
class Looked:
    """One session with its checks."""

    facts: HealthFacts
    checks: list[Check]

    @property
    def grade(self) -> Grade:
        """The worst grade of all."""
        return worst(self.checks)

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.grade is Grade.FAILED]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form for people and other services."""
        facts = self.facts
        return {
            "session_id": str(facts.session_id),
            "status": facts.status.value,
            "grade": self.grade.value,
            "checked_at": facts.now.isoformat(),
            "agents": [one.name for one in facts.agents],
            "checks": [check.to_json() for check in self.checks],
        }


def claim_due(engine: Engine, limit: int, early_s: float) -> list[UUID]:
    """Claim up to `limit` sessions that are due within `early_s`, the longest due first; committed. Raises Unavailable.

    A sweep takes all together, so that it sees whether most fail at once, and none waits for the sweep after it; what
    another sweep has just looked at is left alone.
    """
    with statements(engine) as connection:
        return sorted(connection.execute(_CLAIM, {"limit": limit, "early_s": early_s}).scalars())


def store(engine: Engine, looked: Sequence[Looked], interval_s: float) -> None:
    """Keep what was found and give the sessions back until their next look. Raises Unavailable."""
    found = [_row(one) for one in looked]
    with statements(engine) as connection:
        connection.execute(_STORE, {"found": orjson.dumps(found).decode(), "again_s": interval_s})


def _row(one: Looked) -> dict[str, Any]:
    """Return what is kept of a look. Redis not seen: what is known to have failed, else what was told last."""
    grade, before = one.grade, one.facts.grade_before or Grade.OK
    if one.facts.unseen and grade is not Grade.FAILED:
        return _unchanged(one.facts, before)
    return {
        "session_id": str(one.facts.session_id),
        "epoch": one.facts.epoch,
        "grade": grade,
        "checks": [check.to_json() for check in one.checks if check.grade is not Grade.OK],
        "severity": _SEVERITY[grade],
        "description": None
        if grade == before
        else f"health {before} -> {grade}: {told(one.checks) or 'all is well'}"[:4000],
    }


def _unchanged(facts: HealthFacts, grade: str) -> dict[str, Any]:
    same = {"session_id": str(facts.session_id), "epoch": facts.epoch, "grade": grade, "checks": facts.before}
    return same | {"severity": Severity.INFO, "description": None}
