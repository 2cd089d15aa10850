"""A recorded session as moments to rehearse over: its samples, fills and days of loss, read and nothing else."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from fntx_sessions.automation.rules.model import MarketFacts, SessionFacts
from fntx_sessions.automation.rules.moments import Moment, grid
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.database.measuring import FIVE_MINUTES, PEAK
from fntx_sessions.exceptions import NotFound, PreconditionFailed
from fntx_sessions.schemas import RiskParameters, SessionType
from fntx_sessions.trading.calendars import Calendar, get_calendar
from fntx_sessions.trading.feeds import INDEX_PER_SPY
from fntx_sessions.trading.ledger import loss_limit
from fntx_sessions.trading.metrics import error_rate
from fntx_sessions.trading.orders import SHARES_PER_CONTRACT

MOST_SAMPLES = 20_000
Row = dict[str, Any]
_ZERO = Decimal(0)

_READ_ONLY = text("SET TRANSACTION READ ONLY")
_SESSION = text("""
SELECT session_id, session_type, status, account_id, config, risk_parameters, started_at, clock_timestamp() AS now
FROM sessions WHERE session_id = :session_id
""")
# Thinned evenly where there are too many, but what a sample counts (drawdown, failures) is counted over all of them.
_SAMPLES = text(f"""
SELECT timestamp, net_pnl, drawdown, spot, steps, attempted, failed, total FROM (
  SELECT *, least(min(net_pnl - peak) OVER (ORDER BY timestamp), 0) AS drawdown FROM (
    SELECT timestamp, net_pnl, spot, steps, row_number() OVER (ORDER BY timestamp) AS n, count(*) OVER () AS total,
      {PEAK} AS peak,
      coalesce(sum((steps ->> 'attempted')::bigint) OVER recent, 0)::bigint AS attempted,
      coalesce(sum((steps ->> 'failed')::bigint) OVER recent, 0)::bigint AS failed
    FROM samples WHERE session_id = :session_id
    WINDOW recent AS (ORDER BY timestamp {FIVE_MINUTES})) counted) marked
WHERE total <= :most OR n % ((total + :most - 1) / :most) = 0 ORDER BY timestamp
""")
_FILLS = text("""
SELECT timestamp, symbol, "right" AS kind, CASE side WHEN 'buy' THEN quantity ELSE -quantity END AS quantity
FROM fills WHERE session_id = :session_id ORDER BY timestamp
""")
_DAYS = text("SELECT trade_date, equity_at_roll, latched_at FROM account_days WHERE account_id = :account_id")
_MOVES = text("""
SELECT timestamp, from_status, to_status, actor, reason FROM transitions
WHERE session_id = :session_id AND from_status IS DISTINCT FROM to_status ORDER BY version LIMIT 1000
""")
_STOCK = "stock"


@dataclass(frozen=True, slots=True)
class Recording:
    """What a session left: the moments of each trade date, the changes of status it had, and what to know of both."""

    session_id: UUID
    session_type: SessionType
    calendar: Calendar
    days: list[tuple[date, list[Moment]]]
    transitions: list[Row]
    notes: list[str]


def read(engine: Engine, session_id: UUID, calendar: Calendar | None = None, most: int = MOST_SAMPLES) -> Recording:
    """Return what is recorded of a session, in a transaction that cannot write; calendar None: the session's own.

    most: samples used; more are thinned evenly. Raises NotFound, and PreconditionFailed for a session without samples.
    """
    with transaction(engine) as connection:
        connection.execute(_READ_ONLY)
        return _read(connection, session_id, calendar, most)


def _read(connection: Connection, session_id: UUID, calendar: Calendar | None, most: int) -> Recording:
    bound = {"session_id": session_id}
    found = rows(connection.execute(_SESSION, bound))
    if not found:
        raise NotFound("session", str(session_id), "See `fntx ls`.")
    session = found[0]
    samples = rows(connection.execute(_SAMPLES, bound | {"most": most}))
    if not samples:
        raise _nothing(session_id)
    calendar = calendar or get_calendar(session["config"]["calendar"])
    fills = deque(rows(connection.execute(_FILLS, bound)))
    days = {row["trade_date"]: row for row in rows(connection.execute(_DAYS, {"account_id": session["account_id"]}))}
    told = _Told(session, calendar, fills, days)
    moments = [(day, list(_with_gaps(told, day, group))) for day, group in told.by_day(samples)]
    kind = SessionType(session["session_type"])
    moves = [_move(row) for row in rows(connection.execute(_MOVES, bound))]
    return Recording(session_id, kind, calendar, moments, moves, _notes(session, samples))


def _nothing(session_id: UUID) -> PreconditionFailed:
    return PreconditionFailed(
        str(session_id), "rules.rehearse", "samples are recorded", "it left none in Postgres",
        "Rehearse over a file of days instead; `fntx archive restore` brings an archived session's back.",
    )  # fmt: skip


def _move(row: Row) -> Row:
    return {
        "at": row["timestamp"].isoformat(),
        "from": row["from_status"],
        "to": row["to_status"],
        "by": row["actor"],
        "why": row["reason"],
    }


class _Told:
    """The samples of a session in order, each with what its ledger says of that moment."""

    def __init__(self, session: Row, calendar: Calendar, fills: deque[Row], days: dict[date, Row]) -> None:
        self.calendar = calendar
        self.simulated = session["config"]["feed"]["kind"] != "published"
        self.now: datetime = session["now"]
        self._risk = RiskParameters.model_validate(session["risk_parameters"])
        self._fills, self._days = fills, days
        self._held: dict[tuple[str, str], int] = {}
        previous = session["config"]["feed"].get("previous") if self.simulated else None
        self._close = None if previous is None else float(previous["close"]) / INDEX_PER_SPY
        self._net = _ZERO

    def by_day(self, samples: list[Row]) -> Iterator[tuple[date, list[Moment]]]:
        """Yield each trade date with its samples as moments."""
        for day, group in groupby(samples, key=lambda row: self.calendar.trade_date(row["timestamp"])):
            listed = list(group)
            at_roll = self._net
            yield day, [self._moment(row, day, at_roll) for row in listed]
            self._net = listed[-1]["net_pnl"]
            self._close = listed[-1]["spot"] or self._close

    def _moment(self, row: Row, day: date, at_roll: Decimal) -> Moment:
        at = row["timestamp"].astimezone(UTC)
        return Moment(at, self._market(row), self._session(row, at, day, at_roll))

    def _market(self, row: Row) -> MarketFacts:
        steps = row["steps"]
        return MarketFacts(
            age_s=0.0,
            spot=row["spot"],
            previous_close=steps.get("previous_close", self._close),
            vix=steps.get("vix"),
            regime=steps.get("regime"),
            liquidity=steps.get("liquidity"),
        )

    def _session(self, row: Row, at: datetime, day: date, at_roll: Decimal) -> SessionFacts:
        rolled = self._days.get(day)
        latched_at = None if rolled is None else rolled["latched_at"]
        return SessionFacts(
            age_s=0.0,
            daily_pnl=row["net_pnl"] - at_roll,
            loss_limit=None if rolled is None else loss_limit(self._risk, rolled["equity_at_roll"]),
            # Of a simulated day it is not known when it was: the latch carries the time of Postgres.
            latched=latched_at is not None and not self.simulated and latched_at <= at,
            drawdown=row["drawdown"],
            position_count=self._positions(at),
            error_rate=error_rate(row["attempted"], row["failed"]),
        )

    def _positions(self, at: datetime) -> int:
        while self._fills and self._fills[0]["timestamp"] <= at:
            fill = self._fills.popleft()
            key = (fill["kind"], fill["symbol"])
            self._held[key] = self._held.get(key, 0) + fill["quantity"]
        return sum(
            -(-abs(held) // SHARES_PER_CONTRACT) if kind == _STOCK else abs(held)
            for (kind, _), held in self._held.items()
        )


def _with_gaps(told: _Told, day: date, sampled: list[Moment]) -> Iterator[Moment]:
    """Yield a day's samples, and between them the five-minute grid with what was last known, grown older.

    A simulated clock was nowhere but at its samples.
    """
    if told.simulated:
        yield from sampled
        return
    left, last = deque(sampled), None
    for at in grid(told.calendar, day):
        while left and left[0].at <= at:
            last = left.popleft()
            yield last
        if at <= told.now and (last is None or last.at < at):
            yield _aged(last, at)
    yield from left


def _aged(last: Moment | None, at: datetime) -> Moment:
    if last is None or last.market is None or last.session is None:
        return Moment(at)
    age_s = (at - last.at).total_seconds()
    return Moment(at, replace(last.market, age_s=age_s), replace(last.session, age_s=age_s))


def _notes(session: Row, samples: list[Row]) -> list[str]:
    notes = [
        "P&L, drawdown and positions are as recorded: what these rules would have changed of them is not simulated"
    ]
    if samples[0]["total"] > len(samples):
        notes.append(f"{samples[0]['total']:,} samples, every {samples[0]['total'] // len(samples)}th was used")
    if all(row["steps"].get("vix") is None for row in samples):
        notes.append("no VIX was recorded: what reads it is unknown")
    if session["config"]["feed"]["kind"] != "published":
        notes.append("recorded on a simulated clock: its own changes of status carry the time they were made")
    return notes
