"""What agents of other services tell beside their state: trades, decisions and errors, each once, by an id of theirs.

Amounts are dollars. As kept, `agent_reports` has the columns that measures are made of, and all of it sealed.
"""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from fntx_sessions.schemas import Model, Money, Severity
from fntx_sessions.values import Moment, Number

_Id = Annotated[str, Field(min_length=1, max_length=200)]
_Text = Annotated[str, Field(max_length=10_000)]
# Text is an amount as people write it: none that Decimal alone reads, and no exponent that no column holds.
_AMOUNT = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,20})?")
# What is nested deeper, neither the library that writes it nor the one that reads it gets through.
_DEEPEST = 100


def _an_amount(value: Any) -> Any:
    if isinstance(value, bool | bytes) or (isinstance(value, str) and not _AMOUNT.fullmatch(value)):
        msg = "should be a number"
        raise ValueError(msg)
    return value


def _shallow(value: Any) -> Any:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            below
            for one in level
            if isinstance(one, dict | list | tuple)
            for below in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return value
    msg = f"is nested more than {_DEEPEST} deep"
    raise ValueError(msg)


_Amount = Annotated[Money, BeforeValidator(_an_amount), Field(gt=-(10**12), lt=10**12)]


class TradeTold(Model):
    """A trade of an agent's, flat to flat; told open (closed_at None), it may be told once more when it is closed.

    gross_pnl: after slippage, before fees; None while it is not known. slippage: adverse is positive. legs: free.
    """

    trade_id: _Id
    strategy: Annotated[str, Field(min_length=1, max_length=200)]
    opened_at: Moment
    closed_at: Moment | None = None
    gross_pnl: _Amount | None = None
    fees: Annotated[_Amount, Field(ge=0)] = Decimal(0)
    slippage: _Amount = Decimal(0)
    legs: Annotated[list[dict[str, Any]], BeforeValidator(_shallow)] = Field(default_factory=list, max_length=20)
    note: _Text = ""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.closed_at is not None and self.closed_at < self.opened_at:
            msg = "closed_at is before opened_at"
            raise ValueError(msg)
        if self.closed_at is not None and self.gross_pnl is None:
            msg = "a closed trade has a gross_pnl"
            raise ValueError(msg)
        return self

    @property
    def timestamp(self) -> datetime:
        """When what it tells came to be."""
        return self.closed_at or self.opened_at


class DecisionTold(Model):
    """A decision of an agent's. latency_ms: from the quote it was made on; None: no quote led to it."""

    decision_id: _Id
    timestamp: Moment
    what: _Text
    latency_ms: Annotated[Number, Field(ge=0, le=86_400_000)] | None = None
    data: Annotated[dict[str, Any], BeforeValidator(_shallow)] = Field(default_factory=dict)


class ErrorTold(Model):
    """An error of an agent's. error: its kind, as the agent calls it."""

    error_id: _Id
    timestamp: Moment
    error: Annotated[str, Field(min_length=1, max_length=200)]
    message: _Text = ""
    severity: Severity = Severity.ERROR


Told = TradeTold | DecisionTold | ErrorTold
MODELS: dict[str, tuple[type[Told], str]] = {
    "trade": (TradeTold, "trade_id"),
    "decision": (DecisionTold, "decision_id"),
    "error": (ErrorTold, "error_id"),
}
