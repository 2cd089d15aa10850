"""What must follow a commit: stored with it, relayed after it, in order, again and again until it is done.

A relay claims sessions, not rows, so one session's follow-ups keep their order. A stream entry's id is the version
and the position of its row: sent twice, Redis refuses the second.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
import structlog
from redis import Redis
from sqlalchemy import Engine, text

from fntx_sessions import figures, traces
from fntx_sessions.database.engine import rows, statements
from fntx_sessions.database.prepared import Prepared
from fntx_sessions.schemas import SessionStatus
from fntx_sessions.settings import Settings
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.redis_client import key
from fntx_sessions.state.scripts import Script, Value
from fntx_sessions.testing import failpoint

log = structlog.get_logger(__name__)

_ADD = Script("inbox_add.lua")

# A message of several statements is one transaction and one round trip. Its commit need not reach the disk: what a
# crash forgets of a claim or a mark is relayed once more, and what Redis has already it passes over.
_LAZY = "SET LOCAL synchronous_commit = off;"
_CLAIMED = """
), claimed AS (
  UPDATE session_work w SET relay_claimed_until = now() + make_interval(secs => 10)
  FROM due WHERE w.session_id = due.session_id RETURNING w.session_id
)
SELECT c.session_id, o.version, o.position, o.kind, o.payload, o.trace
FROM claimed c LEFT JOIN outbox o USING (session_id)
ORDER BY session_id, version, position
"""
_FREE = "relay_due_at IS NOT NULL AND (relay_claimed_until IS NULL OR relay_claimed_until < now())"
_CLAIM_DUE = text(f"""{_LAZY}
WITH due AS (
  SELECT session_id FROM session_work WHERE {_FREE} ORDER BY relay_due_at LIMIT :limit FOR UPDATE SKIP LOCKED
{_CLAIMED}""")
_CLAIM_ONE = text(f"""{_LAZY}
WITH due AS (
  SELECT session_id FROM session_work WHERE session_id = :session_id AND {_FREE} FOR UPDATE
{_CLAIMED}""")
_DONE = text(f"""{_LAZY}
SELECT 1 FROM session_work WHERE session_id = ANY(:ids) ORDER BY session_id FOR NO KEY UPDATE;
WITH sent AS (
  SELECT * FROM jsonb_to_recordset(CAST(:sent AS jsonb)) AS r(session_id uuid, version bigint, position integer)
), gone AS (
  DELETE FROM outbox o USING sent WHERE (o.session_id, o.version, o.position)
    = (sent.session_id, sent.version, sent.position) RETURNING o.session_id
)
UPDATE session_work w SET relay_claimed_until = NULL, relay_due_at = CASE WHEN EXISTS (
    SELECT 1 FROM outbox o WHERE o.session_id = w.session_id AND NOT EXISTS (
      SELECT 1 FROM sent WHERE (o.session_id, o.version, o.position) = (sent.session_id, sent.version, sent.position))
  ) THEN now() END
WHERE w.session_id = ANY(:ids)
""")

# As above, for what one command claimed: nothing older waited then, so that all up to its version is what was sent.
_DONE_CLAIMED = text(f"""{_LAZY}
SELECT 1 FROM session_work WHERE session_id = :session_id FOR NO KEY UPDATE;
DELETE FROM outbox WHERE session_id = :session_id AND version <= :version;
UPDATE session_work SET relay_claimed_until = NULL,
  relay_due_at = CASE WHEN EXISTS (SELECT 1 FROM outbox WHERE session_id = :session_id) THEN now() END
WHERE session_id = :session_id
""")
_SEND_DONE_CLAIMED = Prepared("fntx_relayed", _DONE_CLAIMED, {"session_id": "uuid", "version": "bigint"})


def relay_due(engine: Engine, redis: Redis, settings: Settings) -> int:
    """Relay the follow-ups of all due sessions, a batch at a time; return how many were sent."""
    return _relay(engine, redis, settings, _CLAIM_DUE, {"limit": settings.outbox_batch})


def relay_session(engine: Engine, redis: Redis, settings: Settings, session_id: UUID) -> int:
    """Relay one session's follow-ups now, unless another relay is at it; return how many were sent."""
    return _relay(engine, redis, settings, _CLAIM_ONE, {"session_id": session_id})


def relay_claimed(engine: Engine, redis: Redis, settings: Settings, claimed: Sequence[dict[str, Any]]) -> int:
    """Relay what a command's own commit claimed, rows of its session in their order; return how many were sent."""
    failpoint("relay.claimed")
    stuck = _send(redis, settings, claimed)
    failpoint("relay.sent")
    if stuck:
        return 0
    with statements(engine) as connection:
        _SEND_DONE_CLAIMED.run(connection, {name: claimed[-1][name] for name in ("session_id", "version")})
    figures.RELAYED.note(len(claimed))
    return len(claimed)


def _relay(engine: Engine, redis: Redis, settings: Settings, claim: Any, bound: dict[str, Any]) -> int:
    with statements(engine) as connection:
        found = rows(connection.execute(claim, bound))
    if not found:
        return 0
    ids = {row["session_id"] for row in found}
    pending = [row for row in found if row["kind"] is not None]
    failpoint("relay.claimed")
    stuck = _send(redis, settings, pending)
    failpoint("relay.sent")
    done = list(ids - stuck)
    marks = ("session_id", "version", "position")
    sent = [{name: row[name] for name in marks} for row in pending if row["session_id"] not in stuck]
    with statements(engine) as connection:
        connection.execute(_DONE, {"ids": done, "sent": orjson.dumps(sent).decode()})
    figures.RELAYED.note(len(sent))
    return len(sent)


def _send(redis: Redis, settings: Settings, pending: Sequence[dict[str, Any]]) -> set[UUID]:
    """Move the fences, then tell the agents, each in one pipeline; return the sessions whose inbox took less than all.

    Those stay due: their claim lapses, and all of it is sent again. What Redis has already is not an error.
    """
    live = LiveState(redis, settings)
    moved = [(row["session_id"], row["payload"]) for row in pending if row["kind"] == "live"]
    live.raise_fences([(session_id, payload["epoch"]) for session_id, payload in moved])
    for session_id, payload in moved:
        if payload.get("status") == SessionStatus.CLOSED:
            live.drop(session_id)
    told = _entries(settings, pending)
    answers = _ADD.run_many(redis, [(key(session_id, "inbox"), entries) for session_id, entries in told.items()])
    problems = {session_id: answer[1] for session_id, answer in zip(told, answers, strict=True) if answer[1]}
    for session_id, problem in problems.items():
        log.error("relay.refused", session_id=str(session_id), problem=problem.decode())
    return set(problems)


def _entries(settings: Settings, pending: Sequence[dict[str, Any]]) -> dict[UUID, list[Value]]:
    """Return what the script takes for each session that has events."""
    told: dict[UUID, list[Value]] = {}
    for row in pending:
        if row["kind"] == "event":
            values = told.setdefault(row["session_id"], [settings.agent_inbox_entries, settings.hot_ttl_s])
            values += [f"{row['version']}-{row['position']}", orjson.dumps(_told(row), default=str)]
    return told


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """Return what agents are told; of what belongs to a trace, where in it they go on."""
    payload: dict[str, Any] = row["payload"]
    if row["trace"] is None:
        return payload
    with traces.span("follow_up", "producer", row["trace"], session_id=row["session_id"], version=row["version"]):
        return payload | {traces.HEADER: traces.current() or row["trace"]}
