"""The doors through which agents of other services report: who may, how much, and why one was refused.

Fields of a session's live hash beside those of `live`: ``ticket:<agent>`` (SHA-1 of the ticket that speaks for it),
``cap:<limit>``, ``owner:<part>`` (who reports what is one for the session: ``<epoch>/<agent>``, or ``desk``),
``ack:<agent>`` (the last inbox entry it acknowledged), ``rate:<agent>`` (second and reports in it),
``refused:<agent>:<reason>`` (how often), ``refused_at:<agent>`` (of the last: ms and
reason; of who has not joined, without a name), ``closed``.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

import redis

from fntx_sessions.settings import Settings
from fntx_sessions.state.redis_client import key
from fntx_sessions.state.scripts import Call, Script, Value
from fntx_sessions.state.vitals import moment_ms

# A larger part is not answered to who joins: it is read from the live hash.
OWN_PART_BYTES = 200_000
# Under which name it is counted what was refused of who had not joined.
STRANGER = ""
AGENT_REPORT = Script("live_parts.lua", "agent_report.lua")
_JOIN = Script("agent_join.lua")
_LEAVE = Script("agent_leave.lua")
_LOOK = Script("agent_look.lua")


class Refusal(StrEnum):
    """Why a report was refused, as the report script answers it. Nothing of a refused report was written."""

    NOT_LIVE = "not_live"  # Redis knows nothing of the session, or it is closed
    STALE_EPOCH = "stale_epoch"  # detail: the epoch that stands
    NOT_JOINED = "not_joined"  # no ticket stands for the agent: it never joined here, it left, or Redis forgot
    SUPERSEDED = "superseded"  # it joined again, elsewhere
    NOT_YOURS = "not_yours"  # a part that somebody else reports; detail names both
    TOO_LARGE = "too_large"  # a part, a record or its records together; detail: its bytes and the limit
    TOO_MANY = "too_many"  # reports this second; detail: the limit
    BACKLOG = "backlog"  # records wait for Postgres; detail: how many, or how many bytes of them, may
    MALFORMED = "malformed"  # the arguments of the script are no report: no such part, no id of an entry


@dataclass(frozen=True, slots=True)
class Opened:
    """What Redis knows as an agent joins. position: the inbox entry after which it reads.

    missed: entries it never acknowledged are gone. own: its own part, None where there is none, or a large one of
    `own_bytes`.
    """

    epoch: int
    revision: int
    position: str
    missed: bool
    own: bytes | None
    own_bytes: int


@dataclass(frozen=True, slots=True)
class Seen:
    """How an agent of another service does at its door, by the clock of Redis. joined: somebody holds its ticket.

    position: the last inbox entry it acknowledged, empty: none. behind: entries after that; waiting_s: for how long the
    first of them has lain there. refused: its reports, by reason; refused_s, refused_why: the last of them. beat_s:
    since its last heartbeat. None: there is none.
    """

    joined: bool = False
    position: str = ""
    behind: int = 0
    waiting_s: float | None = None
    refused: dict[str, int] = field(default_factory=dict)
    refused_s: float | None = None
    refused_why: str = ""
    beat_s: float | None = None


def limits(settings: Settings) -> dict[str, int]:
    """Return what an agent of another service may send: bytes of a part and a record, reports/s, records that wait."""
    return {
        "part_bytes": settings.max_part_bytes,
        "record_bytes": settings.agent_record_max_bytes,
        "reports_per_s": settings.agent_reports_max_per_s,
        "records": settings.agent_records_max,
        "records_bytes": settings.agent_records_max_bytes,
    }


def keys(session_id: UUID) -> dict[str, str]:
    """Return the Redis keys an agent of another service uses, by name."""
    return {name: key(session_id, name) for name in ("live", "inbox", "records")}


def open_door(
    client: redis.Redis, settings: Settings, session_id: UUID, agent: str, ticket: str, desk_parts: Iterable[str]
) -> Opened:
    """Let who holds `ticket` report as `agent` from now on, and nobody else; raises Unavailable.

    desk_parts: what the desk itself reports of this session. The session's fence must have been raised.
    """
    found = keys(session_id)
    digest = hashlib.sha1(ticket.encode(), usedforsecurity=False).hexdigest()
    caps = limits(settings).values()
    values: tuple[Value, ...] = (agent, digest, *caps, OWN_PART_BYTES, *desk_parts)
    epoch, revision, position, missed, own, size = _JOIN.run(client, (found["live"], found["inbox"]), *values)
    return Opened(epoch, revision, position.decode(), bool(missed), own or None, size)


def close_door(client: redis.Redis, session_id: UUID, agent: str) -> None:
    """Let nobody report as `agent` any more, until it joins again; raises Unavailable."""
    close_doors(client, [(session_id, agent)])


def close_doors(client: redis.Redis, agents: Iterable[tuple[UUID, str]]) -> None:
    """The same for agents of many sessions, in one round trip; raises Unavailable."""
    calls: list[Call] = [(key(session_id, "live"), [agent]) for session_id, agent in agents]
    if calls:
        # Where there is no live state of ours, there is no door either.
        _LEAVE.run_many(client, calls, apart=True)


def look(client: redis.Redis, asked: Sequence[tuple[UUID, Sequence[str]]]) -> list[dict[str, Seen] | None]:
    """Return, for each session and its agents, how they do at their doors; one round trip. Raises Unavailable.

    None: what lies in Redis for that session cannot be read.
    """
    calls: list[Call] = [(_live_and_inbox(session_id), [*_REASONS_SAID, *agents]) for session_id, agents in asked]
    answers = _LOOK.run_many(client, calls, apart=True) if calls else []
    return [
        None
        if isinstance(answer, Exception)
        else dict(zip(agents, (_seen(answer[0], said) for said in answer[1:]), strict=True))
        for (_, agents), answer in zip(asked, answers, strict=True)
    ]


_REASONS = tuple(Refusal)
_REASONS_SAID: tuple[Value, ...] = (len(_REASONS), *(reason.value for reason in _REASONS))


def _live_and_inbox(session_id: UUID) -> tuple[str, str]:
    return key(session_id, "live"), key(session_id, "inbox")


def _seen(now_ms: int, said: Sequence[bytes]) -> Seen:
    joined, position, behind, first_ms, refused_at, beat, *counts = said
    when, _, why = refused_at.partition(b"/")
    refused = {reason.value: int(count) for reason, count in zip(_REASONS, counts, strict=True) if count.isdigit()}
    ages = (_age(now_ms, moment) for moment in (first_ms, when, beat))
    waiting_s, refused_s, beat_s = ages
    at, why_said = position.decode(errors="replace"), why.decode(errors="replace")
    return Seen(bool(joined), at, int(behind), waiting_s, refused, refused_s, why_said, beat_s)


def _age(now_ms: int, moment: bytes) -> float | None:
    at = moment_ms(moment)
    return None if at is None else round(max(0, now_ms - at) / 1000, 3)
