"""Weeks of a session's history that left the database before it was closed: out of their segments, into its archive."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, text

from fntx_sessions.database.history import RELATIONS
from fntx_sessions.state.archive_states import records
from fntx_sessions.state.segment_rows import Segment, segments_of

_COUNT = {
    name: text(f"""
SELECT count(*) FROM {name} WHERE session_id = :session_id AND timestamp >= :since AND timestamp < :until""")
    for name in RELATIONS
}
# As JSON, the way segments hold them.
_PUT = {
    name: text(f"""
INSERT INTO {name} SELECT r.* FROM unnest(CAST(:lines AS jsonb[])) AS l(line),
  jsonb_populate_record(CAST(NULL AS {name}), l.line) AS r ON CONFLICT DO NOTHING""")
    for name in RELATIONS
}


class StoredWeek(Struct, array_like=True, frozen=True):
    """A week of one relation: its rows as JSON, as Postgres wrote them."""

    relation: str
    week: date
    lines: list[bytes]


_weeks = msgspec.msgpack.Decoder(StoredWeek)


def gone(connection: Connection, session_id: UUID) -> list[Segment]:
    """Return the proven segments of a session whose rows the database does not hold, or not all, any more."""
    return [one for one in segments_of(connection, session_id) if one.verified_at and _held(connection, one) < one.rows]


def read_weeks(chunks: Iterable[bytes]) -> Iterator[StoredWeek]:
    """Yield the weeks of a section."""
    return records(chunks, _weeks)


def put_weeks(connection: Connection, weeks: Iterable[StoredWeek]) -> int:
    """Put back the rows of weeks that are not there, and return how many those were."""
    return sum(
        connection.execute(_PUT[week.relation], {"lines": [line.decode() for line in week.lines]}).rowcount
        for week in weeks
    )


def _held(connection: Connection, segment: Segment) -> int:
    since = datetime.combine(segment.week, time(), UTC)
    bound = {"session_id": segment.session_id, "since": since, "until": since + timedelta(days=7)}
    found: int = connection.execute(_COUNT[segment.relation], bound).scalar_one()
    return found
