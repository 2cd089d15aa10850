"""Callers nobody can verify, by the minute and the kind: a row each would let a forger fill the disk, and slow a stop.

Counting touches no store. What was counted is written down now and then, in one statement whatever its number.
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import Unauthenticated

MESSAGE = "no task"
OTHER = "unverifiable"
UNKNOWN_KEY, NO_KEY_HERE = "unknown key", "no key here"
# Nobody's attempt: what beat sent, and no worker took for longer than its token is good.
LATE = "late"
# What a refusal's sentence holds -> the kind it is counted as. The first that fits; a closed set, as rows are kept.
_KINDS = (
    ("there is no token", "unsigned"),
    ("expired while its message waited", LATE),
    ("expired", "expired"),
    ("not valid yet", "future"),
    ("revoked", "revoked"),
    ("good for one other command", "other command"),
    ("good for longer", "too long lived"),
    ("issued for another service", "other service"),
    ("issued by somebody else", "other issuer"),
    ("signature does not match", "forged"),
    ("not signed with EdDSA", "forged"),
    ("a key this service does not know", UNKNOWN_KEY),
    ("signs for", "wrong key"),
    ("characters", "too long"),
    ("cannot be verified", "malformed"),
    ("the token", "malformed"),
    ("this process", NO_KEY_HERE),
)
# A store that is away for days must not fill this process: what is older is summed into the oldest minute kept.
_MOST_ROWS = 2000
_LAST_CHARACTERS = 200

_WRITE = text("""
INSERT INTO refused_callers (minute, host, kind, number, last)
SELECT minute, :host, kind, number, last
FROM jsonb_to_recordset(CAST(:counts AS jsonb)) AS c (minute timestamptz, kind text, number bigint, last text)
ON CONFLICT (minute, host, kind) DO UPDATE SET number = refused_callers.number + excluded.number, last = excluded.last
""")
_LATELY = text("""
SELECT kind, CAST(sum(number) AS bigint) AS number, max(minute) AS latest,
  (array_agg(last ORDER BY minute DESC))[1] AS last, array_agg(DISTINCT host ORDER BY host) AS hosts
FROM refused_callers WHERE minute > now() - make_interval(secs => :within_s)
GROUP BY kind ORDER BY number DESC, kind
""")
_BY_MINUTE = text("""
SELECT minute, host, kind, number, last FROM refused_callers
WHERE minute > now() - make_interval(secs => :within_s) ORDER BY minute DESC, number DESC, host, kind LIMIT :most
""")
_FORGET = text("DELETE FROM refused_callers WHERE minute < now() - make_interval(secs => :keep_s)")


def kind_of(error: Unauthenticated) -> str:
    """Return the kind a refusal is counted as."""
    told = str(error)
    return next((kind for part, kind in _KINDS if part in told), OTHER)


class RefusedCallers:
    """The counts of this process that are not written down yet; threads share it, a forked child begins anew."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._lock = threading.Lock()
        self._counts: dict[tuple[datetime, str], tuple[int, str]] = {}

    def note(self, kind: str, last: str, *, number: int = 1, minute: datetime | None = None) -> None:
        """Count `number` of a kind; `last` is what was wrong with the latest of them."""
        at = minute or datetime.now(UTC).replace(second=0, microsecond=0)
        with self._lock:
            if (at, kind) not in self._counts and len(self._counts) >= _MOST_ROWS:
                at, kind = min(self._counts)
            before = self._counts.get((at, kind), (0, ""))[0]
            self._counts[at, kind] = (before + number, last[:_LAST_CHARACTERS])

    def waiting(self) -> int:
        """Return how many refusals are not written down yet."""
        with self._lock:
            return sum(number for number, _ in self._counts.values())

    def write(self, engine: Engine, host: str) -> None:
        """Write down what was counted; raises Busy and Unavailable, and keeps it then for the next time."""
        with self._lock:
            counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            with transaction(engine) as connection:
                connection.execute(_WRITE, {"host": host, "counts": _as_json(counts)})
        except BaseException:
            for (minute, kind), (number, last) in counts.items():
                self.note(kind, last, number=number, minute=minute)
            raise


def _as_json(counts: dict[tuple[datetime, str], tuple[int, str]]) -> str:
    # In one order for all processes: two that write the same rows never wait for each other in a circle.
    rows = (
        {"minute": minute, "kind": kind, "number": number, "last": last}
        for (minute, kind), (number, last) in sorted(counts.items())
    )
    return orjson.dumps(list(rows)).decode()


refused_callers = RefusedCallers()
os.register_at_fork(after_in_child=refused_callers.forget)


@dataclass(frozen=True, slots=True)
class Refused:
    """How many callers of one kind were refused lately, where, and what was wrong with the last of them."""

    kind: str
    number: int
    latest: datetime
    last: str
    hosts: list[str]


def read_lately(connection: Connection, within_s: float) -> list[Refused]:
    """Return who was refused within the last seconds, by kind, the most frequent first."""
    return [Refused(**row) for row in connection.execute(_LATELY, {"within_s": within_s}).mappings()]


def read_minutes(connection: Connection, within_s: float, most: int) -> Iterator[dict[str, object]]:
    """Yield the newest rows: minute, host, kind, number, last."""
    found = connection.execute(_BY_MINUTE, {"within_s": within_s, "most": most})
    yield from (dict(row) for row in found.mappings())


def forget_old(engine: Engine, keep_s: float) -> int:
    """Delete what is older; return how many rows."""
    with transaction(engine) as connection:
        return connection.execute(_FORGET, {"keep_s": keep_s}).rowcount
