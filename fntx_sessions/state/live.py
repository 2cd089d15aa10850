"""What agents report: one Redis hash a session, fenced by epoch, read as one moment.

Fields: ``epoch`` (the fence), ``revision`` (raised once by each report that changed something), ``size`` (bytes of all
parts), ``part:<name>``, ``rev:<name>`` (the revision at which the part last changed), ``mark:<name>`` (of its last
write, never twice the same), ``beat:<agent>`` (ms). Those of agents of other services are in `agent_doors`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis
from msgspec import Struct

from fntx_sessions.exceptions import FntxError, StaleEpoch
from fntx_sessions.settings import Settings
from fntx_sessions.state.parts import Known, agent_part, checked_report, restorable
from fntx_sessions.state.redis_client import ask_many, key, translate
from fntx_sessions.state.scripts import Call, Script, Value

_REPORT = Script("live_parts.lua", "live_report.lua")
_FENCE = Script("live_fence.lua")
_RESTORE = Script("live_restore.lua")
_READ = Script("live_read.lua")
_DROP = Script("live_drop.lua")

NO_FENCE = "missing"
# As redis-py would pack it; asked of every session every few seconds, so worth having at hand.
_HMGET = b"*5\r\n$5\r\nHMGET\r\n$%d\r\n%b\r\n$5\r\nepoch\r\n$8\r\nrevision\r\n$4\r\nsize\r\n"
_HGETALL = b"*2\r\n$7\r\nHGETALL\r\n$%d\r\n%b\r\n"
_UNREADABLE = -1
_LONGEST_NUMBER = 19


@dataclass(frozen=True, slots=True)
class Report:
    """What one agent says: its parts as JSON bytes (none: only a heartbeat). Redis dates it."""

    session_id: UUID
    epoch: int
    agent: str
    parts: Mapping[str, bytes]


class LiveMark(Struct, frozen=True, gc=False):
    """How far a session's live state is; `size` is the bytes of all its parts."""

    epoch: int
    revision: int
    size: int


class LiveCut(Struct, frozen=True):
    """A session's live state at one moment. beats: agent -> ms since 1970.

    marks: part -> the mark of its last write. unread: parts that are as the reader knows them, and not among `parts`.
    """

    session_id: UUID
    epoch: int
    revision: int
    parts: dict[str, bytes]
    part_revisions: dict[str, int]
    beats: dict[str, int]
    marks: dict[str, bytes] = {}
    unread: tuple[str, ...] = ()


class LiveState:
    """The live state of all sessions; every call is one round trip and raises Unavailable when Redis is away."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._settings = settings

    def report(self, report: Report) -> int:
        """Write what changed, beat the heart and return the revision.

        Raises StaleEpoch when the fence stands at another epoch (``missing``: there is none, the session is not
        live) and InvalidArgument for a part that must not be kept; then nothing is written.
        """
        answer = _REPORT.run(self._redis, _live(report.session_id), *self._values(report))
        return _revision(report.session_id, report.epoch, answer)

    def report_many(self, reports: Sequence[Report]) -> list[int | FntxError]:
        """Write many reports, in order; a refused one answers with its error in its place and stops no other."""
        calls: dict[int, Call] = {}
        results: list[int | FntxError] = [0] * len(reports)
        for index, report in enumerate(reports):
            try:
                calls[index] = (_live(report.session_id), self._values(report))
            except FntxError as error:
                results[index] = error
        for index, answer in zip(calls, _REPORT.run_many(self._redis, list(calls.values())), strict=True):
            results[index] = _outcome(reports[index], answer)
        return results

    def raise_fence(self, session_id: UUID, epoch: int) -> int:
        """Raise a session's fence to `epoch` and return the epoch that stands now: a lower one moves nothing."""
        return int(_FENCE.run(self._redis, _live(session_id), epoch))

    def raise_fences(self, fences: Sequence[tuple[UUID, int]]) -> None:
        """Raise many fences, (session, epoch) each, in one round trip."""
        _FENCE.run_many(self._redis, [(_live(session_id), [epoch]) for session_id, epoch in fences])

    def restore(self, session_id: UUID, epoch: int, parts: Mapping[str, bytes]) -> int:
        """Make agents and market those of a snapshot, under `epoch`, and return the new revision.

        Trading and metrics among `parts` are passed over: the broker and the ledger hold them. Heartbeats begin
        anew. Raises StaleEpoch unless the fence stands at `epoch`; then nothing is written.
        """
        values = _flat({name: data for name, data in parts.items() if restorable(name)})
        return _revision(session_id, epoch, _RESTORE.run(self._redis, _live(session_id), epoch, *values))

    def read(
        self, session_ids: Sequence[UUID], known: Mapping[UUID, Mapping[str, Known]] | None = None
    ) -> list[LiveCut | None]:
        """Return each session's cut, in order: one moment each. None: not live.

        known: parts the caller has, by session; those that did not change since stay where they are.
        """
        partly = [one for one in session_ids if known and known.get(one)]
        cuts = self._changed(partly, known or {})
        whole = [one for one in session_ids if one not in cuts]
        found = self._ask(_HGETALL, whole)
        cuts |= {one: _cut(one, fields) for one, fields in zip(whole, found, strict=True)}
        return [cuts[one] for one in session_ids]

    def marks(self, session_ids: Sequence[UUID]) -> list[LiveMark | None]:
        """Return how far each session is, in order, without its bytes. None: not live."""
        return [_mark(fields) for fields in self._ask(_HMGET, session_ids)]

    def drop(self, session_id: UUID) -> None:
        """Let a closed session's live state expire after `hot_ttl_s`; raising its fence again keeps it.

        Agents of other services report to it no more.
        """
        _DROP.run(self._redis, _live(session_id), self._settings.hot_ttl_s)

    def _ask(self, command: bytes, session_ids: Sequence[UUID]) -> list[Any]:
        names = [_live(one).encode() for one in session_ids]
        answers = ask_many(self._redis, [command % (len(name), name) for name in names])
        for answer in answers:
            if isinstance(answer, redis.RedisError):
                raise translate(answer) from answer
        return answers

    def _changed(self, partly: list[UUID], known: Mapping[UUID, Mapping[str, Known]]) -> dict[UUID, LiveCut | None]:
        calls: list[Call] = [(_live(one), _told(known[one])) for one in partly]
        answers = _READ.run_many(self._redis, calls) if calls else []
        return {one: _cut(one, fields, left) for one, (left, *fields) in zip(partly, answers, strict=True)}

    def _values(self, report: Report) -> list[Value]:
        agent_part(report.agent)
        most = self._settings.max_part_bytes
        parts = {name: checked_report(name, data, most) for name, data in report.parts.items()}
        return [report.epoch, report.agent, *_flat(parts)]


def _live(session_id: UUID) -> str:
    return key(session_id, "live")


def _flat(parts: Mapping[str, bytes]) -> list[Value]:
    return [value for pair in parts.items() for value in pair]


def _told(known: Mapping[str, Known]) -> list[Value]:
    return [value for name, part in known.items() for value in (name, part.mark, part.size)]


def _revision(session_id: UUID, epoch: int, answer: list[int]) -> int:
    if not answer[0]:
        raise StaleEpoch(session_id, epoch, NO_FENCE if answer[1] < 0 else answer[1])
    return answer[2]


def _outcome(report: Report, answer: list[int]) -> int | FntxError:
    try:
        return _revision(report.session_id, report.epoch, answer)
    except StaleEpoch as error:
        return error


def _mark(fields: list[bytes | None]) -> LiveMark | None:
    epoch, revision, size = fields
    if epoch is None:
        return None
    try:
        return LiveMark(int(epoch), int(revision or 0), int(size or 0))
    except ValueError:
        return LiveMark(_UNREADABLE, 0, 0)  # written past the script: no session is at such an epoch


def _cut(
    session_id: UUID, answer: Mapping[bytes, bytes] | Sequence[bytes], left: Sequence[bytes] = ()
) -> LiveCut | None:
    # A hash comes as a map or as a list, by the protocol that the client speaks.
    fields = answer if isinstance(answer, Mapping) else dict(zip(answer[::2], answer[1::2], strict=True))
    if b"epoch" not in fields:
        return None
    named: dict[bytes, dict[str, Any]] = {b"part": {}, b"rev": {}, b"mark": {}, b"beat": {}}
    for said, value in fields.items():
        kind, colon, name = said.partition(b":")
        if not colon or kind not in named:
            continue
        # Who writes past the script may write anything: a name that is no part's is refused where parts are checked.
        if kind in (b"part", b"mark"):
            named[kind][name.decode(errors="backslashreplace")] = value
        elif value.isdigit() and len(value) < _LONGEST_NUMBER:
            named[kind][name.decode(errors="backslashreplace")] = int(value)
    return LiveCut(
        session_id,
        int(fields[b"epoch"]),
        int(fields[b"revision"]),
        named[b"part"],
        named[b"rev"],
        named[b"beat"],
        named[b"mark"],
        tuple(name.decode() for name in left),
    )
