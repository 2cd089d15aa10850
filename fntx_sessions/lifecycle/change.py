"""What a command asks, what a decision answers, and the outcome a caller gets. Plain values; nothing here acts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import orjson

from fntx_sessions.exceptions import FntxError
from fntx_sessions.lifecycle.people import Asked
from fntx_sessions.schemas import SessionStatus, Trigger
from fntx_sessions.security.actor import Actor

Row = dict[str, Any]
# Columns of a session that few changes touch, as JSON.
DOCUMENTS = ("config", "risk_parameters", "enabled_strategies", "strategy_parameters", "recovery_data")


@dataclass(frozen=True, slots=True)
class Ask:
    """One command as it was asked. `command_id` is its idempotency key.

    target: for the audit, what it does to what of its session, where its trigger leaves that open.
    """

    trigger: Trigger
    session_id: UUID
    actor: Actor
    reason: str = ""
    command_id: UUID = field(default_factory=uuid4)
    arguments: dict[str, Any] = field(default_factory=dict)
    expected_version: int | None = None
    target: str | None = None

    def canonical(self) -> bytes:
        """Return the bytes whose hash tells whether the same id is used for the same thing."""
        what = [self.trigger, str(self.session_id), self.reason, self.expected_version, self.arguments]
        return orjson.dumps(what, option=orjson.OPT_SORT_KEYS, default=str)


@dataclass(frozen=True, slots=True)
class Change:
    """What a decision wants written, all in the command's one transaction.

    to_status None: the status stays. fields: columns of `sessions` to set. work: columns of `session_work` to set,
    on top of what the status implies. follow_ups: (kind, payload) pairs for the outbox, in order. state `pending`:
    a sweep finishes or refuses the command later. clear_latch: lift the account's fired loss limit. pin_checkpoint:
    which of the session's to pin (True) or unpin. shreds: destroy the session's data key. booked: fills for the ledger.
    asked: approvals and orders by hand. acknowledges: the event that somebody saw to: event_id, timestamp,
    action_taken. Of several changes in a row only the last may shred, book, ask or acknowledge.
    """

    to_status: SessionStatus | None = None
    trigger: Trigger | None = None
    reason: str | None = None
    new_epoch: bool = False
    fields: dict[str, Any] = field(default_factory=dict)
    work: dict[str, Any] = field(default_factory=dict)
    follow_ups: tuple[tuple[str, dict[str, Any]], ...] = ()
    events: tuple[dict[str, Any], ...] = ()
    pre: dict[str, bool] = field(default_factory=dict)
    post: dict[str, bool] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    clear_latch: bool = False
    pin_checkpoint: tuple[UUID, bool] | None = None
    shreds: bool = False
    booked: tuple[Row, ...] = ()
    asked: Asked = field(default_factory=Asked)
    acknowledges: Row | None = None
    state: Literal["done", "pending"] = "done"

    @property
    def rare(self) -> bool:
        """Tell whether it writes more than what every command does."""
        return bool(self.booked or self.shreds or self.asked or self.acknowledges)

    @property
    def usual(self) -> bool:
        """Tell whether it touches no document, latch or pin."""
        return not (self.clear_latch or self.pin_checkpoint or any(name in self.fields for name in DOCUMENTS))


Decision = Callable[[Row, Ask], list[Change]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command: the same answer however often it is asked."""

    command_id: UUID
    session_id: UUID
    trigger: Trigger
    state: Literal["done", "pending", "refused"]
    status: SessionStatus | None = None
    version: int | None = None
    epoch: int | None = None
    at: datetime | None = None
    warnings: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    repeated: bool = False
    # Follow-ups whose relay the command's own commit claimed: for whoever asked `machine.run` for that.
    claimed: tuple[Row, ...] = field(default=(), compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that is stored with the command and sent to the caller."""
        return {
            "command_id": str(self.command_id),
            "session_id": str(self.session_id),
            "trigger": self.trigger.value,
            "state": self.state,
            "status": self.status.value if self.status else None,
            "version": self.version,
            "epoch": self.epoch,
            "at": self.at.isoformat() if self.at else None,
            "warnings": list(self.warnings),
            "extra": self.extra,
            "error": self.error,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], *, repeated: bool = False) -> "Outcome":
        """Rebuild an outcome from `to_dict`."""
        return cls(
            command_id=UUID(data["command_id"]),
            session_id=UUID(data["session_id"]),
            trigger=Trigger(data["trigger"]),
            state=data["state"],
            status=SessionStatus(data["status"]) if data.get("status") else None,
            version=data.get("version"),
            epoch=data.get("epoch"),
            at=datetime.fromisoformat(data["at"]) if data.get("at") else None,
            warnings=tuple(data.get("warnings", ())),
            extra=data.get("extra", {}),
            error=data.get("error"),
            repeated=repeated,
        )

    def raise_for_refusal(self) -> "Outcome":
        """Return this outcome, or raise the error it was refused with."""
        if self.error is not None:
            raise FntxError.from_dict(self.error)
        return self
