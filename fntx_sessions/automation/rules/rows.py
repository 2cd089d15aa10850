"""Claiming sessions whose rules are due, and writing what judging them left, a batch in one statement each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.automation.rules.facts import MOMENT_COLUMNS
from fntx_sessions.automation.rules.judgement import Kept
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.lifecycle.records import to_json

Row = dict[str, Any]

_CLAIM = text(f"""
WITH due AS (
  SELECT session_id, next_rule_at FROM session_work
  WHERE next_rule_at <= now() AND (rule_claimed_until IS NULL OR rule_claimed_until < now())
  ORDER BY next_rule_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE session_work w SET rule_claimed_until = now() + make_interval(secs => :claim_s)
FROM due JOIN sessions s USING (session_id) WHERE w.session_id = due.session_id
RETURNING {MOMENT_COLUMNS}, w.rule_claimed_until AS claimed_until, due.next_rule_at AS due_at
""")
# Of what is `kept` of sessions: their standing, their decisions, the newest `most` of those, and events.
WRITE = """
rule_row AS (
  INSERT INTO rule_states AS r (session_id, state, evaluated_at, missing_since, retry_at, retries, decision_seq)
  SELECT session_id, state, now(), CASE WHEN missing THEN now() END, retry_at, retries, decision_seq
  FROM rule_kept
  ON CONFLICT (session_id) DO UPDATE SET state = excluded.state, evaluated_at = now(),
    missing_since = CASE WHEN excluded.missing_since IS NOT NULL THEN coalesce(r.missing_since, now()) END,
    retry_at = excluded.retry_at, retries = excluded.retries, decision_seq = excluded.decision_seq
), rule_decided AS (
  INSERT INTO rule_decisions (session_id, seq, timestamp, clock_at, status, action, outcome, why, truths, command_id)
  SELECT k.session_id, d.seq, now(), d.clock_at, d.status, d.action, d.outcome, d.why, d.truths, d.command_id
  FROM rule_kept k, jsonb_to_recordset(k.decisions) AS d(seq bigint, clock_at timestamptz, status text, action text,
    outcome text, why text, truths jsonb, command_id uuid)
  ON CONFLICT (session_id, seq) DO NOTHING
), rule_old AS (
  DELETE FROM rule_decisions o USING rule_kept k
  WHERE k.decisions <> '[]' AND o.session_id = k.session_id AND o.seq <= k.decision_seq - k.most
), rule_told AS (
  INSERT INTO events (event_id, session_id, event_type, event_category, severity, description, requires_action)
  SELECT t.event_id, k.session_id, t.event_type, t.event_category, t.severity, t.description, t.requires_action
  FROM rule_kept k, jsonb_to_recordset(k.events) AS t(event_id uuid, event_type text, event_category text,
    severity text, description text, requires_action boolean)
  WHERE NOT EXISTS (SELECT FROM events e WHERE e.session_id = k.session_id AND e.event_id = t.event_id)
)
"""
COLUMNS = """state jsonb, missing boolean, retry_at timestamptz, retries integer, decision_seq bigint,
  decisions jsonb, events jsonb, most integer"""
# A claim that lapsed and is another's writes nothing. What a command made due meanwhile stays so. Rows are locked in
# order, as saves do, so that two batches never wait for each other crosswise.
_FINISH = text(f"""
WITH j AS (
  SELECT * FROM jsonb_to_recordset(CAST(:judged AS jsonb)) AS x(session_id uuid, claimed_until timestamptz,
    due_at timestamptz, again_s float8, kept jsonb)
), locked AS (
  SELECT w.session_id FROM session_work w JOIN j USING (session_id) ORDER BY w.session_id FOR NO KEY UPDATE OF w
), mine AS (
  UPDATE session_work w SET rule_claimed_until = NULL,
    next_rule_at = CASE WHEN w.next_rule_at = j.due_at AND j.again_s IS NOT NULL
      THEN now() + make_interval(secs => j.again_s) ELSE w.next_rule_at END
  FROM j JOIN locked USING (session_id)
  WHERE w.session_id = j.session_id AND w.rule_claimed_until = j.claimed_until
  RETURNING w.session_id
), rule_kept AS (
  SELECT j.session_id, k.* FROM j JOIN mine USING (session_id), jsonb_to_record(j.kept) AS k({COLUMNS})
  WHERE j.kept IS NOT NULL AND j.kept <> 'null'
), {WRITE}
SELECT count(*) FROM mine
""")
_KEEP = text(f"""
WITH rule_kept AS (
  SELECT w.session_id, k.* FROM session_work w, jsonb_to_record(CAST(:kept AS jsonb)) AS k({COLUMNS})
  WHERE w.session_id = :session_id AND w.epoch = :epoch
), {WRITE}
SELECT count(*) FROM rule_kept
""")
_DECISIONS = text("""
SELECT seq, timestamp, clock_at, status, action, outcome, why, truths, command_id FROM rule_decisions
WHERE session_id = :session_id ORDER BY seq DESC LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Finished:
    """One claimed session, to be given back. again_s: until it is due again, None: at once. kept None: nothing new."""

    claim: Row
    again_s: float | None
    kept: Kept | None


def claim_due(engine: Engine, limit: int, claim_s: float) -> list[Row]:
    """Claim up to `limit` sessions whose rules are due, for `claim_s`; committed before any of them is judged."""
    with transaction(engine) as connection:
        return rows(connection.execute(_CLAIM, {"limit": limit, "claim_s": claim_s}))


def finish(engine: Engine, judged: Sequence[Finished], most: int) -> int:
    """Write what judging left and give the sessions back, `most` decisions of each; return how many were still ours."""
    listed = [
        {
            "session_id": one.claim["session_id"],
            "claimed_until": one.claim["claimed_until"],
            "due_at": one.claim["due_at"],
            "again_s": one.again_s,
            "kept": kept_json([one.kept], most) if one.kept is not None else None,
        }
        for one in judged
    ]
    with transaction(engine) as connection:
        return int(connection.execute(_FINISH, {"judged": to_json(listed)}).scalar_one())


def keep_one(engine: Engine, kept: Kept, epoch: int, most: int) -> None:
    """Write what judging one session left, where its epoch is still the same."""
    bound = {"session_id": kept.session_id, "epoch": epoch, "kept": to_json(kept_json([kept], most))}
    with transaction(engine) as connection:
        connection.execute(_KEEP, bound)


def kept_json(kept: Sequence[Kept], most: int) -> Row | None:
    """Return what several judgements of one session left, in order; None where the last stands as before the first."""
    last = kept[-1]
    decisions = [one.decision for one in kept if one.decision is not None]
    events = [event for one in kept for event in one.events]
    if kept[0].before == last.standing and not events:
        return None
    asked = last.standing.asked
    return {
        "state": last.standing.to_state(),
        "missing": last.standing.missing,
        "retry_at": asked.again_at if asked else None,
        "retries": asked.tries if asked else 0,
        "decision_seq": last.standing.sequence,
        "decisions": decisions[-most:],
        "events": events,
        "most": most,
    }


def decisions(engine: Engine, session_id: UUID, limit: int) -> list[Row]:
    """Return a session's last decisions, newest first; truths: rule set -> its conditions as they were found."""
    with transaction(engine) as connection:
        return rows(connection.execute(_DECISIONS, {"session_id": session_id, "limit": limit}))
