"""The state table as data, and nothing else.

`TABLE` is the only statement of what may follow what. docs/states.md and the Postgres guard trigger are generated
from it; the machine looks nowhere else.
"""

from fntx_sessions.schemas import SessionStatus as S
from fntx_sessions.schemas import Trigger as T  # noqa: N817 - the table reads as a table

TERMINAL = frozenset({S.CLOSED})
STARTED = frozenset({S.ACTIVE, S.PAUSED, S.SUSPENDED, S.CLOSING, S.ERROR})
UNFINISHED = frozenset(S) - TERMINAL
OPENING_ALLOWED = frozenset({S.ACTIVE})
REDUCE_ONLY = frozenset({S.PAUSED, S.SUSPENDED, S.CLOSING, S.ERROR})

TABLE: dict[T, tuple[frozenset[S | None], S]] = {
    T.CREATE: (frozenset({None}), S.INITIALIZING),
    T.START: (frozenset({S.INITIALIZING}), S.ACTIVE),
    T.PAUSE: (frozenset({S.ACTIVE}), S.PAUSED),
    T.RESUME: (frozenset({S.PAUSED}), S.ACTIVE),
    T.SUSPEND: (frozenset({S.ACTIVE, S.PAUSED}), S.SUSPENDED),
    T.RECOVER: (frozenset({S.SUSPENDED, S.PAUSED, S.ERROR}), S.PAUSED),
    T.STOP: (frozenset({S.INITIALIZING, S.ACTIVE, S.PAUSED, S.SUSPENDED, S.ERROR}), S.CLOSING),
    T.FINALIZE: (frozenset({S.CLOSING}), S.CLOSED),
    T.FAIL: (frozenset(S) - {S.CLOSED}, S.ERROR),
}


def target(trigger: T, status: S | None) -> S | None:
    """Return the status `trigger` leads to from `status`, or None when the table has no such row."""
    sources, to_status = TABLE[trigger]
    return to_status if status in sources else None


def allowed_from(status: S) -> list[T]:
    """Return the triggers that are legal in `status`, in the table's order."""
    return [trigger for trigger, (sources, _) in TABLE.items() if status in sources]


def status_pairs() -> set[tuple[str, str]]:
    """Return every (from, to) pair of statuses the table allows, for the Postgres guard."""
    return {
        (source.value, to_status.value)
        for sources, to_status in TABLE.values()
        for source in sources
        if source is not None and source != to_status
    }
