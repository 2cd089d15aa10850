"""Due work of `session_work`, claimed in batches: whoever claims commits first and works after.

A claim is a time until which nobody else takes the session; it lapses by itself when its holder dies. Rows are locked
in the order of their ids, so that two holders never wait for each other in a circle.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import Engine, TextClause, text

from fntx_sessions.database.engine import statements
from fntx_sessions.schemas import SessionStatus

# What is saved and checkpointed by the clock. The others do not change, or only a person changes them.
KEPT_STATUSES = frozenset(
    {SessionStatus.ACTIVE, SessionStatus.PAUSED, SessionStatus.SUSPENDED, SessionStatus.CLOSING},
)
KEPT = ", ".join(f"'{status}'" for status in sorted(KEPT_STATUSES))


# A message of several statements is one transaction and one round trip. The commit of a claim or of a due time need not
# reach the disk: what a crash forgets of it is looked at once more.
LAZY = "SET LOCAL synchronous_commit = off;"


def array(items: Iterable[str]) -> str:
    """Return a Postgres array literal of items that need no quotes: parsed at once, unlike a list of constants."""
    return "{" + ",".join(items) + "}"


def moment(at: str | None) -> str:
    """Return a time, as Postgres wrote it, as an item of such a literal."""
    return f'"{at}"' if at else "NULL"


def after(what: str, due: str, start: str = "CAST(:claimed_at AS timestamptz)") -> str:
    """Return the SQL of a session's next due time: unchanged when somebody set another one since the claim."""
    column = f"w.next_{what}_at"
    return (
        f"CASE WHEN {column} IS DISTINCT FROM {due} THEN {column} WHEN {column} IS NULL OR w.status NOT IN ({KEPT}) "
        f"THEN NULL ELSE {start} + w.{what}_interval_s * interval '1 second' END"
    )


class Work(Struct, frozen=True, gc=False):
    """One claimed session: the epoch it should be at, what is saved of it, when it was due, as Postgres wrote it."""

    session_id: UUID
    epoch: int
    saved: tuple[int, int]
    due_at: str | None
    checkpoint_type: str


class Claim(Struct, frozen=True):
    """Sessions claimed together at `claimed_at`, until `until`, both as Postgres wrote them."""

    work: Sequence[Work]
    claimed_at: str | None = None
    until: str | None = None


class DueWork:
    """The due times and claims of one kind of work: `save` or `checkpoint`."""

    def __init__(self, what: str, extra: str = "") -> None:
        """Build the statements of `what`; `extra` is set beside the next due time when work is finished."""
        self._due = _claim_statement(
            what, f"w.next_{what}_at <= now() AND coalesce(w.{what}_claimed_until < now(), true)"
        )
        self._these = _claim_statement(what, "w.session_id = ANY(CAST(:ids AS uuid[]))", skip="")
        self._finish = _finish_statement(what, extra)
        self._release = text(
            f"{LAZY} UPDATE session_work SET {what}_claimed_until = NULL "
            f"WHERE session_id = ANY(CAST(:ids AS uuid[])) AND {what}_claimed_until = :until"
        )

    def claim_due(self, engine: Engine, limit: int, lease_s: float) -> Claim:
        """Claim up to `limit` sessions that are due and free, the longest due first."""
        return _claim(engine, self._due, {"limit": limit, "lease_s": lease_s})

    def claim_these(self, engine: Engine, session_ids: Sequence[UUID], lease_s: float) -> Claim:
        """Claim the named sessions, due or not, taking them from whoever holds them."""
        ids = list(map(str, session_ids))
        return _claim(engine, self._these, {"ids": ids, "limit": len(ids), "lease_s": lease_s})

    def finish(self, engine: Engine, claim: Claim, done: Sequence[Work], current: Sequence[UUID] = ()) -> None:
        """Give claimed sessions back with their next due time; `current` ones are noted as saved just now."""
        if not done:
            return
        as_saved = set(current)
        values = {
            "ids": [str(work.session_id) for work in done],
            "dues": [work.due_at for work in done],
            "current": [work.session_id in as_saved for work in done],
            "until": claim.until,
            "claimed_at": claim.claimed_at,
        }
        with statements(engine) as connection:
            connection.execute(self._finish, values)

    def release(self, engine: Engine, claim: Claim) -> None:
        """Give claimed sessions back as they were: still due."""
        with statements(engine) as connection:
            connection.execute(self._release, {"ids": [str(w.session_id) for w in claim.work], "until": claim.until})


def _claim_statement(what: str, condition: str, skip: str = "SKIP LOCKED") -> TextClause:
    order = f"w.next_{what}_at" if skip else "w.session_id"
    return text(f"""{LAZY}
WITH mine AS (
  SELECT w.session_id FROM session_work w WHERE {condition} ORDER BY {order} LIMIT :limit FOR NO KEY UPDATE {skip}
)
UPDATE session_work w SET {what}_claimed_until = now() + :lease_s * interval '1 second'
FROM mine WHERE w.session_id = mine.session_id
RETURNING w.session_id, w.epoch, w.saved_epoch, w.saved_revision, CAST(w.next_{what}_at AS text) AS due_at,
  w.checkpoint_type, CAST(w.{what}_claimed_until AS text) AS until, CAST(now() AS text) AS claimed_at
""")


def _finish_statement(what: str, extra: str) -> TextClause:
    return text(f"""{LAZY}
WITH n AS (
  SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:dues AS timestamptz[]), CAST(:current AS boolean[]))
    AS t(session_id, due_at, current)
), mine AS (
  SELECT w.session_id FROM session_work w JOIN n USING (session_id) WHERE w.{what}_claimed_until = :until
  ORDER BY w.session_id FOR NO KEY UPDATE OF w
)
UPDATE session_work w SET {what}_claimed_until = NULL, next_{what}_at = {after(what, "n.due_at")}{extra},
  last_saved_at = CASE WHEN n.current THEN now() ELSE w.last_saved_at END
FROM n JOIN mine USING (session_id) WHERE w.session_id = n.session_id
""")


def _claim(engine: Engine, statement: TextClause, values: dict[str, Any]) -> Claim:
    with statements(engine) as connection:
        rows = connection.execute(statement, values).all()
    if not rows:
        return Claim(())
    work = [Work(one, epoch, (saved, revision), due, kind) for one, epoch, saved, revision, due, kind, _, _ in rows]
    return Claim(work, rows[0].claimed_at, rows[0].until)
