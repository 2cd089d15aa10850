"""What agents of other services hold at a broker of theirs, by their own word: positions that are not ours to close.

What they said last stands until they say otherwise: a report that is old, gone or cannot be true is no proof of a flat
book. It is looked for live, then in the latest save, then in what the stop noted as it began.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from redis import Redis
from sqlalchemy import Engine, text

from fntx_sessions.automation.reported import Answer, ReportedTrading, ask_live, read_report
from fntx_sessions.automation.rules.model import PositionFacts
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.database.hosting import TRADED_ELSEWHERE
from fntx_sessions.exceptions import FntxError, InvalidArgument, Unavailable
from fntx_sessions.settings import Settings
from fntx_sessions.state.loading import load
from fntx_sessions.state.parts import TRADING
from fntx_sessions.state.tier_health import REDIS, health_of
from fntx_sessions.state.tiers.base import Ref

log = structlog.get_logger(__name__)
NOTED = "reported"  # where a stop's `pending` keeps what was open as it began
_GONE, _OUT_OF_REACH = "they report nothing: their live state is gone", "Redis, where they report, is out of reach"
_LEGS_NAMED = 5
Row = dict[str, Any]

_ASKED = text(f"""
SELECT s.session_id, s.epoch, s.pending, w.last_saved_at, now() AS now,
  (SELECT array_agg(g.agent ORDER BY g.agent) FROM session_agents g
    WHERE g.session_id = s.session_id AND NOT g.hosted) AS remote
FROM sessions s JOIN session_work w USING (session_id)
WHERE s.session_id = ANY(:ids) AND s.started_at IS NOT NULL AND {TRADED_ELSEWHERE}
""")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What a session's remote agents hold as they said last. named: in words, empty where they hold nothing.

    count: contracts, and shares in lots of 100; orders: working ones. age_s: of that word; None: nobody knows.
    current: they say so now, under the session's epoch. doubt: why nothing newer counts. part: the money view itself.
    """

    agents: tuple[str, ...]
    named: str = ""
    count: int = 0
    orders: int = 0
    age_s: float | None = None
    current: bool = False
    doubt: str = ""
    part: bytes | None = None

    @property
    def out_of_reach(self) -> bool:
        """Tell whether nothing at all is known, for as long as Redis is away."""
        return self.doubt == _OUT_OF_REACH and not (self.named or self.orders)

    @property
    def flat(self) -> bool:
        """Tell whether, as far as they ever said, nothing is open and nothing works."""
        return not (self.named or self.orders or self.doubt)

    def told(self) -> str:
        """Return what is open as people read it, and how old that word is."""
        if not self.named and not self.orders:
            return f"its agents do not say what they hold: {self.doubt}" if self.doubt else "its agents hold nothing"
        what = " and ".join(filter(None, (self.named, _orders(self.orders))))
        if self.current:
            return f"its agents report {what}"
        age = "at a time nobody knows" if self.age_s is None else f"{self.age_s:.0f} s ago"
        return f"last known: {what}, reported {age}{f'; since then {self.doubt}' if self.doubt else ''}"

    def obstacle(self, session_id: UUID) -> str:
        """Return what a stop that is to close positions waits for, and what to do about it."""
        return (
            f"{self.told()}. They are held at the agents' own broker, not ours to close. {', '.join(self.agents)} "
            "were told to close them: call whoever runs them, or the broker. The session closes by itself once they "
            f"report an empty book. To end it without that, as a risk manager: fntx accept {session_id} --reason WHY"
        )

    def note(self, now: datetime) -> dict[str, Any]:
        """Return what a stop keeps of this, as JSON."""
        at = now - timedelta(seconds=self.age_s or 0.0)
        return {"named": self.named, "count": self.count, "orders": self.orders, "at": at.isoformat()}


def read_elsewhere(
    engine: Engine, redis: Redis, settings: Settings, ids: Sequence[UUID], *, saved: bool = True
) -> dict[UUID, Elsewhere]:
    """Return what is held elsewhere, of those sessions whose agents trade elsewhere and ever said or should have said.

    saved False: what is only in a save is not looked for. Redis away: the saves answer, and none proves a flat book.
    Raises Unavailable (Postgres).
    """
    if not ids:
        return {}
    with transaction(engine) as connection:
        asked = rows(connection.execute(_ASKED, {"ids": list(ids)}))
    answers = _live(engine, redis, settings, asked) if asked else []
    found = {}
    for index, row in enumerate(asked):
        away = Elsewhere(tuple(row["remote"]), doubt=_OUT_OF_REACH)
        one = away if answers is None else _of_live(row, answers[index], settings)
        if one is None or one.doubt:
            last = (_saved(engine, redis, settings, row) if saved else None) or _noted(row)
            one = _last_known(one, last)
        if one is not None:
            found[row["session_id"]] = one
    return found


def _live(engine: Engine, redis: Redis, settings: Settings, asked: Sequence[Row]) -> list[Answer] | None:
    try:
        with health_of(engine, settings).calling(REDIS):
            return ask_live(redis, asked, (TRADING,), settings.market_clock_skew_s)
    except Unavailable as error:
        log.warning("reports_not_read", problem=str(error))
        return None


def _of_live(row: Row, answer: Answer, settings: Settings) -> Elsewhere | None:
    """Return what is said live; with a doubt where that counts for nothing, None where nothing is said at all."""
    [part] = answer.parts
    if part is None:
        return None
    said = _believed(row, part, settings)
    if isinstance(said, str):
        return Elsewhere(tuple(row["remote"]), doubt=said, age_s=answer.age_s)
    fresh = answer.age_s is not None and answer.age_s <= settings.rule_data_max_age_s
    found = _as_said(row, said, part, answer.age_s)
    if fresh and answer.current:
        return replace(found, current=True)
    if found.flat and _noted(row):
        return replace(found, doubt="they reported an empty book once, and went silent")
    return found


def _believed(row: Row, part: bytes, settings: Settings) -> ReportedTrading | str:
    """Return what a money view says of what is held, or why it says nothing."""
    try:
        said = read_report(part, row["now"], settings.market_clock_skew_s)
    except InvalidArgument as error:
        return f"what they report cannot be true: {error}"
    return said if said.positions is not None else "they report money, and no open_positions (an empty list: none)"


def _as_said(row: Row, said: ReportedTrading, part: bytes, age_s: float | None) -> Elsewhere:
    positions = said.positions or ()
    return Elsewhere(
        tuple(row["remote"]), name_positions(positions), said.position_count or 0, said.orders or 0, age_s, part=part
    )


def _saved(engine: Engine, redis: Redis, settings: Settings, row: Row) -> Elsewhere | None:
    """Return what the latest save says; None where it says nothing, or nothing that counts."""
    if row["last_saved_at"] is None:
        return None
    try:
        found = load(engine, redis, settings, Ref(row["session_id"]), only=(TRADING,)).snapshot
    except FntxError as error:
        log.warning("save_not_read", session_id=str(row["session_id"]), problem=str(error))
        return None
    part = found.parts.get(TRADING)
    said = None if part is None else _believed(row, part, settings)
    if part is None or said is None or isinstance(said, str):
        return None
    saved = _as_said(row, said, part, max((row["now"] - found.created_at).total_seconds(), 0.0))
    return None if saved.flat and _noted(row) else saved


def _noted(row: Row) -> Elsewhere | None:
    """Return what was open as the stop under way began; None: nothing, or none is under way."""
    note = (row["pending"] or {}).get(NOTED)
    if note is None:
        return None
    age_s = max((row["now"] - datetime.fromisoformat(note["at"])).total_seconds(), 0.0)
    return Elsewhere(tuple(row["remote"]), note["named"], note["count"], note["orders"], age_s)


def _last_known(live: Elsewhere | None, last: Elsewhere | None) -> Elsewhere | None:
    """Return what was known last, doubted for what is live; None: nothing ever was."""
    if last is None:
        return live
    # Nothing was open, and nothing is said since: as flat as it was. What is said and cannot count makes that doubtful.
    doubt = live.doubt if live else "" if last.flat else _GONE
    return replace(last, doubt=doubt)


def name_positions(positions: Sequence[PositionFacts]) -> str:
    """Return positions as ``9 short puts (-9 SPY 2018-01-09 200 put)``; empty for none."""
    if not positions:
        return ""
    counted: dict[str, int] = {}
    for one in positions:
        side = "short" if one.quantity < 0 else "long"
        counted[f"{side} {_KINDS[one.right]}"] = counted.get(f"{side} {_KINDS[one.right]}", 0) + abs(one.quantity)
    listed = [_leg(one) for one in positions[:_LEGS_NAMED]]
    listed += [f"and {len(positions) - _LEGS_NAMED} more"] if len(positions) > _LEGS_NAMED else []
    total = ", ".join(f"{n} {kind[:-1] if n == 1 else kind}" for kind, n in counted.items())
    return f"{total} ({', '.join(listed)})"


_KINDS: Mapping[str, str] = {"put": "puts", "call": "calls", "stock": "shares"}


def _leg(one: PositionFacts) -> str:
    option = () if one.strike is None else (str(one.expiry or ""), f"{one.strike:f}", one.right)
    return " ".join(filter(None, (f"{one.quantity}", one.symbol[:40], *option)))


def _orders(count: int) -> str:
    return "" if not count else f"{count} working order{'s' if count > 1 else ''}"
