"""What is read of a session's past: trades flat to flat, and one timeline of all that happened."""

from typing import Any
from uuid import UUID

from pydantic import Field

from fntx_sessions.schemas import Model, Money, Time


class TradeFill(Model):
    """One leg of a trade as it was filled; price in dollars a share, fee and slippage in dollars."""

    fill_id: str
    client_order_id: str
    timestamp: Time
    symbol: str
    side: str
    quantity: int
    price: Money
    fee: Money
    slippage: Money
    opening: bool
    reason: str


class TradeRecord(Model):
    """One trade, flat to flat, dollars. outcome and closed_at None: still open, and gross is what was cashed so far.

    agent: who told of it, None for a trade of the ledger. What an agent told in words and legs is in `told`; what it
    did not tell is None, and an open one's gross is what it made of it.
    """

    trade_id: str
    strategy: str
    agent: str | None = None
    opened_at: Time
    closed_at: Time | None
    packages: int | None = None
    credit: Money | None = None
    gross_pnl: Money | None
    fees: Money | None
    net_pnl: Money | None
    slippage: Money | None
    outcome: str | None
    exit_reason: str | None = None
    fills: list[TradeFill] = Field(default_factory=list)
    told: dict[str, Any] = Field(default_factory=dict)


class HistoryEntry(Model):
    """One thing of a session's history. at: the session's own time for trades and samples, else Postgres's.

    kind: transition, event, trade, checkpoint, sample, decision or error. what: in a few words. data: what is stored.
    """

    at: Time
    kind: str
    id: str
    what: str
    data: dict[str, Any] = Field(default_factory=dict)


class SessionHistory(Model):
    """A stretch of a session's history, oldest first. after: ask for the next one with it; None: this was the last."""

    session_id: UUID
    entries: list[HistoryEntry]
    after: str | None = None
