"""What is left of a shredded session: taken out of every tier, step by step, again and again until all of it is gone.

Its data key is destroyed before this begins, so nothing here makes anything unreadable that was not already: it takes
away the plain rows, and what would only lie about. Each step may be done twice; one that fails stops no other.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from uuid import UUID

import redis
import structlog
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.database.history import delete_history
from fntx_sessions.exceptions import FntxError, Retryable, Unavailable
from fntx_sessions.memory.context import forget_session
from fntx_sessions.settings import Settings
from fntx_sessions.state import backups, cold_keys
from fntx_sessions.state.data_keys import DataKeys
from fntx_sessions.state.erased_commands import blank_commands
from fntx_sessions.state.event_rows import StateEvent, add_events
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.redis_client import key, redis_errors
from fntx_sessions.state.tiers.memory import get_memory
from fntx_sessions.testing import failpoint

# How long something that read the key before it was destroyed may go on writing: then everything is looked for again.
SETTLE_S = 300
CLAIM_S = 120
UNFINISHED = "erase_unfinished"  # the event; it goes with all others of the session once that is erased
_PATIENCE_MS = 60_000  # a long session's rows are many, and nobody waits for them
_COLD = ("sessions/{id}/", "archives/{id}/", "segments/{id}/")
# Referencing rows before referenced ones. What stays: the session and its work row, the audit chain, each day's result
# (the account's equity and loss limit are made of them), positions left open in the paper book, and commands, blanked.
_TABLES = (
    "snapshot_parts", "saves", "checkpoints", "parts", "invalid_states", "recovery_runs", "order_intents", "outbox",
    "session_agents", "agent_reports", "paper_orders", "paper_fills", "paper_rolls", "archive_segments", "archives",
    "rule_states", "rule_decisions", "session_health", "approvals", "manual_orders", "memories",
    "credentials",
)  # fmt: skip
_DELETES = [text(f"DELETE FROM {table} WHERE session_id = :session_id") for table in _TABLES]
# The one by which it was shredded says who agreed, and answers whoever asks again.
_DELETES.append(text("DELETE FROM confirmations WHERE session_id = :session_id AND action <> 'shred_session'"))
_DELETES.append(text("DELETE FROM paper_positions WHERE session_id = :session_id AND quantity = 0"))
# An archive that was under way noted itself, and is not to be made again.
_DELETES.append(text("UPDATE session_work SET archive_due_at = NULL, measures = '{}' WHERE session_id = :session_id"))
# Why a session was refused quotes who had set its status, and why.
_DELETES.append(text("UPDATE bulk_items SET problem = NULL WHERE session_id = :session_id AND problem IS NOT NULL"))
_PATIENT = text(f"SET LOCAL statement_timeout = {_PATIENCE_MS}")

_CLAIM = text("""
WITH due AS (
  SELECT session_id FROM session_keys WHERE erase_due_at <= now() ORDER BY erase_due_at LIMIT :limit
  FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE session_keys k SET erase_due_at = now() + make_interval(secs => :claim_s) FROM due
WHERE k.session_id = due.session_id RETURNING k.session_id
""")
_DONE = text("""
UPDATE session_keys SET erase_due_at = CASE WHEN shredded_at < now() - make_interval(secs => :settle_s) THEN NULL
  ELSE shredded_at + make_interval(secs => :settle_s) END, erase_problem = NULL, erase_problem_since = NULL
WHERE session_id = :session_id AND shredded_at IS NOT NULL
""")
_NOTE = text("""
UPDATE session_keys SET erase_problem = :problem, erase_problem_since = coalesce(erase_problem_since, clock_timestamp())
WHERE session_id = :session_id AND shredded_at IS NOT NULL
RETURNING to_char(erase_problem_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS since
""")
_DESTROYED = text("""
UPDATE session_keys SET cold_stores = cold_stores - CAST(:store AS text) WHERE session_id = :session_id
RETURNING ARRAY(SELECT jsonb_object_keys(cold_stores)) AS others
""")
_log = structlog.get_logger(__name__)


def erase_due(engine: Engine, client: redis.Redis, settings: Settings, limit: int = 10) -> int:
    """Erase what is left of up to `limit` shredded sessions; return how many were taken up. Raises Unavailable."""
    with transaction(engine) as connection:
        found = list(connection.execute(_CLAIM, {"limit": limit, "claim_s": CLAIM_S}).scalars())
    for session_id in found:
        erase(engine, client, settings, session_id)
    return len(found)


def erase(engine: Engine, client: redis.Redis, settings: Settings, session_id: UUID) -> dict[str, str]:
    """Take a shredded session out of every tier that can be reached; return what could not be done, and why.

    Where something could not be, all of it is done again once the claim is over, and once more after `SETTLE_S`.
    """
    steps: dict[str, Callable[[], None]] = {
        "memory": lambda: forget(engine, settings, session_id),
        "cold key": lambda: destroy_key(engine, settings, session_id),
        "redis": lambda: _delete_live(client, session_id),
        "rows": lambda: _delete_rows(engine, session_id),
        "commands": lambda: blank_commands(engine, session_id),
        "cold": lambda: _destroy_objects(settings, session_id),
        "backups": lambda: _delete_backups(settings, session_id),
    }
    problems = {name: problem for name, step in steps.items() if (problem := _problem(step))}
    if problems:
        note_problems(engine, session_id, problems)
        return problems
    with transaction(engine) as connection:
        connection.execute(_DONE, {"session_id": session_id, "settle_s": SETTLE_S})
    return {}


def forget(engine: Engine, settings: Settings, session_id: UUID) -> None:
    """Take a session and its key out of this process's memory."""
    DataKeys(engine, settings).forget(session_id)
    get_memory().forget(session_id)


def destroy_key(engine: Engine, settings: Settings, session_id: UUID) -> None:
    """Destroy a shredded session's key object; raises Unavailable, also while another cold store holds one as well."""
    store = open_cold(settings)
    store.destroy(cold_keys.object_name(session_id))
    with transaction(engine) as connection:
        bound = {"session_id": session_id, "store": store.address}
        others = list(connection.execute(_DESTROYED, bound).scalar_one_or_none() or ())
    if others:
        detail = f"a key object of it lies in {', '.join(others)} too, which is not the one in use"
        fix = "Destroy keys/ID there; or, where that store is gone, run `fntx keys forget-store URL`."
        raise Unavailable("the cold store", detail, fix)


def note_problems(engine: Engine, session_id: UUID, problems: Mapping[str, str]) -> None:
    """Note what of a shredded session could not be erased yet, where people look: row, event and log."""
    _log.warning("erase.unfinished", session_id=str(session_id), problems=dict(problems))
    told = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    # Not even noted while Postgres is away: what is not erased stays due.
    with suppress(Retryable), transaction(engine) as connection:
        since = connection.execute(_NOTE, {"session_id": session_id, "problem": told}).scalar_one_or_none()
        if since is not None:
            described = f"Shredded, and not wholly erased yet, since {since} UTC: {told}. It is tried again by itself."
            add_events(connection, [StateEvent(session_id, UNFINISHED, since, described)])


def _problem(step: Callable[[], None]) -> str:
    try:
        step()
    except (FntxError, OSError) as error:
        return str(error)
    failpoint("shred.step")
    return ""


def _destroy_objects(settings: Settings, session_id: UUID) -> None:
    store = open_cold(settings)
    for prefix in _COLD:
        for info in list(store.list(prefix.format(id=session_id))):
            store.destroy(info.name)


def _delete_live(client: redis.Redis, session_id: UUID) -> None:
    with redis_errors():
        found = list(client.scan_iter(match=key(session_id, "*"), count=1000))
        if found:
            client.unlink(*found)
    forget_session(client, session_id)


def _delete_rows(engine: Engine, session_id: UUID) -> None:
    with transaction(engine) as connection:
        connection.execute(_PATIENT)
        delete_history(connection, session_id)
    for statement in _DELETES:
        with transaction(engine) as connection:
            connection.execute(_PATIENT)
            connection.execute(statement, {"session_id": session_id})


def _delete_backups(settings: Settings, session_id: UUID) -> None:
    for backup in backups.find(settings, session_id):
        backup.path.unlink(missing_ok=True)
