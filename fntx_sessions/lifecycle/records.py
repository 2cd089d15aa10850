"""The records a command leaves beside the session row: outcome, transition, audit, follow-ups, events; some sealed."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from fntx_sessions import traces
from fntx_sessions.exceptions import Forbidden, Rejected
from fntx_sessions.lifecycle.change import DOCUMENTS, Ask, Change, Outcome, Row
from fntx_sessions.lifecycle.desk_audit import Deed, audit_row, linked
from fntx_sessions.lifecycle.people import Asked
from fntx_sessions.schemas import SessionStatus, Trigger
from fntx_sessions.state.chain_key import ChainKey
from fntx_sessions.state.payloads import APPROVAL, ARGUMENTS, DESK, HAND_ORDER, OUTCOME, Payloads, sealable


def outcome_of(row: Row, ask: Ask, change: Change) -> Outcome:
    """Return what the caller is told, and what is stored with the command."""
    return Outcome(
        ask.command_id,
        ask.session_id,
        ask.trigger,
        change.state,
        status=SessionStatus(row["status"]),
        version=row["version"],
        epoch=row["epoch"],
        at=row["now"],
        warnings=change.warnings,
        extra=change.extra,
        claimed=tuple(row["claimed"] or ()),
    )


def session_values(row: Row) -> dict[str, Any]:
    """Return the columns of the session row that every change writes."""
    plain = (
        "session_id", "status", "version", "epoch", "holds", "started_at", "ended_at", "status_since", "status_actor",
        "status_reason", "requires_action", "quiesced_at", "audit_seq", "audit_head", "pinned",
    )  # fmt: skip
    return {name: row[name] for name in plain} | {"pending": _document(row["pending"])}


def seldom_values(row: Row, ask: Ask, change: Change, overtaken: Outcome | None, sealing: "Sealing") -> dict[str, Any]:
    """Return what only the whole statement writes: documents, a latch, a pin, the end of a command that waited."""
    checkpoint_id, pinned = change.pin_checkpoint or (None, False)
    return {name: _document(row[name]) for name in DOCUMENTS} | {
        "tags": row["config"]["tags"],
        "clear_latch": change.clear_latch,
        "pin_id": checkpoint_id,
        "pin_to": pinned,
        "asked_by": ask.actor.name,
        "asked_why": ask.reason,
        "overtaken_id": overtaken.command_id if overtaken else None,
        "overtaken_outcome": sealing.outcome(overtaken) if overtaken else None,
    }


def _document(value: Any) -> str | None:
    return None if value is None else to_json(value)


def transition_of(before: Row, row: Row, ask: Ask, change: Change) -> list[dict[str, Any]]:
    """Return the transition's record; none where the status stays."""
    if change.to_status is None:
        return []
    return [
        {
            "transition_id": str(uuid4()),
            "from_status": before["status"],
            "to_status": row["status"],
            "trigger": (change.trigger or ask.trigger).value,
            "actor": ask.actor.name,
            "reason": row["status_reason"],
            "version": row["version"],
            "epoch": row["epoch"],
            "command_id": str(ask.command_id),
            "pre_conditions_met": change.pre,
            "post_conditions_met": change.post,
            "warnings": list(change.warnings),
            "errors": list(change.errors),
        }
    ]


def audit(row: Row, before: Row, ask: Ask, outcome: str, args_hash: bytes | None, key: ChainKey) -> dict[str, Any]:
    """Return the next link of the session's audit chain, and move the chain's head on the row."""
    row["audit_seq"] += 1
    entry = audit_entry(row, ask, outcome, args_hash, before["version"], key.key_id)
    link = linked(entry, row["audit_head"], key)
    row["audit_head"] = link["hash"]
    return link


def audit_overtaken(row: Row, ask: Ask, overtaken: Outcome, key: ChainKey) -> dict[str, Any]:
    """Return the link that says that a command which waited is refused, because this one came first."""
    reason = f"overtaken by {ask.trigger.value} {ask.command_id}"
    waited = Ask(overtaken.trigger, ask.session_id, ask.actor, reason, overtaken.command_id)
    return audit(row, row, waited, "refused", None, key)


def audit_refusal(row: Row, ask: Ask, error: Rejected, sealing: "Sealing") -> dict[str, Any]:
    """Return the link of a refusal; of one for lack of authority, `denied`, with what was needed for a reason."""
    if isinstance(error, Forbidden):
        return audit(row, row, replace(ask, reason=str(error)), "denied", sealing.args_hash, sealing.chain)
    return audit(row, row, ask, "refused", sealing.args_hash, sealing.chain)


def audit_entry(
    row: Row, ask: Ask, outcome: str, args_hash: bytes | None, version_before: int | None, key_id: str
) -> dict[str, Any]:
    """Return the audit row of a command, with the very columns and types that are stored and hashed."""
    about = (ask.target, ask.reason, ask.command_id, args_hash)
    deed = Deed(ask.trigger.value, outcome, *about, version_before, row["version"])
    entry = audit_row(ask.session_id, ask.actor, deed, row["audit_seq"], row["now"], key_id)
    return entry | {"reason": ask.reason}  # whole, as it was asked


def outbox_of(row: Row, ask: Ask, change: Change) -> list[dict[str, Any]]:
    """Return what must follow the commit, in order; whatever agents are told has the epoch, and a reason."""
    told = {"epoch": row["epoch"], "reason": change.reason if change.reason is not None else ask.reason}
    of = {"trace": traces.current()}
    return [
        {"position": position, "kind": kind, "payload": {**told, **payload} if kind == "event" else payload, **of}
        for position, (kind, payload) in enumerate(change.follow_ups)
    ]


def events_of(row: Row, change: Change) -> list[dict[str, Any]]:
    """Return the events of a change, at the moment of its row."""
    return [{"timestamp": row["now"].isoformat(), **event} for event in change.events]


class Sealing:
    """Seals what one command leaves behind: with its session's key, or the desk's where that is none or no more."""

    def __init__(self, payloads: Payloads, ask: Ask, row: Row, args_hash: bytes, chain: ChainKey) -> None:
        self.payloads = payloads
        self.args_hash = args_hash
        self.chain = chain
        self._ask = ask
        # The command that destroys a key must itself stay readable.
        kept = row["session_id"] is None or row["shredded_at"] is not None or ask.trigger is Trigger.SHRED
        self._owner = DESK if kept else ask.session_id

    def arguments(self) -> bytes | None:
        """Return the command's arguments, sealed; None: there are none."""
        return self.payloads.seal_some(self._owner, ARGUMENTS, self._ask.command_id, self._ask.arguments)

    def outcome(self, outcome: Outcome) -> bytes:
        """Return an outcome, sealed for the command it is of."""
        return self.payloads.seal(self._owner, OUTCOME, outcome.command_id, outcome.to_dict())

    def events(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return events with an id each and their data sealed."""
        return self.payloads.sealed_events(self._owner, events)

    def requests(self, kind: str, name: str, rows: Iterable[Row]) -> list[Row]:
        """Return new rows of approvals or orders by hand with their requests sealed; name: the column of their id."""
        return [
            row | {"request": self.payloads.seal(self._owner, kind, UUID(str(row[name])), row["request"])}
            for row in rows
        ]


def asked_rows(sealing: Sealing, asked: Asked) -> dict[str, str]:
    """Return what the machine writes of approvals and orders by hand, as its statement takes them."""
    return {
        "new_approvals": to_json(sealing.requests(APPROVAL, "approval_id", asked.approvals)),
        "settled_approvals": to_json(list(asked.settled_approvals)),
        "new_orders": to_json(sealing.requests(HAND_ORDER, "order_id", asked.orders)),
        "settled_orders": to_json(list(asked.settled_orders)),
    }


def to_json(value: Any) -> str:
    """Return compact JSON text for a jsonb parameter; times as ISO text, ids as text, bytes as hex."""
    return sealable(value).decode()
