"""Transitions become memories, and agents are told of them: read from the transitions themselves, after their commit.

A command only says that its session is due. What is remembered up to which version stands in `session_work`; a session
whose memory system fails is tried again ever later, from where it stopped, and nobody else waits for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import orjson
import redis
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import statements
from fntx_sessions.exceptions import Busy, FntxError, Retryable, Shredded, Unavailable
from fntx_sessions.memory import context, store
from fntx_sessions.memory.breaker import note_outage
from fntx_sessions.memory.calling import FIX, what
from fntx_sessions.memory.other import hand_over
from fntx_sessions.memory.store import Kept
from fntx_sessions.memory.systems import OWN, OtherMemory, memory_of
from fntx_sessions.memory.waiting import AT_ONCE, CLAIM_S, forget_taken, read_waiting
from fntx_sessions.memory.work import Done, Due, How, Moved, slice_of
from fntx_sessions.schemas import SessionTransition
from fntx_sessions.settings import Settings
from fntx_sessions.state.claims import LAZY
from fntx_sessions.state.data_keys import DataKeys

_CLAIM = text(f"""{LAZY}
WITH due AS (
  SELECT session_id FROM session_work
  WHERE memory_due_at <= now() AND coalesce(memory_claimed_until < now(), true)
  ORDER BY memory_due_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE session_work w SET memory_claimed_until = now() + make_interval(secs => {CLAIM_S})
FROM due WHERE w.session_id = due.session_id
RETURNING w.session_id, w.memory_due_at AS due_at, w.remembered_version AS version, w.memory_claimed_until AS until
""")
# Of a session that was not remembered for long, so many are taken at a time.
_AT_ONCE = 50
_MOVED = text(f"""
SELECT s.roster, t.* FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS bigint[])) AS d(session_id, version)
JOIN sessions s USING (session_id) CROSS JOIN LATERAL (
  SELECT t.transition_id, t.session_id, t.timestamp, t.from_status, t.to_status, t.trigger, t.actor, t.reason,
    t.version, t.epoch, t.command_id, t.pre_conditions_met, t.post_conditions_met, t.warnings, t.errors
  FROM transitions t WHERE t.session_id = d.session_id AND t.version > d.version ORDER BY t.version LIMIT {_AT_ONCE}
) t ORDER BY t.session_id, t.version
""")
# Only under the claim it was made under. What became due meanwhile stays so; the wait doubles up to 64 times.
_FINISH = text(f"""{LAZY}
WITH n AS (
  SELECT * FROM jsonb_to_recordset(CAST(:done AS jsonb)) AS x(session_id uuid, due_at timestamptz, until timestamptz,
    version bigint, how text)
), mine AS (
  SELECT w.session_id FROM session_work w JOIN n USING (session_id) WHERE w.memory_claimed_until = n.until
  ORDER BY w.session_id FOR NO KEY UPDATE OF w
)
UPDATE session_work w SET memory_claimed_until = NULL, remembered_version = greatest(w.remembered_version, n.version),
  memory_failures = CASE n.how WHEN 'failed' THEN w.memory_failures + 1 WHEN 'put_off' THEN w.memory_failures
    ELSE 0 END,
  memory_due_at = CASE n.how
    WHEN 'failed' THEN now() + power(2, least(w.memory_failures, 6)) * :retry_s * interval '1 second'
    WHEN 'put_off' THEN now() + :retry_s * interval '1 second'
    ELSE CASE WHEN n.how = 'more' OR w.memory_due_at IS DISTINCT FROM n.due_at THEN w.memory_due_at END END
FROM n JOIN mine USING (session_id) WHERE w.session_id = n.session_id
""")


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one batch. problems: why it could not be remembered, by session."""

    claimed: int = 0
    problems: dict[UUID, str] = field(default_factory=dict)


def remember_due(engine: Engine, client: redis.Redis, settings: Settings) -> Report:
    """Remember the transitions of up to `memory_batch` sessions that are due; raises Unavailable without Postgres."""
    due = _claim(engine, settings.memory_batch)
    if not due:
        return Report()
    moved = _moved(engine, due)
    try:
        memory = memory_of(engine, client, settings)
    except FntxError as error:
        done = [Done(one, one.version, How.FAILED, str(error)) for one in due]
    else:
        if isinstance(memory, OtherMemory):
            done = _hand_over(engine, memory, due, moved, settings.memory_sweep_s / 2)
            note_outage(client, settings, sum(one.how is How.FAILED for one in done), well=any(map(_got_on, done)))
        else:
            done = _own(engine, client, settings, due, moved)
    _finish(engine, settings, [_with_more(one, moved) for one in done])
    return Report(len(due), {one.due.session_id: one.problem for one in done if one.problem})


def _claim(engine: Engine, limit: int) -> list[Due]:
    with statements(engine) as connection:
        return [Due(*row) for row in connection.execute(_CLAIM, {"limit": limit})]


def _moved(engine: Engine, due: Sequence[Due]) -> dict[UUID, list[Moved]]:
    bound = {"ids": [str(one.session_id) for one in due], "versions": [one.version for one in due]}
    found: dict[UUID, list[Moved]] = {one.session_id: [] for one in due}
    with statements(engine) as connection:
        for row in connection.execute(_MOVED, bound).mappings():
            values: dict[str, Any] = dict(row)
            roster = values.pop("roster")
            transition = SessionTransition.model_validate(values)
            found[transition.session_id].append(Moved(transition, slice_of(transition), roster))
    return found


def _hand_over(
    engine: Engine, memory: OtherMemory, due: Sequence[Due], moved: dict[UUID, list[Moved]], within_s: float
) -> list[Done]:
    """Hand over transitions and what agents left; what was taken is let go of before anything is noted as done."""
    left = read_waiting(engine, [one.session_id for one in due])
    done = hand_over(memory, due, moved, left, within_s)
    forget_taken(engine, [memory_id for one in done for memory_id in one.taken])
    full = {session_id for session_id, found in left.items() if len(found) == AT_ONCE}
    return [replace(one, how=How.MORE) if one.how is How.DONE and one.due.session_id in full else one for one in done]


def _got_on(done: Done) -> bool:
    return done.version > done.due.version or bool(done.taken)


def _own(
    engine: Engine, client: redis.Redis, settings: Settings, due: Sequence[Due], moved: dict[UUID, list[Moved]]
) -> list[Done]:
    """Store all slices in one statement and tell all agents in one pipeline; one that cannot be stored stops no other.

    Raises Unavailable without Postgres.
    """
    refused = DataKeys(engine, settings).ensure([one.session_id for one in due])
    sound = {one.session_id: moved[one.session_id] for one in due if one.session_id not in refused}
    problems = refused | _stored(engine, settings, sound)
    stored = [each for one, found in sound.items() if one not in problems for each in found]
    try:
        context.share(client, settings, [each.told for each in stored])
    except FntxError as error:
        problems |= dict.fromkeys((one for one in sound if one not in problems), error)
    return [_own_done(one, moved[one.session_id], problems.get(one.session_id)) for one in due]


def _stored(engine: Engine, settings: Settings, moved: dict[UUID, list[Moved]]) -> dict[UUID, Exception]:
    """Store slices together, or session by session where that is refused; return why some could not be."""
    try:
        store.keep(engine, [_kept(each, settings) for found in moved.values() for each in found])
    except Busy:
        return dict.fromkeys(moved, Unavailable(what(OWN), "its table `memories` is locked", FIX))
    except Retryable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever one session's slices have in them, others are stored
        if len(moved) == 1:
            return dict.fromkeys(moved, error)
        alone = [_stored(engine, settings, {one: found}) for one, found in moved.items()]
        return {one: problem for each in alone for one, problem in each.items()}
    return {}


def _own_done(one: Due, moved: Sequence[Moved], problem: Exception | None) -> Done:
    if problem is None or isinstance(problem, Shredded):  # nothing of what was shredded is to be remembered any more
        return Done(one, moved[-1].transition.version if moved else one.version)
    return Done(one, one.version, How.FAILED, str(problem) or type(problem).__name__)


def _kept(one: Moved, settings: Settings) -> Kept:
    """The transition's id is the slice's, so that it is stored once however often it is tried."""
    transition = one.transition
    keep_s = settings.memory_keep_s
    return Kept(transition.transition_id, context.DESK_SENDER, one.memory, keep_s, transition.timestamp)


def _with_more(done: Done, moved: dict[UUID, list[Moved]]) -> Done:
    more = done.how is How.DONE and len(moved[done.due.session_id]) == _AT_ONCE
    return replace(done, how=How.MORE) if more else done


def _finish(engine: Engine, settings: Settings, done: Sequence[Done]) -> None:
    listed = [
        {
            "session_id": one.due.session_id,
            "due_at": one.due.due_at,
            "until": one.due.until,
            "version": one.version,
            "how": one.how.value,
        }
        for one in done
    ]
    bound = {"done": orjson.dumps(listed).decode(), "retry_s": settings.memory_retry_s}
    with statements(engine) as connection:
        connection.execute(_FINISH, bound)
