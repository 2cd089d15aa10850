"""A session's limits, judged by the manager on what its agents report: each one broken is a Breach.

Sessions whose RiskManagerAgent is hosted are not judged here: it keeps the same limits itself, bar by bar. What is not
known breaks no limit; a rule or a health check says that it is missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from fntx_sessions.automation.rules.model import Facts, PositionFacts, SessionFacts
from fntx_sessions.schemas import RiskParameters, SessionConfig, SessionStatus
from fntx_sessions.trading.rules import DEFAULT_RULES, TradingRules

_ACTS = {
    "pause": frozenset({SessionStatus.ACTIVE}),
    "stop": frozenset({SessionStatus.ACTIVE, SessionStatus.PAUSED, SessionStatus.SUSPENDED, SessionStatus.ERROR}),
}
_STARTED = _ACTS["stop"] | {SessionStatus.CLOSING}
_NOT_CLOSED_BY_PAUSE = (
    "a pause closes nothing: have its agents close it, or `fntx stop` it, which tells them to and waits until they "
    "report an empty book"
)


class Limit(StrEnum):
    """The limits of a session that the manager judges."""

    DAILY_LOSS = "max_daily_risk"
    POSITIONS = "position_limit"
    OVERNIGHT = "allow_overnight_positions"
    HOLD_TIME = "max_position_hold_time"
    EXPIRY = "expiry"


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that is broken. key: says it is the same one; each is told once a trade date, as `why`.

    action: what is due now by the session's `on_breach`; None: it has been done, or the session's status leaves no
    room for it. standing: the action is due for as long as the breach lasts, else once a trade date and key.
    latches: the account's loss limit is to be latched for the trade date, as hosted sessions do.
    """

    limit: Limit
    key: str
    why: str
    action: Literal["pause", "stop"] | None
    standing: bool = False
    latches: bool = False


@dataclass(frozen=True, slots=True)
class _Judged:
    facts: Facts
    session: SessionFacts
    config: SessionConfig
    risk: RiskParameters
    rules: TradingRules

    def breach(self, limit: Limit, key: str, why: str, *, standing: bool = False, latches: bool = False) -> Breach:
        action = self.config.on_breach
        possible = self.facts.status in _ACTS[action]
        return Breach(limit, key, why, action if possible else None, standing=standing, latches=latches)


def breaches(
    facts: Facts, config: SessionConfig, risk: RiskParameters, rules: TradingRules = DEFAULT_RULES
) -> list[Breach]:
    """Return the limits that are broken at `facts.now`, the loss limit first; none where nothing is known.

    Data older than `rule_data_max_age_s` is not known. Agents have `limit_grace_s` after a moment on the clock.
    """
    session = facts.session
    if session is None or session.guarded or facts.status not in _STARTED:
        return []
    if not 0 <= session.age_s <= rules.limit_data_max_age_s:
        return []
    judged = _Judged(facts, session, config, risk, rules)
    return [*_loss(judged), *_count(judged), *_overnight(judged), *_held_too_long(judged), *_expiries(judged)]


def near_limits(
    facts: Facts, config: SessionConfig, risk: RiskParameters, rules: TradingRules = DEFAULT_RULES
) -> list[tuple[str, str]]:
    """Return (key, sentence) of limits that are nearly reached: the day's loss, from `loss_warning_fraction` on."""
    session = facts.session
    if session is None or session.guarded or session.latched or not 0 <= session.age_s <= rules.limit_data_max_age_s:
        return []
    known = _loss_and_limit(session, rules)
    if known is None:
        return []
    pnl, limit = known
    if limit <= 0 or pnl > -rules.loss_warning_fraction * limit or breaches(facts, config, risk, rules):
        return []
    share = round(-pnl / limit * 100)
    told = f"day's loss ${-pnl:.2f} is {share} % of the limit ${limit:.2f}, where trading stops"
    return [(Limit.DAILY_LOSS.value, told)]


def _loss(judged: _Judged) -> Iterator[Breach]:
    known = _loss_and_limit(judged.session, judged.rules)
    if known is None or judged.session.latched:
        return
    pnl, limit = known
    if pnl <= -limit:
        why = f"day's loss ${-pnl:.2f} reached the limit ${limit:.2f}, which is where trading stops"
        yield judged.breach(Limit.DAILY_LOSS, Limit.DAILY_LOSS, why, standing=True, latches=True)


def _loss_and_limit(session: SessionFacts, rules: TradingRules) -> tuple[Decimal, Decimal] | None:
    """Return the day's P&L and the loss limit; None where one of them is not known, or not of late."""
    pnl, limit = session.daily_pnl, session.loss_limit
    if pnl is None or limit is None or not pnl.is_finite() or not limit.is_finite():
        return None
    return (pnl, limit) if 0 <= (session.pnl_age_s or 0) <= rules.limit_data_max_age_s else None


def _count(judged: _Judged) -> Iterator[Breach]:
    count, limit = judged.session.position_count, judged.risk.position_limit
    if count is not None and count > limit:
        why = f"{count} contracts are open, position_limit is {limit}; {_NOT_CLOSED_BY_PAUSE}"
        yield judged.breach(Limit.POSITIONS, Limit.POSITIONS, why, standing=True)


def _overnight(judged: _Judged) -> Iterator[Breach]:
    """Positions past the day's flat-by, and positions of an earlier trade date, where none may be held over."""
    if judged.config.allow_overnight_positions:
        return
    deadline = flat_by(judged.facts, judged.rules)
    late = deadline is None or judged.facts.now > deadline + timedelta(seconds=judged.rules.limit_grace_s)
    held = judged.session.position_count if late else len(_carried(judged))
    if held:
        by = "the market is shut" if deadline is None else f"flat-by was {_local(judged.facts, deadline)}"
        when = by if late else "they were opened on an earlier trade date"
        why = f"positions may not be held overnight, {when}, and {held} are open; {_NOT_CLOSED_BY_PAUSE}"
        yield judged.breach(Limit.OVERNIGHT, Limit.OVERNIGHT, why)


def flat_by(facts: Facts, rules: TradingRules) -> datetime | None:
    """Return the moment of today by which to be flat, from the day's own close; None on a day without trading."""
    hours = facts.calendar.hours_at(facts.now)
    return None if hours is None else hours.close - timedelta(minutes=rules.flat_by_minutes)


def _carried(judged: _Judged) -> list[PositionFacts]:
    calendar = judged.facts.calendar
    today = calendar.trade_date(judged.facts.now)
    return [one for one in judged.session.positions or () if calendar.trade_date(one.opened_at) < today]


def _held_too_long(judged: _Judged) -> Iterator[Breach]:
    minutes = judged.config.max_position_hold_time
    if minutes is None:
        return
    longest = timedelta(minutes=minutes) + timedelta(seconds=judged.rules.limit_grace_s)
    for trade_id, opened_at in _trades(judged.session.positions or ()).items():
        held = judged.facts.now - opened_at
        if held > longest:
            why = f"{trade_id} is open for {held.total_seconds() / 60:.0f} min, max_position_hold_time is {minutes:g}"
            yield judged.breach(Limit.HOLD_TIME, f"{Limit.HOLD_TIME}/{trade_id}", f"{why}; {_NOT_CLOSED_BY_PAUSE}")


def _trades(positions: tuple[PositionFacts, ...]) -> dict[str, datetime]:
    """Return when each trade was opened: the earliest of its legs."""
    opened: dict[str, datetime] = {}
    for one in positions:
        opened[one.trade_id] = min(one.opened_at, opened.get(one.trade_id, one.opened_at))
    return opened


def _expiries(judged: _Judged) -> Iterator[Breach]:
    """Options that are carried into their expiry in the money or close to it, and those that outlived it."""
    today = judged.facts.calendar.local_date(judged.facts.now)
    for one in judged.session.positions or ():
        if one.expiry is None or one.expiry > today:
            continue
        if one.expiry < today:
            why = f"{one.symbol} expired on {one.expiry} and is still reported as open: ask the broker about it"
        elif _dangerous(one, judged):
            why = f"{one.symbol} expires today and is in the money or close to it; {_NOT_CLOSED_BY_PAUSE}"
        else:
            continue
        yield judged.breach(Limit.EXPIRY, f"{Limit.EXPIRY}/{one.symbol}", why)


def _dangerous(one: PositionFacts, judged: _Judged) -> bool:
    """Tell whether it is past flat-by and the spot, as known, is beyond the strike or within the buffer of it."""
    deadline, market = flat_by(judged.facts, judged.rules), judged.facts.market
    grace = timedelta(seconds=judged.rules.limit_grace_s)
    if deadline is None or judged.facts.now <= deadline + grace or market is None or market.spot is None:
        return False
    if one.strike is None:
        return False
    spot = Decimal(str(market.spot))
    inside = one.strike - spot if one.right == "put" else spot - one.strike
    return inside > 0 or abs(inside) <= judged.rules.expiry_buffer_fraction * one.strike


def _local(facts: Facts, moment: datetime) -> str:
    return f"{moment.astimezone(facts.calendar.zone):%H:%M}"
