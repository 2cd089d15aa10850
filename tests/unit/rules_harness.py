"""Sessions and markets for tests of rules: one ordinary moment, and whatever a test changes about it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import orjson

from fntx_sessions.automation.rules.compile import compile_rules, compile_stored
from fntx_sessions.automation.rules.engine import evaluate
from fntx_sessions.automation.rules.model import Facts, MarketFacts, Memory, SessionFacts
from fntx_sessions.schemas import Hold, SessionStatus
from fntx_sessions.settings import Settings
from fntx_sessions.trading.calendars import get_calendar

NYSE = get_calendar()
SETTINGS = Settings()
S = SessionStatus
RULE_HELD = frozenset({Hold.RULE})

MARKET = MarketFacts(4.0, spot=270.0, previous_close=275.0, vix=18.0, regime="normal", liquidity="normal")
SESSION = SessionFacts(
    2.0,
    daily_pnl=Decimal(-100),
    loss_limit=Decimal(500),
    drawdown=Decimal(-150),
    position_count=2,
    error_rate=0.05,
    decision_latency_ms=12.0,
)


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


NOW = utc(2018, 2, 5, 15, 0)  # Monday 10:00 in New York
FACTS = Facts(UUID(int=1), NOW, S.ACTIVE, NYSE, started_at=NOW - timedelta(minutes=20), market=MARKET, session=SESSION)


def facts(now=NOW, status=S.ACTIVE, *, market=None, session=None, **changes):
    """Return the ordinary facts; market and session: what differs, or False for nothing ever came."""
    changed = {"market": _changed(MARKET, market), "session": _changed(SESSION, session), **changes}
    return replace(FACTS, now=now, status=status, **changed)


def _changed(usual, changes):
    return None if changes is False else replace(usual, **(changes or {}))


def condition(name, value=True, **options):  # noqa: FBT002 - the default of rules
    return {"condition": name, "value": value, **options}


def text(**sets):
    return orjson.dumps({f"auto_{name}_conditions": found for name, found in sets.items()}).decode()


def rules(**sets):
    return compile_rules(text(**sets), SETTINGS)


def stored_rules(**sets):
    return compile_stored(text(**sets))


def judged(ruleset, found, memory=None, *, holds=frozenset(), positions=True):
    return evaluate(ruleset, found, memory or Memory(), SETTINGS, holds=holds, positions=positions)


def truth(raw, found):
    """Return how one condition stands, as a stop rule of an active session."""
    return judged(rules(stop=[raw]), replace(found, status=S.ACTIVE)).truths["stop"][0]
