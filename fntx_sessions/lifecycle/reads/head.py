"""What stands at the head of all that is shown of a session: its row, and what of it waits for somebody."""

from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.hosting import UNATTENDED
from fntx_sessions.lifecycle.reads.rows import COLUMNS, Row, one

_HEAD = text(f"""
SELECT {COLUMNS}, s.tags, w.last_saved_at, w.next_save_at, k.shredded_at, a.rows_dropped_at AS archived_at,
  {UNATTENDED} AS unattended,
  coalesce(s.started_at IS NOT NULL AND w.hosted AND s.config #>> '{{feed,kind}}' <> 'published', false) AS simulated,
  (SELECT count(*) FROM approvals p WHERE p.session_id = s.session_id AND p.state = 'waiting')
    AS approvals_waiting,
  (SELECT coalesce(jsonb_agg(to_jsonb(h) ORDER BY h.created_at), '[]') FROM (
    SELECT halt_id, scope, scope_name, reason, actor, created_at FROM halts
    WHERE released_at IS NULL AND (scope = 'all' OR (scope = 'account' AND scope_name = s.account_id)
      OR (scope = 'template' AND scope_name = s.template_name)
      OR (scope = 'session' AND scope_name = CAST(s.session_id AS text)))) h) AS halts
FROM sessions s LEFT JOIN session_work w USING (session_id) LEFT JOIN session_keys k USING (session_id)
LEFT JOIN archives a USING (session_id) WHERE s.session_id = :session_id
""")


def session_head(engine: Engine, session_id: UUID) -> Row:
    """Return a session's row with when it was saved last, approvals that wait, and halts that bind it.

    shredded_at, archived_at: since when what belonged to it is erased, or read from its archive alone; None: it is
    not. simulated: it goes by a clock of its own. unattended: since when nobody steps it, None where that is as it
    should be. Raises NotFound.
    """
    return one(engine, _HEAD, session_id)
