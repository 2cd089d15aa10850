"""The thresholds of docs/trading.md in one frozen object, each a setting of the process with the page's default."""

from dataclasses import dataclass
from decimal import Decimal

from fntx_sessions.settings import Settings

VARIANCE_DAYS = 252


@dataclass(frozen=True, slots=True)
class TradingRules:
    """Dollars, fractions, minutes and seconds as named; `from_settings` fills them from FNTX_* variables."""

    fee_per_contract: Decimal = Decimal("0.68")
    flat_by_minutes: float = 15
    quote_max_age_s: float = 15
    quote_stale_mark_s: float = 30
    quote_stale_suspend_s: float = 60
    market_clock_skew_s: float = 2
    limit_data_max_age_s: float = 30
    limit_grace_s: float = 60
    loss_warning_fraction: Decimal = Decimal("0.8")
    expiry_buffer_fraction: Decimal = Decimal("0.005")
    stress_move_fraction: float = 0.05
    flatten_cap: Decimal = Decimal("0.25")
    half_spread: float = 0.01
    half_spread_fraction: float = 0.05
    wide_spread_factor: float = 2
    wide_spread_minutes: float = 30
    stop_slippage: Decimal = Decimal("0.05")
    session_variance_share: float = 0.75

    @staticmethod
    def from_settings(settings: Settings) -> "TradingRules":
        """Return the rules this process was told."""
        return TradingRules(
            fee_per_contract=_decimal(settings.fee_per_contract_usd),
            flat_by_minutes=settings.flat_by_minutes,
            quote_max_age_s=settings.quote_max_age_s,
            quote_stale_mark_s=settings.quote_stale_mark_s,
            quote_stale_suspend_s=settings.quote_stale_suspend_s,
            market_clock_skew_s=settings.market_clock_skew_s,
            limit_data_max_age_s=settings.rule_data_max_age_s,
            limit_grace_s=settings.limit_grace_s,
            loss_warning_fraction=_decimal(settings.loss_warning_fraction),
            expiry_buffer_fraction=_decimal(settings.expiry_buffer_fraction),
            stress_move_fraction=settings.stress_move_fraction,
            flatten_cap=_decimal(settings.flatten_cap_usd),
            half_spread=settings.half_spread_usd,
            half_spread_fraction=settings.half_spread_fraction,
            wide_spread_factor=settings.wide_spread_factor,
            wide_spread_minutes=settings.wide_spread_minutes,
            stop_slippage=_decimal(settings.stop_slippage_usd),
            session_variance_share=settings.session_variance_share,
        )


DEFAULT_RULES = TradingRules()


def _decimal(value: float) -> Decimal:
    return Decimal(str(value))
