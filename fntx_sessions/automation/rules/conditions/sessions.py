"""Conditions that read how the session itself does: money, positions, errors, speed."""

from decimal import Decimal
from typing import Any

from fntx_sessions.automation.rules.conditions.base import SESSION, Builtin, Threshold, dollars, fraction
from fntx_sessions.automation.rules.conditions.values import number
from fntx_sessions.automation.rules.model import Facts, Reading, SessionFacts

_NONE_EVER = Reading(None, note="nothing was reported yet")
_DOLLARS_MAX = 1e12
_positive_dollars = number(0, _DOLLARS_MAX, "dollars", above_low=True)


def _loss_limit(value: Any) -> Any:
    """Take true, for the account's own limit, or dollars."""
    if value is True:
        return True
    if value is False:
        raise ValueError("should be true or dollars", "Write true for the account's limit, or dollars such as 500.")
    return _positive_dollars(value)


def _daily_loss(facts: Facts, value: Any) -> Reading:
    found = facts.session
    if found is None:
        return _NONE_EVER
    loss = None if found.daily_pnl is None else 0.0 - float(found.daily_pnl)
    if value is not True:
        return Reading(loss, _pnl_age(found))
    if found.latched:  # holds for the trade date, however old the report and wherever the loss stands by now
        return Reading(loss, None, "the account's daily loss limit has fired", _money(found.loss_limit), decided=True)
    limit = _money(found.loss_limit)
    if limit is None:
        return Reading(None, _pnl_age(found), "the account's daily loss limit is not known")
    return Reading(loss, _pnl_age(found), limit=limit)


def _pnl_age(found: SessionFacts) -> float:
    return found.age_s if found.pnl_age_s is None else found.pnl_age_s


def _money(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)


def _daily_profit(facts: Facts, _value: Any) -> Reading:
    found = facts.session
    return _NONE_EVER if found is None else Reading(_money(found.daily_pnl), _pnl_age(found))


def _drawdown(facts: Facts, _value: Any) -> Reading:
    found = facts.session
    if found is None:
        return _NONE_EVER
    return Reading(None if found.drawdown is None else 0.0 - float(found.drawdown), found.age_s)


def _position_count(facts: Facts, _value: Any) -> Reading:
    found = facts.session
    return _NONE_EVER if found is None else Reading(found.position_count, found.age_s)


def _error_rate(facts: Facts, _value: Any) -> Reading:
    found = facts.session
    return _NONE_EVER if found is None else _quiet(found, found.error_rate, "too few attempts in the last 5 min")


def _latency(facts: Facts, _value: Any) -> Reading:
    found = facts.session
    return _NONE_EVER if found is None else _quiet(found, found.decision_latency_ms, "no decisions yet")


def _quiet(found: SessionFacts, value: float | None, why: str) -> Reading:
    """Return a value that a sound session may well not have yet."""
    return Reading(value, found.age_s, why if value is None else "", expected=value is None)


def _milliseconds(value: float) -> str:
    return f"{value:.6g} ms"


SESSIONS: tuple[Builtin, ...] = (
    Threshold(
        name="daily_loss_exceeded",
        label="daily loss",
        takes="`true` (the account's daily loss limit) or dollars",
        means="the account's loss of the trade date has reached this; `true` also once the limit has fired that day",
        check_value=_loss_limit,
        read_facts=_daily_loss,
        source=SESSION,
        ordered=1,
        show=dollars,
        inclusive=True,
        warned=True,
    ),
    Threshold(
        name="daily_profit_reached",
        label="daily profit",
        takes="dollars",
        means="the account's profit of the trade date, after fees, has reached this",
        check_value=_positive_dollars,
        read_facts=_daily_profit,
        source=SESSION,
        ordered=1,
        show=dollars,
        inclusive=True,
    ),
    Threshold(
        name="drawdown_above",
        label="drawdown",
        takes="dollars, positive",
        means="equity is or was more than this below its peak (the session's maximum drawdown)",
        check_value=number(0, _DOLLARS_MAX, "dollars"),
        read_facts=_drawdown,
        source=SESSION,
        ordered=1,
        show=dollars,
        warned=True,
    ),
    Threshold(
        name="error_rate_above",
        label="error rate",
        takes="a fraction, `0.1` is 10 %",
        means="more than this share of steps and broker calls failed in the last 5 minutes; not known below 20",
        check_value=number(0, 0.99, "a fraction, 0.1 is 10 %"),
        read_facts=_error_rate,
        source=SESSION,
        ordered=1,
        show=fraction,
    ),
    Threshold(
        name="position_count_above",
        label="positions",
        takes="a whole number",
        means="more contracts than this are open",
        check_value=number(0, 1_000_000, "contracts", whole=True),
        read_facts=_position_count,
        source=SESSION,
        ordered=1,
    ),
    Threshold(
        name="decision_latency_above",
        label="decision latency",
        takes="milliseconds",
        means="from the quote to the stored intent it takes longer than this (median)",
        check_value=number(0, 3_600_000, "milliseconds"),
        read_facts=_latency,
        source=SESSION,
        ordered=1,
        show=_milliseconds,
    ),
)
