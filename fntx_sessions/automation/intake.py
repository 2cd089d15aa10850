"""What agents of other services told, out of Redis into Postgres: each once, or refused once with the reason.

An entry of a stream is deleted after it was committed. Killed in between, or done by two at once, it is taken in again
and changes nothing: what is read from Redis is compared with what Postgres holds afterwards, and an entry that somebody
else deleted was committed before that.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import orjson
from hiredis import pack_command
from sqlalchemy import Connection

from fntx_sessions.agents.told import MODELS, Told, TradeTold
from fntx_sessions.automation.intake_rows import Door, Key, Refused, Taken, forget_doors, read_doors, read_known, write
from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import InvalidArgument, Shredded
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.parsing import parse
from fntx_sessions.settings import Settings
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.payloads import EVENT, Payloads
from fntx_sessions.state.redis_client import ask_many, key
from fntx_sessions.testing import failpoint

_FIX = "Tell it under another id."
_LONGEST_EPOCH = 19


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
        """When it came in, by the clock of Redis."""
        return datetime.fromtimestamp(int(self.entry_id.partition("-")[0]) / 1000, UTC)


@dataclass(slots=True)
class Intake:
    """What became of one batch."""

    taken: dict[Key, Taken] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    repeated: int = 0


def take_in(desk: Desk) -> dict[str, int]:
    """Take in what waits, until nothing does or `intake_sweep_s` is over; return counts. Raises Unavailable.

    A session that floods delays no other: each has its share of a batch.
    """
    counts = {"taken": 0, "refused": 0, "repeated": 0}
    until = time.monotonic() + desk.settings.intake_sweep_s
    doors = read_doors(desk.engine)
    _shut(desk, doors)
    waiting = _waiting(desk, doors)
    quiet = [door.session_id for door in doors if (door.shut or door.closed) and door not in waiting]
    if quiet:
        forget_doors(desk.engine, quiet)
    while waiting:
        for name, count in _round(desk, list(waiting)).items():
            counts[name] += count
        waiting = _waiting(desk, list(waiting)) if time.monotonic() < until else {}
    return counts


def _shut(desk: Desk, doors: Sequence[Door]) -> None:
    """Let nothing come any more for closed sessions: what is in their streams afterwards is all there will be."""
    live = LiveState(desk.redis, desk.settings)
    for door in doors:
        if door.closed:
            live.drop(door.session_id)


def _waiting(desk: Desk, doors: Sequence[Door]) -> dict[Door, int]:
    """Return the sessions that have entries, and how many."""
    lengths = _ask(desk, [("XLEN", key(door.session_id, "records")) for door in doors])
    return {door: int(length) for door, length in zip(doors, lengths, strict=True) if length}


def _round(desk: Desk, doors: Sequence[Door]) -> dict[str, int]:
    """Take in one share of each session."""
    share = max(1, desk.settings.intake_batch // len(doors))
    counts = {"taken": 0, "refused": 0, "repeated": 0}
    together = max(1, desk.settings.intake_batch // share)
    for first in range(0, len(doors), together):
        portion = {door.session_id: door for door in doors[first : first + together]}
        entries = _read(desk, list(portion), share)
        done = _commit(desk, portion, entries)
        failpoint("intake.committed")
        _delete(desk, entries)
        counts["taken"] += len(done.taken)
        counts["refused"] += len(done.refused)
        counts["repeated"] += done.repeated
    return counts


def _read(desk: Desk, session_ids: Sequence[UUID], share: int) -> list[Entry]:
    asked = [("XRANGE", key(one, "records"), "-", "+", "COUNT", str(share)) for one in session_ids]
    answers = _ask(desk, asked)
    return [
        _entry(one, entry_id, fields)
        for one, found in zip(session_ids, answers, strict=True)
        for entry_id, fields in found
    ]


def _entry(session_id: UUID, entry_id: bytes, fields: Sequence[bytes]) -> Entry:
    # Whoever writes past the report script may write anything: it is refused as what it is.
    said = dict(zip(fields[::2], fields[1::2], strict=False))
    agent, kind, report_id = (_text(said.get(name, b"")) for name in (b"agent", b"kind", b"id"))
    epoch = said.get(b"epoch", b"")
    number = int(epoch) if epoch.isdigit() and len(epoch) < _LONGEST_EPOCH else 0
    return Entry(session_id, entry_id.decode(), agent, number, kind, report_id, said.get(b"data", b""))


def _text(said: bytes) -> str:
    return said.decode(errors="replace").replace("\x00", "\ufffd")[:200]


def _commit(desk: Desk, doors: Mapping[UUID, Door], entries: Sequence[Entry]) -> Intake:
    """Store a portion; what is told for a session that was shredded meanwhile goes the way of all of it."""
    left = list(entries)
    while True:
        try:
            with transaction(desk.engine) as connection:
                return _judge(connection, Payloads(desk.engine), desk.settings, doors, left)
        except Shredded:
            gone = _shredded(Payloads(desk.engine), left)
            if not gone:
                raise
            left = [entry for entry in left if entry.session_id not in gone]


def _shredded(payloads: Payloads, entries: Sequence[Entry]) -> set[UUID]:
    found = set[UUID]()
    for session_id in {entry.session_id for entry in entries}:
        try:
            payloads.seal(session_id, EVENT, session_id, {})
        except Shredded:
            found.add(session_id)
    return found


def _judge(
    connection: Connection,
    payloads: Payloads,
    settings: Settings,
    doors: Mapping[UUID, Door],
    entries: Sequence[Entry],
) -> Intake:
    known = read_known(connection, payloads, list(dict.fromkeys(entry.key for entry in entries)))
    intake = Intake()
    for entry in entries:
        try:
            told, body = _parsed(entry, settings, doors[entry.session_id])
            before = known.get(entry.key)
            if before is not None and not _closes(entry, told, body, before):
                intake.repeated += 1
                continue
        except InvalidArgument as error:
            intake.refused.append(_refused(entry, error))
            continue
        known[entry.key] = body
        intake.taken[entry.key] = Taken(entry.key, entry.epoch, told, body)
    write(connection, payloads, list(intake.taken.values()), intake.refused)
    failpoint("intake.before_commit")
    return intake


def _parsed(entry: Entry, settings: Settings, door: Door) -> tuple[Told, dict[str, Any]]:
    """Return what an entry tells; raises InvalidArgument naming the field."""
    if entry.kind not in MODELS:
        raise InvalidArgument("kind", f"{entry.kind!r} is none", f"Known are {', '.join(MODELS)}.")
    model, id_field = MODELS[entry.kind]
    try:
        told = parse(model, orjson.loads(entry.data))
    except (orjson.JSONDecodeError, OverflowError, RecursionError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidArgument(entry.kind, problem, "Tell it as UTF-8 JSON of finite numbers.") from None
    if getattr(told, id_field) != entry.report_id:
        raise InvalidArgument(
            id_field, f"is not {entry.report_id!r}, under which it was sent", "Send it under its own."
        )
    _refuse_future(entry, told, settings, door)
    return told, orjson.loads(told.model_dump_json())


def _refuse_future(entry: Entry, told: Told, settings: Settings, door: Door) -> None:
    latest = entry.at + timedelta(seconds=settings.agent_clock_skew_s)
    if door.simulated_until is not None:
        latest = max(latest, door.simulated_until)
    if told.timestamp > latest:
        fix = "Set the clock of that agent's service (NTP), or date it by the session's clock where that is simulated."
        raise InvalidArgument("timestamp", f"{told.timestamp.isoformat()} had not come yet as it was told", fix)


def _closes(entry: Entry, told: Told, body: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Tell whether it closes a trade told open; False: it says nothing new. Raises InvalidArgument otherwise."""
    if body == before:
        return False
    if isinstance(told, TradeTold):
        same = all(body[name] == before.get(name) for name in ("strategy", "opened_at"))
        if same and told.closed_at is None and before.get("closed_at") is not None:
            return False  # it was told open first, and comes late
        if same and told.closed_at is not None and before.get("closed_at") is None:
            return True
    problem = f"{entry.report_id!r} stands for another one, with other contents"
    raise InvalidArgument(MODELS[entry.kind][1], problem, _FIX)


def _refused(entry: Entry, error: InvalidArgument) -> Refused:
    facts = {"kind": entry.kind, "report_id": entry.report_id, "error": error.to_dict(), "bytes": len(entry.data)}
    why = f"a {entry.kind or 'record'} of {entry.agent} was refused: {error}"[:2000]
    event_id = uuid5(entry.session_id, f"record_refused/{entry.entry_id}")
    return Refused(event_id, entry.session_id, entry.at, entry.agent, why, facts)


def _delete(desk: Desk, entries: Sequence[Entry]) -> None:
    found: dict[UUID, list[str]] = {}
    for entry in entries:
        found.setdefault(entry.session_id, []).append(entry.entry_id)
    _ask(desk, [("XDEL", key(session_id, "records"), *ids) for session_id, ids in found.items()])


def _ask(desk: Desk, commands: Sequence[tuple[str, ...]]) -> list[Any]:
    answers = ask_many(desk.redis, [pack_command(command) for command in commands])  # type: ignore[arg-type]  # its stub
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers
