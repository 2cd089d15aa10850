"""The sweep that judges the rules of all sessions on the wall's clock: claim, read, judge, ask, write, batch by batch.

Commands come before the write: whoever is killed between the two has sessions that moved, which are judged anew as
they are by then, and one decision less on record; its reason stands with the transition.
"""

from collections import Counter
from time import monotonic
from typing import Any

import structlog

from fntx_sessions.automation.limits import Breach, breaches, near_limits
from fntx_sessions.automation.rules import acting
from fntx_sessions.automation.rules.compile import compile_stored
from fntx_sessions.automation.rules.facts import Found, Situation, read_found
from fntx_sessions.automation.rules.judgement import Answer, judge, keep
from fntx_sessions.automation.rules.latching import latch_fired
from fntx_sessions.automation.rules.model import RuleSets
from fntx_sessions.automation.rules.rows import Finished, claim_due, finish
from fntx_sessions.automation.rules.telling import tell, tell_latched
from fntx_sessions.automation.sweeps import until_done
from fntx_sessions.exceptions import FntxError
from fntx_sessions.lifecycle import orders
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import RiskParameters, SessionConfig
from fntx_sessions.security.actor import Actor
from fntx_sessions.testing import failpoint
from fntx_sessions.trading.rules import TradingRules

log = structlog.get_logger(__name__)
# A claim outlives the time limit that kills its holder.
_CLAIM_S = 60.0
_NO_RULES = RuleSets()
# Sessions without any rule, whose limits an agent of ours keeps, are looked at this much more rarely.
_IDLE = 12
Row = dict[str, Any]


def evaluate_due(desk: Desk, actor: Actor) -> dict[str, int]:
    """Judge every session whose rules are due and ask for what they say; return counts by what became of each.

    Goes on for `state_sweep_s` while batches come full; what is left then is due at once for the next sweep.
    """
    counts: Counter[str] = Counter()
    settings = desk.settings
    until = monotonic() + settings.state_sweep_s
    until_done(lambda: _batch(desk, actor, counts, until), settings.rule_batch, settings.state_sweep_s)
    return dict(counts)


def _batch(desk: Desk, actor: Actor, counts: Counter[str], until: float) -> int:
    claimed = claim_due(desk.engine, desk.settings.rule_batch, _CLAIM_S)
    failpoint("rules.claimed")
    if not claimed:
        return 0
    found = read_found(desk, claimed)
    finished = []
    for row in claimed:
        if monotonic() >= until:
            finished.append(Finished(row, None, None))
            counts["left"] += 1
            continue
        finished.append(_safely(desk, actor, row, found, counts))
    failpoint("rules.asked")
    finish(desk.engine, finished, desk.settings.rule_decisions_kept)
    return len(claimed)


def _safely(desk: Desk, actor: Actor, row: Row, found: Found, counts: Counter[str]) -> Finished:
    """Judge one session; whatever is wrong with it stops no other."""
    try:
        one = found.situation(row["session_id"])
        return _judge(desk, actor, row, one, counts) if one else Finished(row, desk.settings.rule_interval_s, None)
    except Exception as error:
        if isinstance(error, FntxError):
            log.warning("rules_not_judged", session_id=str(row["session_id"]), problem=str(error))
        else:
            log.exception("rules_not_judged", session_id=str(row["session_id"]))
        counts["failed"] += 1
        return Finished(row, desk.settings.rule_interval_s, None)


def _judge(desk: Desk, actor: Actor, row: Row, one: Situation, counts: Counter[str]) -> Finished:
    interval_s, session = desk.settings.rule_interval_s, one.facts.session
    rules, (found, near) = compile_stored(one.rules), _limits(desk, one)
    if rules == _NO_RULES and not found and not near and one.standing.sequence == 0:
        counts["idle"] += 1
        return Finished(row, interval_s * (_IDLE if session and session.guarded else 1), None)
    judged = judge(rules, one.facts, one.standing, desk.settings, holds=one.holds, positions=one.positions)
    judged = acting.heed(judged, found, one.trade_date.isoformat())
    latched = session is not None and session.latched
    fired = latch_fired(desk, judged, one.account_id, one.trade_date, latched=latched)
    answer = acting.ask(desk, actor, judged, one.version, one.epoch) if judged.due else None
    _latch(desk, one, found, answer)
    counts[f"{judged.wanted}_{answer.result}" if answer else "judged"] += 1
    kept = tell(keep(judged, answer, desk.settings), judged, session, found, one.trade_date, near)
    if fired is not None and not any(breach.latches for breach in found):
        kept = tell_latched(kept, fired, one.account_id, one.trade_date)
    moved = answer is not None and answer.result == "moved"
    return Finished(row, None if moved else interval_s, kept)


def _limits(desk: Desk, one: Situation) -> tuple[list[Breach], list[tuple[str, str]]]:
    """Return the limits that are broken, and those that nearly are, where no agent of ours keeps them."""
    session = one.facts.session
    if session is None or session.guarded or one.facts.started_at is None or one.config is None:
        return [], []
    config, risk = SessionConfig.model_validate(one.config), RiskParameters.model_validate(one.risk_parameters)
    rules = TradingRules.from_settings(desk.settings)
    return breaches(one.facts, config, risk, rules), near_limits(one.facts, config, risk, rules)


def _latch(desk: Desk, one: Situation, found: list[Breach], answer: Answer | None) -> None:
    """Latch the account's day once its session is held; one that is not yet is asked for again by the same breach."""
    if answer is not None and answer.result not in ("done", "pending"):
        return
    for breach in found:
        if breach.latches:
            orders.latch(desk.engine, one.account_id, one.trade_date, f"session {one.facts.session_id}", breach.why)
