"""What agents of other services told, out of Redis into Postgres: each once, or refused once with the reason.

An entry of a stream is deleted after it was committed. Killed in between, or done by two at once, it is taken in again
and changes nothing: what is read from Redis is compared with what Postgres holds afterwards, and an entry that somebody
else deleted was committed before that.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

import orjson
import structlog
from pydantic_core import PydanticSerializationError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from fntx_sessions.agents.shutting_out import shut_out_at_once
from fntx_sessions.agents.told import MODELS, Told, TradeTold
from fntx_sessions.automation.intake_rows import Door, Key, Refused, Taken, forget_doors, read_doors, read_known, write
from fntx_sessions.automation.intake_stream import Entry, delete, read, waiting
from fntx_sessions.automation.intake_watch import tell_waiting
from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import InvalidArgument, Rejected, Shredded
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.parsing import parse
from fntx_sessions.settings import Settings
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.payloads import EVENT, Payloads
from fntx_sessions.testing import failpoint

_FIX = "Tell it under another id."
# What contents can end a portion with. Not a store out of reach, a key that does not open, the time that is up.
_FAULTS = (Rejected, DBAPIError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Intake:
    """What became of one batch."""

    taken: dict[Key, Taken] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    repeated: int = 0

    def add(self, other: "Intake") -> None:
        """Count what became of more entries."""
        self.taken |= other.taken
        self.refused += other.refused
        self.repeated += other.repeated


def take_in(desk: Desk) -> dict[str, int]:
    """Take in what waits, until nothing does or `intake_sweep_s` is over; return counts. Raises Unavailable.

    A session that floods delays no other: each has its share of a batch. What waits for too long, for whatever reason,
    becomes an alert. Whose token was taken back speaks no more, however that was done; what hinders that
    hinders nothing else, and the next intake tries again.
    """
    shut_out_at_once(desk)
    doors = read_doors(desk.engine)
    try:
        return _take_in(desk, doors)
    finally:
        tell_waiting(desk, doors)


def _take_in(desk: Desk, doors: Sequence[Door]) -> dict[str, int]:
    counts = {"taken": 0, "refused": 0, "repeated": 0}
    until = time.monotonic() + desk.settings.intake_sweep_s
    _shut(desk, doors)
    left = waiting(desk, doors)
    quiet = [door.session_id for door in doors if (door.shut or door.closed) and door not in left]
    if quiet:
        forget_doors(desk.engine, quiet)
    while left:
        for name, count in _round(desk, list(left)).items():
            counts[name] += count
        left = waiting(desk, list(left)) if time.monotonic() < until else {}
    return counts


def _shut(desk: Desk, doors: Sequence[Door]) -> None:
    """Let nothing come any more for closed sessions: what is in their streams afterwards is all there will be."""
    live = LiveState(desk.redis, desk.settings)
    for door in doors:
        if door.closed:
            live.drop(door.session_id)


def _round(desk: Desk, doors: Sequence[Door]) -> dict[str, int]:
    """Take in one share of each session."""
    share = max(1, desk.settings.intake_batch // len(doors))
    counts = {"taken": 0, "refused": 0, "repeated": 0}
    together = max(1, desk.settings.intake_batch // share)
    for first in range(0, len(doors), together):
        portion = {door.session_id: door for door in doors[first : first + together]}
        entries = read(desk, list(portion), share)
        done = _commit(desk, portion, entries)
        failpoint("intake.committed")
        delete(desk, entries)
        counts["taken"] += len(done.taken)
        counts["refused"] += len(done.refused)
        counts["repeated"] += done.repeated
    return counts


def _commit(desk: Desk, doors: Mapping[UUID, Door], entries: Sequence[Entry]) -> Intake:
    """Store a portion; where one entry would keep all of it out, each for itself, and that one is refused."""
    try:
        return _together(desk, doors, entries)
    except Shredded:
        raise
    except _FAULTS:
        _log.exception("intake_one_by_one", entries=len(entries))
    done = Intake()
    for entry in entries:
        done.add(_alone(desk, doors, entry))
    return done


def _alone(desk: Desk, doors: Mapping[UUID, Door], entry: Entry) -> Intake:
    try:
        return _together(desk, doors, [entry])
    except Shredded:
        raise
    except _FAULTS as error:
        # Told by its name: its words may be what cannot be stored.
        _log.exception("record_not_kept", session_id=str(entry.session_id), entry_id=entry.entry_id)
        problem = f"cannot be kept ({type(error).__name__})"
    refused = _refused(entry, InvalidArgument(entry.kind or "record", problem, "Tell it in plain values."))
    with transaction(desk.engine) as connection:
        write(connection, Payloads(desk.engine), [], [refused])
    return Intake(refused=[refused])


def _together(desk: Desk, doors: Mapping[UUID, Door], entries: Sequence[Entry]) -> Intake:
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
        said = orjson.loads(entry.data)
        if not isinstance(said, dict):
            raise InvalidArgument(entry.kind, "is no object", f"Tell it as {model.__name__}.")
        told = parse(model, said)
    except (orjson.JSONDecodeError, OverflowError, RecursionError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidArgument(entry.kind, problem, "Tell it as UTF-8 JSON of finite numbers.") from None
    if getattr(told, id_field) != entry.report_id:
        raise InvalidArgument(
            id_field, f"is not {entry.report_id!r}, under which it was sent", "Send it under its own."
        )
    _refuse_future(entry, told, settings, door)
    return told, _body(entry, told)


def _body(entry: Entry, told: Told) -> dict[str, Any]:
    try:
        body: dict[str, Any] = orjson.loads(told.model_dump_json())
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise InvalidArgument(entry.kind, f"is no JSON: {type(error).__name__}", "Tell it in plain values.") from None
    return body


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
    kind = entry.kind or "record"
    why = f"{'an' if kind == 'error' else 'a'} {kind} of {entry.agent} was refused: {error}"[:2000]
    event_id = uuid5(entry.session_id, f"record_refused/{entry.entry_id}")
    return Refused(event_id, entry.session_id, entry.at, entry.agent, why, facts)
