"""The streams of records in Redis: what waits in them, and letting go of what was taken in.

Agents write them, by the report script or past it: what lies there may be anything, and stops no other session's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from hiredis import pack_command
from redis import RedisError

from fntx_sessions.automation.intake_rows import Door, Key
from fntx_sessions.exceptions import Unavailable
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.state.redis_client import ask_many, key, translate

_LONGEST_EPOCH = 19
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a session's stream of records."""

    session_id: UUID
    entry_id: str
    agent: str
    epoch: int
    kind: str
    report_id: str
    data: bytes

    @property
    def key(self) -> Key:
        """Under which name it was told."""
        return self.session_id, self.agent, self.kind, self.report_id

    @property
    def at(self) -> datetime:
        """When it came in, by the clock of Redis; now, where it lies under an id that is no moment."""
        return _moment(self.entry_id)


def waiting(desk: Desk, doors: Sequence[Door]) -> dict[Door, int]:
    """Return the sessions that have entries, and how many. Raises Unavailable."""
    lengths = _ask(desk, [("XLEN", key(door.session_id, "records")) for door in doors])
    found = {door: _count(door, length) for door, length in zip(doors, lengths, strict=True)}
    return {door: count for door, count in found.items() if count}


def _count(door: Door, length: Any) -> int:
    if not isinstance(length, Exception):
        return int(length)
    _log.error("records_not_read", session_id=str(door.session_id), problem=str(length))
    return 0


def read(desk: Desk, session_ids: Sequence[UUID], share: int) -> list[Entry]:
    """Return the oldest entries, at most `share` of each session. Raises Unavailable."""
    asked = [("XRANGE", key(one, "records"), "-", "+", "COUNT", str(share)) for one in session_ids]
    return [
        _entry(one, entry_id, fields)
        for one, found in zip(session_ids, _ask(desk, asked), strict=True)
        if not isinstance(found, Exception)
        for entry_id, fields in found
    ]


def delete(desk: Desk, entries: Sequence[Entry]) -> None:
    """Let go of entries. Raises Unavailable."""
    found: dict[UUID, list[str]] = {}
    for entry in entries:
        found.setdefault(entry.session_id, []).append(entry.entry_id)
    _ask(desk, [("XDEL", key(session_id, "records"), *ids) for session_id, ids in found.items()])


def oldest_s(desk: Desk, doors: Sequence[Door]) -> Mapping[Door, float]:
    """Return for how long the oldest entry of each of these has waited, by the clock of Redis. Raises Unavailable."""
    asked = [("XRANGE", key(door.session_id, "records"), "-", "+", "COUNT", "1") for door in doors]
    (seconds, micros), *answers = _ask(desk, [("TIME",), *asked])
    now_s = int(seconds) + int(micros) / 1e6
    return {
        door: max(0.0, now_s - _moment(found[0][0].decode()).timestamp())
        for door, found in zip(doors, answers, strict=True)
        if not isinstance(found, Exception) and found
    }


def _moment(entry_id: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.now(UTC)


def _entry(session_id: UUID, entry_id: bytes, fields: Sequence[bytes]) -> Entry:
    # Whoever writes past the report script may write anything: it is refused as what it is.
    said = dict(zip(fields[::2], fields[1::2], strict=False))
    agent, kind, report_id = (_text(said.get(name, b"")) for name in (b"agent", b"kind", b"id"))
    epoch = said.get(b"epoch", b"")
    number = int(epoch) if epoch.isdigit() and len(epoch) < _LONGEST_EPOCH else 0
    return Entry(session_id, entry_id.decode(), agent, number, kind, report_id, said.get(b"data", b""))


def _text(said: bytes) -> str:
    return said.decode(errors="replace").replace("\x00", "\ufffd")[:200]


def _ask(desk: Desk, commands: Sequence[tuple[str, ...]]) -> list[Any]:
    """Return the answers; one that is an error by what lies under its key is answered in its place."""
    answers = ask_many(desk.redis, [pack_command(command) for command in commands])  # type: ignore[arg-type]  # its stub
    for answer in answers:
        if isinstance(answer, RedisError) and isinstance(error := translate(answer), Unavailable):
            raise error from answer
    return answers
