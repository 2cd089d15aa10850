"""The parts of a session's state: their names, and what their bytes must be. Validated from the bytes as reported."""

import re
from datetime import datetime
from typing import Annotated, Any

import msgspec
import orjson
from msgspec import Meta, Raw, Struct

from fntx_sessions.exceptions import InvalidArgument

AGENT_PREFIX = "agent/"
# How the names of the manager's own guards of open positions begin: they step where the agents do not.
GUARD = "Guard."
MARKET, TRADING, METRICS, EVENTS = "market", "trading", "metrics", "events"

_NAME = re.compile(r"agent/[A-Za-z0-9][A-Za-z0-9_.-]{0,99}|market|trading|metrics|events")
_Count = Annotated[int, Meta(ge=0)]
_Amount = Annotated[float, Meta(ge=0)]
_Moment = Annotated[datetime, Meta(tz=True)]


class AgentPart(Struct, forbid_unknown_fields=True, frozen=True):
    """`schemas.AgentState`, as it is checked on the hot path."""

    agent_id: str
    last_update: _Moment
    status: str = "ready"
    internal_state: dict[str, Raw] = {}
    actions_taken: _Count = 0
    decisions_made: _Count = 0
    errors_encountered: _Count = 0
    memory_usage_mb: _Amount = 0.0
    processing_time_ms: _Amount = 0.0


class MarketPart(Struct, forbid_unknown_fields=True, frozen=True):
    """`schemas.MarketState`, as it is checked on the hot path."""

    timestamp: _Moment
    spy_price: Annotated[float, Meta(gt=0)]
    vix_level: Annotated[float, Meta(gt=0)] | None = None
    market_regime: str = "normal"
    market_open: bool = False
    extended_hours: bool = False
    liquidity_status: str = "normal"
    support_levels: list[float] = []
    resistance_levels: list[float] = []
    key_levels: dict[str, float] = {}


class TradingPart(Struct, frozen=True):
    """`schemas.TradingState`, as far as it is checked on the hot path: kinds of values, and counts that can be."""

    open_positions: list[dict[str, Raw]] = []
    pending_orders: list[dict[str, Raw]] = []
    trades_today: _Count = 0
    daily_pnl: float = 0.0
    daily_return: float = 0.0
    current_exposure: float = 0.0
    margin_used: float = 0.0
    buying_power: float = 0.0
    max_daily_loss_remaining: float | None = None
    position_limit_remaining: int | None = None
    trading_enabled: bool = False


class Known(Struct, frozen=True, gc=False):
    """A large part that was sealed before: the mark and the size it had live, and the name of its content."""

    mark: bytes
    size: int
    digest: bytes


_agent = msgspec.json.Decoder(AgentPart)
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    MARKET: msgspec.json.Decoder(MarketPart),
    TRADING: msgspec.json.Decoder(dict[str, Raw]),
    METRICS: msgspec.json.Decoder(dict[str, Raw]),
    EVENTS: msgspec.json.Decoder(list[dict[str, Raw]]),
}
_trading = msgspec.json.Decoder(TradingPart)
# What is inside is passed over: its grammar is checked, no object is made of it, at a tenth of the cost. Two things
# that this does not see are looked for: bytes that are no UTF-8, and numbers that may be too large for a double, in the
# bytes with every digit made a 0. Only where such a number may be, everything is decoded.
_SHAPES = bytes(ord("0") if chr(n) in "0123456789+" else ord("e") if chr(n) in "eE" else ord(" ") for n in range(256))
_HUGE_EXPONENT, _HUGE_RUN = b"0e000", b"0" * 309


def agent_part(agent: str) -> str:
    """Return the name of an agent's own part; raises InvalidArgument for a name no agent can have."""
    return known_name(AGENT_PREFIX + agent)


def known_name(name: str) -> str:
    """Return `name`; raises InvalidArgument when it is not the name of a part."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument("part", f"{name[:120]!r} is not a part", "Use agent/<AgentName>, market, trading, ...")
    return name


def is_memory(name: str) -> bool:
    """Tell whether a part is the memory of one of the session's agents, and not a guard's."""
    return name.startswith(AGENT_PREFIX) and not name.startswith(AGENT_PREFIX + GUARD)


def restorable(name: str) -> bool:
    """Tell whether a snapshot may put this part back: agents' memory and the market, never the money view."""
    return name == MARKET or name.startswith(AGENT_PREFIX)


def checked_report(name: str, data: bytes, max_bytes: int) -> bytes:
    """Return what an agent reports as `checked` does, refusing a money view that is absurd on its face, too.

    Only as it comes in: nobody restores a money view, so that a bad one that is stored spoils no memory beside it.
    """
    data = checked(name, data, max_bytes)
    if name == TRADING:
        try:
            _trading.decode(data)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InvalidArgument(name, _problem(error), "Report what the broker says, as TradingState.") from None
    return data


def checked(name: str, data: bytes, max_bytes: int) -> bytes:
    """Return a part's bytes without outer white space; raises InvalidArgument for what must not be kept.

    Refused: an unknown name, more than `max_bytes`, anything but UTF-8 JSON of finite numbers in the part's shape.
    """
    known_name(name)
    data = data.strip(b" \t\r\n")
    if len(data) > max_bytes:
        raise InvalidArgument(name, f"{len(data)} bytes", f"Keep a part within {max_bytes} bytes.")
    try:
        _DECODERS.get(name, _agent).decode(data)
        if _may_be_huge(data):
            orjson.loads(data)
    except (msgspec.MsgspecError, orjson.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(name, _problem(error), "Report valid UTF-8 JSON in the part's shape.") from None
    return data


def _may_be_huge(data: bytes) -> bool:
    if not data.isascii():
        str(data, "utf-8")
    shapes = data.translate(_SHAPES)
    return _HUGE_EXPONENT in shapes or _HUGE_RUN in shapes


def _problem(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
