"""What agents of other services report of their money and positions, believed only as far as it can be true.

A report that cannot be true is no report at all: it is counted as missing, never as zero. So is what it leaves out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import ValidationError
from redis import Redis

from fntx_sessions.automation.rules.model import PositionFacts
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import Position, TradingState
from fntx_sessions.state.parts import TRADING
from fntx_sessions.state.redis_client import key, redis_errors
from fntx_sessions.state.vitals import moment_ms
from fntx_sessions.trading.orders import SHARES_PER_CONTRACT

_FIX = "Report what the broker says, as TradingState."
# Whose heartbeat says how old the money view is; where none of them is remote, the newest of all beats.
_REPORTERS = ("RiskManagerAgent", "TacticalExecutorAgent")
_MOST_USD = Decimal(10) ** 12
_MOST_UNITS = 10**7
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What Redis holds of one session, as its remote agents left it there. parts: those asked for, None where absent.

    current: it stands under the session's epoch. age_s: since the heartbeat that counts; None: see `_beat_age`.
    """

    current: bool
    age_s: float | None
    parts: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class ReportedTrading:
    """What a `trading` part says. None: it does not say. position_count: contracts, and shares in lots of 100.

    orders: how many wait at the broker.
    """

    daily_pnl: Decimal | None
    position_count: int | None
    positions: tuple[PositionFacts, ...] | None
    orders: int | None = None


def ask_live(client: Redis, asked: Sequence[Row], parts: Sequence[str], skew_s: float) -> list[Answer]:
    """Return what Redis holds of each session, in one pipeline; raises Unavailable.

    asked: rows with session_id, epoch, remote (the names of its remote agents) and now (Postgres's clock).
    """
    with redis_errors(), client.pipeline(transaction=False) as pipe:
        for row in asked:
            beats = (f"beat:{agent}" for agent in row["remote"])
            pipe.hmget(key(row["session_id"], "live"), ["epoch", *(f"part:{part}" for part in parts), *beats])
        answers: list[list[bytes | None]] = pipe.execute()
    return [_answer(row, answer, 1 + len(parts), skew_s) for row, answer in zip(asked, answers, strict=True)]


def _answer(row: Row, answer: list[bytes | None], fixed: int, skew_s: float) -> Answer:
    epoch, *parts = answer[:fixed]
    beats = dict(zip(row["remote"], answer[fixed:], strict=True))
    current = epoch == str(row["epoch"]).encode()
    return Answer(current, _beat_age(beats, row["now"], skew_s), tuple(parts))


def read_report(data: bytes, now: datetime, skew_s: float) -> ReportedTrading:
    """Return what a `trading` part says; raises InvalidArgument where it cannot be true.

    now: the desk's clock; nothing may have been opened more than `skew_s` seconds after it.
    """
    try:
        state = TradingState.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = "/".join([TRADING, *map(str, first["loc"])])
        raise InvalidArgument(path, first["msg"].lower(), _FIX) from None
    if state.trades_today < 0:
        raise InvalidArgument(f"{TRADING}/trades_today", f"{state.trades_today} cannot be", _FIX)
    if abs(state.daily_pnl) > _MOST_USD:
        raise InvalidArgument(f"{TRADING}/daily_pnl", f"${state.daily_pnl:.2g} cannot be", _FIX)
    said = state.model_fields_set
    positions = _positions(state.open_positions, now + timedelta(seconds=skew_s)) if "open_positions" in said else None
    return ReportedTrading(
        state.daily_pnl if "daily_pnl" in said else None,
        None if positions is None else count_of(positions),
        positions,
        len(state.pending_orders) if "pending_orders" in said else None,
    )


def _beat_age(beats: Mapping[str, bytes | None], now: datetime, skew_s: float) -> float | None:
    """Return seconds since the heartbeat that counts, by Postgres's clock; None: there is none, or it is to come.

    beats: each remote agent's, in ms since 1970, as Redis holds it.
    """
    said = ((name, moment_ms(beat or b"")) for name, beat in beats.items())
    known = {name: at for name, at in said if at is not None}
    if not known:
        return None
    newest = max((known[name] for name in _REPORTERS if name in known), default=max(known.values()))
    age_s = now.timestamp() - newest / 1000
    return None if age_s < -skew_s else max(age_s, 0.0)


def count_of(positions: Sequence[PositionFacts]) -> int:
    """Return contracts, long and short, over all legs, and shares in lots of 100, a broken lot as one."""
    shares = sum(abs(one.quantity) for one in positions if one.right == "stock")
    contracts = sum(abs(one.quantity) for one in positions if one.right != "stock")
    return contracts - (-shares // SHARES_PER_CONTRACT)


def _positions(reported: Sequence[Position], latest: datetime) -> tuple[PositionFacts, ...]:
    return tuple(_position(f"{TRADING}/open_positions/{index}", one, latest) for index, one in enumerate(reported))


def _position(path: str, one: Position, latest: datetime) -> PositionFacts:
    if not 0 < abs(one.quantity) <= _MOST_UNITS:
        raise InvalidArgument(f"{path}/quantity", f"{one.quantity} cannot be", _FIX)
    if one.opened_at > latest:
        raise InvalidArgument(f"{path}/opened_at", f"{one.opened_at.isoformat()} has not come yet", _FIX)
    if one.right != "stock" and (one.strike is None or one.strike <= 0 or one.expiry is None):
        raise InvalidArgument(path, "an option has a strike above 0 and an expiry", _FIX)
    expiry = None if one.expiry is None else _day(f"{path}/expiry", one.expiry)
    return PositionFacts(one.trade_id, one.symbol, one.quantity, one.opened_at, one.right, one.strike, expiry)


def _day(path: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(path, f"{text!r} is not a date", "Write it as 2018-02-05.") from None
