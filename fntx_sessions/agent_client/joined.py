"""What joining a session answers, and an event of its inbox."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

import orjson

from fntx_sessions import traces
from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.schemas import SessionStatus, SessionType


@dataclass(frozen=True, slots=True)
class Limits:
    """What the desk takes of one agent; the numbers are the desk's settings.

    part_bytes, record_bytes: of one part, of one trade, decision or error. records: how many may wait for Postgres.
    """

    part_bytes: int
    record_bytes: int
    reports_per_s: int
    records: int


@dataclass(frozen=True, slots=True)
class Joined:
    """How a session was when the agent joined it, and what it needs to take part.

    configuration: this agent's own, from the template and the session. internal_state: what it reported last, None
    where it never did. position: the events after this id are news; missed: some of them are gone. heartbeat_s: report,
    or beat, at least so often.
    """

    session_id: UUID
    agent: str
    status: SessionStatus
    version: int
    epoch: int
    revision: int
    session_type: SessionType
    roster: list[str]
    config: dict[str, Any]
    risk_parameters: dict[str, Any]
    enabled_strategies: list[str]
    strategy_parameters: dict[str, Any]
    configuration: dict[str, Any]
    internal_state: dict[str, Any] | None
    position: str
    missed: bool
    heartbeat_s: float
    limits: Limits
    keys: dict[str, str] = field(repr=False)
    ticket: str = field(repr=False)
    report_script: str = field(repr=False)

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        """Read the desk's answer; raises IntegrityError naming what it lacks."""
        known = {name: answer[name] for name in cls.__dataclass_fields__ if name in answer}
        try:
            return cls(**known | _read(answer))
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError("the answer to joining a session", f"{type(error).__name__}: {error}") from None


def _read(answer: dict[str, Any]) -> dict[str, Any]:
    limits = answer["limits"]
    return {
        "session_id": UUID(answer["session_id"]),
        "missed": bool(answer.get("missed", False)),
        "status": SessionStatus(answer["status"]),
        "session_type": SessionType(answer["session_type"]),
        "limits": Limits(**{name: limits[name] for name in Limits.__dataclass_fields__}),
    }


@dataclass(frozen=True, slots=True)
class AgentEvent:
    """One event of a session's inbox. id: its place, to be acknowledged; at: when the inbox took it, if it tells."""

    id: str
    event: str
    payload: dict[str, Any]
    at: datetime | None = None

    @classmethod
    def of(cls, entry_id: bytes, fields: dict[bytes, bytes]) -> Self:
        """Read an entry of the stream; raises IntegrityError for one that nobody of the desk wrote."""
        try:
            payload, at = orjson.loads(fields[b"event"]), fields.get(b"at")
            date = None if at is None else datetime.fromtimestamp(int(at) / 1000, UTC)
            return cls(entry_id.decode(), str(payload["event"]), payload, date)
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"entry {entry_id.decode()} of an inbox", str(error)) from None

    @property
    def epoch(self) -> int | None:
        """The session's epoch after the event; None where the event does not tell."""
        epoch = self.payload.get("epoch")
        return epoch if isinstance(epoch, int) else None

    @property
    def trace(self) -> str | None:
        """Where in a trace whoever handles it goes on, as W3C's `traceparent`; None: nobody traced what told it."""
        trace = self.payload.get(traces.HEADER)
        return trace if isinstance(trace, str) else None

    @property
    def version(self) -> int:
        """The session's version that told it; up to the version of a `Joined` it is no news."""
        return int(self.id.partition("-")[0])
