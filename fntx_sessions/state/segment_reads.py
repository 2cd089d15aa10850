"""What people may see of a session's sealed weeks: which there are, and the rows of one."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Engine

from fntx_sessions.database.engine import transaction
from fntx_sessions.database.history import RELATIONS
from fntx_sessions.database.weeks import week_of
from fntx_sessions.exceptions import InvalidArgument, NotFound
from fntx_sessions.settings import Settings
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.state.segment_rows import Segment, segments_of
from fntx_sessions.state.segments import read_lines

_WEEK = re.compile(r"\d{4}w\d{2}")


def list_weeks(engine: Engine, session_id: UUID) -> list[dict[str, Any]]:
    """Return a session's proven segments, oldest week first; raises Unavailable (Postgres)."""
    return [_told(one) for one in _proven(engine, session_id)]


def week_lines(
    engine: Engine, settings: Settings, store: ObjectStore, session_id: UUID, week: str, relation: str | None
) -> list[bytes]:
    """Return the rows of a sealed week, `2026w40`, as JSON in the order of their key, each with its relation's name.

    relation None: all of them. Raises InvalidArgument, NotFound (nothing sealed of it), Shredded, IntegrityError and
    Unavailable.
    """
    if not _WEEK.fullmatch(week):
        raise InvalidArgument("--week", f"{week[:30]!r} is not a week", "Write it as 2026w40.")
    if relation is not None and relation not in RELATIONS:
        raise InvalidArgument("--relation", f"{relation[:30]!r} is none", f"One of {', '.join(RELATIONS)}.")
    wanted = [one for one in _proven(engine, session_id) if _label(one) == week and relation in (None, one.relation)]
    if not wanted:
        fix = f"`fntx archive show {session_id}` lists them; what is not listed is in the database, or in the archive."
        raise NotFound("sealed week", " ".join(filter(None, [week, relation])), fix)
    return [line for one in wanted for line in _named(one, read_lines(engine, settings, store, one))]


def _proven(engine: Engine, session_id: UUID) -> list[Segment]:
    with transaction(engine) as connection:
        return [one for one in segments_of(connection, session_id) if one.verified_at]


def _named(segment: Segment, lines: Any) -> Iterator[bytes]:
    # Put in front as text: read as JSON and written again, numbers would lose digits.
    head = b'{"relation": ' + orjson.dumps(segment.relation) + b", "
    for line in lines:
        yield head + line.removeprefix(b"{")


def _label(segment: Segment) -> str:
    return week_of(segment.relation, segment.week).label


def _told(segment: Segment) -> dict[str, Any]:
    return {
        "week": _label(segment),
        "relation": segment.relation,
        "rows": segment.rows,
        "size_bytes": segment.size_bytes,
        "object": segment.object,
        "archived_at": segment.archived_at,
    }
