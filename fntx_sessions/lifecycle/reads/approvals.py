"""Approvals as people read them: what is wanted and why, how long it waits, and how the price moved meanwhile."""

from datetime import date
from typing import Any
from uuid import UUID

from redis import Redis
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import IntegrityError, Shredded
from fntx_sessions.lifecycle.notes import number, read_notes
from fntx_sessions.lifecycle.people import allowance, drifted
from fntx_sessions.lifecycle.people_arguments import ApprovalsQuery
from fntx_sessions.lifecycle.people_sql import DRIFT_MIN
from fntx_sessions.schemas import Finite, Model, Money, Time
from fntx_sessions.state.payloads import APPROVAL, Payloads
from fntx_sessions.trading.orders import SHARES_PER_CONTRACT, Leg, leg_from_json

_OPEN = ["waiting", "approved"]
_LIST = text(f"""
SELECT p.*, s.status, s.account_id, {DRIFT_MIN} AS drift_min_usd, clock_timestamp() AS now
FROM approvals p JOIN sessions s USING (session_id)
WHERE p.state = ANY(:states) AND (CAST(:session_id AS uuid) IS NULL OR p.session_id = CAST(:session_id AS uuid))
ORDER BY p.created_at DESC LIMIT :limit
""")


class ApprovalLeg(Model):
    """One contract of a package. symbol: OCC. strike: dollars. quantity: contracts."""

    symbol: str
    side: str
    right: str
    strike: Money | None
    expiry: date | None
    quantity: int


class ApprovalRecord(Model):
    """An opening that waits, or waited, for a person.

    limit, reference (mid as it was proposed), price_now: dollars a share of one package. credit_usd: what the package
    brings at its limit; risk_usd: what is lost if its stop is reached; remaining_after_usd: what of the account's loss
    limit would be left with it, and delta, dollar_delta: the package's; None where an agent did not say. risk_now_usd,
    delta_now: the same at price_now. drift: how far the price is from the limit, a share of it, below 0 where it fell;
    None: nobody knows; drift_max: how far it may be. price_at: when it was so, on the session's clock. expires_in_s:
    below 0 once its time is over.
    """

    approval_id: UUID
    session_id: UUID
    account_id: str
    status: str
    agent: str
    trade_id: str
    state: str
    strategy: str | None
    side: str | None
    legs: list[ApprovalLeg]
    limit: Money | None
    credit_usd: Money | None
    risk_usd: Money
    delta: Finite | None
    dollar_delta: Finite | None
    remaining_after_usd: Money | None
    reasons: dict[str, Any]
    reference: Money | None
    price_now: Money | None
    price_at: str | None
    risk_now_usd: Money | None
    delta_now: Finite | None
    drift: Finite | None
    drift_max: float
    created_at: Time
    age_s: float
    expires_at: Time
    expires_in_s: float
    decided_at: Time | None
    decided_by: str | None
    reason: str
    closed_at: Time | None
    result: str | None


def list_approvals(engine: Engine, redis: Redis, asked: ApprovalsQuery) -> list[ApprovalRecord]:
    """Return approvals, newest first: those that are open unless other states are asked for."""
    bound = {"states": asked.states or _OPEN, "session_id": asked.session_id, "limit": asked.limit}
    with transaction(engine) as connection:
        found = rows(connection.execute(_LIST, bound))
    notes = read_notes(redis, [row for row in found if row["state"] in _OPEN])
    payloads = Payloads(engine)
    return [_record(row, _opened(payloads, row), notes.get(row["approval_id"], {})) for row in found]


def _opened(payloads: Payloads, row: dict[str, Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = payloads.open(row["session_id"], APPROVAL, row["approval_id"], row["request"])
    except (IntegrityError, Shredded) as error:
        return {"reasons": {"unreadable": str(error)}}
    return found


def _leg(leg: Leg) -> ApprovalLeg:
    bought = leg.contract
    return ApprovalLeg(
        symbol=bought.symbol, side=leg.side, right=bought.right, strike=bought.strike, expiry=bought.expiry,
        quantity=leg.quantity,
    )  # fmt: skip


def _record(row: dict[str, Any], asked: dict[str, Any], note: dict[str, Any]) -> ApprovalRecord:
    legs = [leg_from_json(leg) for leg in asked.get("legs", [])]
    limit, price, reasons = row["limit_price"], number(note.get("price")), dict(asked.get("reasons", {}))
    packages = min((leg.quantity for leg in legs), default=0)
    plain = {name: row[name] for name in _PLAIN}
    return ApprovalRecord(
        **plain,
        strategy=asked.get("strategy"),
        side=asked.get("side"),
        legs=[_leg(leg) for leg in legs],
        limit=limit,
        credit_usd=None if limit is None else limit * SHARES_PER_CONTRACT * packages,
        risk_usd=row["risk"],
        delta=number(reasons.pop("delta", None)),
        dollar_delta=number(reasons.pop("dollar_delta", None)),
        remaining_after_usd=number(reasons.pop("remaining_after_usd", None)),
        reasons=reasons,
        price_now=price,
        price_at=None if price is None else str(note.get("at") or "")[:40] or None,
        risk_now_usd=number(note.get("risk")),
        delta_now=number(note.get("delta")),
        drift=drifted(limit, price),
        drift_max=row["drift_max"] if limit is None else allowance(limit, row["drift_max"], row["drift_min_usd"]),
        age_s=round((row["now"] - row["created_at"]).total_seconds(), 1),
        expires_in_s=round((row["expires_at"] - row["now"]).total_seconds(), 1),
    )


_PLAIN = (
    "approval_id", "session_id", "account_id", "status", "agent", "trade_id", "state", "reference",
    "created_at", "expires_at", "decided_at", "decided_by", "reason", "closed_at", "result",
)  # fmt: skip
