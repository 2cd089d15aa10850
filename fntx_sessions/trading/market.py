"""The market at one moment as agents see it, and the board of option quotes that follows from it."""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from fntx_sessions.trading.orders import CENT, Contract
from fntx_sessions.trading.pricing import (
    NO_QUOTE,
    Quote,
    deviation,
    option_delta,
    option_value,
    quote_around,
    strike_for_delta,
    volatility,
)
from fntx_sessions.trading.rules import DEFAULT_RULES, TradingRules


@dataclass(frozen=True, slots=True)
class MarketTick:
    """What is known at `now`, and nothing of what comes after.

    spot, previous_close: SPY dollars. vix: the previous day's close for replayed and synthetic days, the published
    level else. share_left: share of the stock session still to come, 0-1. age_s: seconds since the data is from;
    stale: older than `quote_max_age_s`. ahead_s: seconds by which its date lies in the future. market_open: stock
    session open, not halted, fresh. option_open: options trade and none is halted, by the calendar alone.
    minutes_to_close: to the stock close, None after it. regime: as it was published; None: nobody said. received_ns:
    monotonic clock of this process when the data came in, for decision latency only.
    """

    now: datetime
    trade_date: date
    spot: float
    previous_close: float
    vix: float | None
    beta: float
    share_left: float
    age_s: float
    stale: bool
    market_open: bool
    option_open: bool
    stock_open: bool
    extended_hours: bool
    half_day: bool
    halted: bool
    minutes_to_close: float | None
    option_close: datetime | None
    kind: str
    received_ns: int = field(default=0, compare=False)
    ahead_s: float = 0.0
    regime: str | None = None

    @property
    def sigma(self) -> float | None:
        """Return the annual volatility the model uses now, None without a VIX."""
        if self.vix is None:
            return None
        return volatility(self.vix, self.spot, self.previous_close, self.beta)


class Board:
    """Quotes of one moment, each computed once. stressed: a stop fired today, so spreads are doubled."""

    def __init__(self, tick: MarketTick, rules: TradingRules = DEFAULT_RULES, *, stressed: bool = False) -> None:
        self.tick = tick
        self.rules = rules
        self.stressed = stressed
        self._quotes: dict[Contract, Quote] = {}
        sigma = tick.sigma
        self._deviation = None if sigma is None else deviation(sigma, tick.share_left, rules)
        ending = tick.minutes_to_close is None or tick.minutes_to_close <= rules.wide_spread_minutes
        self._wide = stressed or ending

    def quote(self, contract: Contract) -> Quote:
        """Return what `contract` can be traded at now; no bid and no ask where it is shut, halted, stale or unknown."""
        found = self._quotes.get(contract)
        if found is None:
            found = self._quotes[contract] = self._quote(contract)
        return found

    def model(self, contract: Contract) -> Decimal | None:
        """Return the model's value per share from the last known data, even while nothing trades; None if unknown."""
        value = self._value(contract)
        return None if value is None else Decimal(round(value * 10_000)).scaleb(-4)

    def delta(self, contract: Contract) -> float:
        """Return delta per share, 1 for the stock and 0 where the model knows nothing."""
        if contract.strike is None:
            return 1.0
        if not self._priced(contract) or self._deviation is None:
            return 0.0
        return option_delta(contract.right, float(contract.strike), self.tick.spot, self._deviation)

    def strike(self, right: str, delta: float) -> Decimal | None:
        """Return today's $1 strike nearest to `delta`, None where there is no volatility to tell it from."""
        if self._deviation is None:
            return None
        return strike_for_delta("put" if right == "put" else "call", self.tick.spot, self._deviation, delta)

    def value_at(self, contract: Contract, spot: float) -> float:
        """Return the model's value per share if SPY stood at `spot` now, volatility unchanged."""
        if contract.strike is None:
            return spot
        if not self._priced(contract) or self._deviation is None:
            return float(contract.intrinsic(Decimal(str(spot))))
        return option_value(contract.right, float(contract.strike), spot, self._deviation)

    def _quote(self, contract: Contract) -> Quote:
        tick = self.tick
        if tick.stale or tick.halted:
            return NO_QUOTE
        if contract.strike is None:
            return _stock_quote(tick.spot) if tick.stock_open else NO_QUOTE
        value = self._value(contract) if tick.option_open else None
        if value is None:
            return NO_QUOTE
        return quote_around(value, self.delta(contract), self.rules, wide=self._wide)

    def _value(self, contract: Contract) -> float | None:
        if contract.strike is None:
            return self.tick.spot
        if not self._priced(contract) or self._deviation is None:
            return None
        return option_value(contract.right, float(contract.strike), self.tick.spot, self._deviation)

    def _priced(self, contract: Contract) -> bool:
        # The model knows same-day expiries only (docs/trading.md); for others there is no quote rather than a guess.
        return contract.expiry == self.tick.trade_date


def _stock_quote(spot: float) -> Quote:
    mid = Decimal(str(round(spot, 2)))
    return Quote(mid - CENT, mid + CENT, mid, 1.0)
