"""Rules of sessions that our workers step on a simulated clock: judged at each bar, on what was known at that bar.

Nothing here looks at the wall, so that a day that is played again is judged again alike.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from fntx_sessions.agents.base import StepContext
from fntx_sessions.agents.runtime import Runtime
from fntx_sessions.automation.rules import acting
from fntx_sessions.automation.rules.compile import compile_stored
from fntx_sessions.automation.rules.conditions.hours import hours_of
from fntx_sessions.automation.rules.judgement import Answer, Judged, Kept, judge, keep
from fntx_sessions.automation.rules.latching import latch_fired
from fntx_sessions.automation.rules.model import Facts, RuleSets, SessionFacts
from fntx_sessions.automation.rules.moments import market_facts
from fntx_sessions.automation.rules.rows import keep_one
from fntx_sessions.automation.rules.telling import tell, tell_latched
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import SessionType
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import Settings

_NO_RULES = RuleSets()


def judge_bar(
    runtime: Runtime, context: StepContext, measures: dict[str, Any], settings: Settings
) -> tuple[Judged, Kept] | None:
    """Judge a session's rules at a bar of its simulated day; None where they are not for the host to judge.

    Returns what was judged, and what is to be kept of it as long as nothing is asked for.
    """
    if not runtime.clock.simulated:
        return None
    rules = compile_stored(runtime.rules_text)
    if rules == _NO_RULES:
        return None
    facts = _facts(runtime, context, measures)
    judged = judge(rules, facts, runtime.standing, settings, holds=runtime.holds, positions=not runtime.book.flat)
    kept = keep(judged, None, settings)
    return judged, tell(kept, judged, facts.session, (), context.calendar.trade_date(facts.now))


def ask(desk: Desk, actor: Actor, runtime: Runtime, judged: Judged) -> Answer:
    """Ask for what a bar's judgement wants, and keep what became of it, here and in Postgres."""
    day = runtime.book.trade_date
    fired = latch_fired(desk, judged, runtime.account_id, day, latched=runtime.account.latched is not None)
    answer = acting.ask(desk, actor, judged, runtime.version, runtime.epoch)
    kept = keep(judged, answer, desk.settings)
    if fired is not None:
        runtime.account = replace(runtime.account, latched=judged.why)
        kept = tell_latched(kept, fired, runtime.account_id, day)
    keep_one(desk.engine, kept, runtime.epoch, desk.settings.rule_decisions_kept)
    runtime.standing = kept.standing
    return answer


def _facts(runtime: Runtime, context: StepContext, measures: dict[str, Any]) -> Facts:
    extended, day = runtime.session_type is SessionType.EXTENDED_HOURS, runtime.feed.simulated_day
    hours = None if day is None else hours_of(runtime.calendar, day, extended=extended)
    return Facts(
        session_id=runtime.session_id,
        now=context.now,
        status=runtime.status,
        calendar=runtime.calendar,
        extended=extended,
        started_at=context.now if hours is None else hours[0],
        market=None if context.tick is None else market_facts(context.tick),
        session=_session(measures),
    )


def _session(measures: dict[str, Any]) -> SessionFacts:
    """Return a bar's measures, as they stand at that very bar."""
    return SessionFacts(
        age_s=0.0,
        daily_pnl=_dollars(measures["daily_pnl"]),
        loss_limit=_dollars(measures["loss_limit"]),
        latched=measures["latched"],
        drawdown=_dollars(measures["drawdown"]),
        position_count=measures["position_count"],
        error_rate=measures["error_rate"],
        decision_latency_ms=measures["decision_latency_ms"],
        guarded=True,
    )


def _dollars(amount: str | None) -> Decimal | None:
    return None if amount is None else Decimal(amount)
