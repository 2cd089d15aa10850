"""What must follow a commit: stored with it, relayed after it, in order, again and again until it is done.

A relay claims sessions, not rows, so one session's follow-ups keep their order. A stream entry's id is the version
and the position of its row: sent twice, Redis refuses the second.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.settings import Settings
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.redis_client import key, redis_errors
from fntx_sessions.testing import failpoint

_INBOX_LENGTH = 1000  # entries an agent may fall behind before it must rejoin

_CLAIM_DUE = text("""
UPDATE session_work w SET relay_claimed_until = now() + make_interval(secs => 10)
FROM (
  SELECT session_id FROM session_work
  WHERE relay_due_at IS NOT NULL AND (relay_claimed_until IS NULL OR relay_claimed_until < now())
  ORDER BY relay_due_at LIMIT :limit FOR UPDATE SKIP LOCKED
) due WHERE w.session_id = due.session_id RETURNING w.session_id
""")
_CLAIM_ONE = text("""
UPDATE session_work SET relay_claimed_until = now() + make_interval(secs => 10)
WHERE session_id = :session_id AND relay_due_at IS NOT NULL
  AND (relay_claimed_until IS NULL OR relay_claimed_until < now()) RETURNING session_id
""")
_READ = text("""
SELECT session_id, version, position, kind, payload FROM outbox WHERE session_id = ANY(:ids)
ORDER BY session_id, version, position
""")
# What was written while we relayed keeps the session due; only the rows that were relayed go.
_DONE = text("""
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


def relay_due(engine: Engine, redis: Redis, settings: Settings) -> int:
    """Relay the follow-ups of all due sessions, a batch at a time; return how many were sent."""
    return _relay(engine, redis, settings, _CLAIM_DUE, {"limit": settings.outbox_batch})


def relay_session(engine: Engine, redis: Redis, settings: Settings, session_id: UUID) -> int:
    """Relay one session's follow-ups now, unless another relay is at it; return how many were sent."""
    return _relay(engine, redis, settings, _CLAIM_ONE, {"session_id": session_id})


def _relay(engine: Engine, redis: Redis, settings: Settings, claim: Any, bound: dict[str, Any]) -> int:
    with transaction(engine) as connection:
        ids = list(connection.execute(claim, bound).scalars())
        pending = rows(connection.execute(_READ, {"ids": ids})) if ids else []
    if not ids:
        return 0
    failpoint("relay.claimed")
    _send(redis, settings, pending)
    failpoint("relay.sent")
    sent = [{name: row[name] for name in ("session_id", "version", "position")} for row in pending]
    with transaction(engine) as connection:
        connection.execute(_DONE, {"ids": ids, "sent": orjson.dumps(sent).decode()})
    return len(sent)


def _send(redis: Redis, settings: Settings, pending: Sequence[dict[str, Any]]) -> None:
    """Move the fences, then tell the agents, each in one pipeline; what Redis has already is not an error."""
    fences = [(row["session_id"], row["payload"]["epoch"]) for row in pending if row["kind"] == "live"]
    LiveState(redis, settings).raise_fences(fences)
    with redis_errors(), redis.pipeline(transaction=False) as pipeline:
        for row in pending:
            if row["kind"] == "event":
                _queue_event(pipeline, settings, row)
        for result in pipeline.execute(raise_on_error=False):
            if isinstance(result, RedisError) and "equal or smaller" not in str(result):
                raise result


def _queue_event(pipeline: Any, settings: Settings, row: dict[str, Any]) -> None:
    name = key(row["session_id"], "inbox")
    entry = f"{row['version']}-{row['position']}"
    pipeline.xadd(name, {"event": orjson.dumps(row["payload"])}, id=entry, maxlen=_INBOX_LENGTH, approximate=True)
    pipeline.expire(name, settings.hot_ttl_s)
