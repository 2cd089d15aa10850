"""One judgement of one session: what its rules say, what of that is to be asked for now, and what is to be kept of it.

The sweep and the host judge with this, so that a simulated day and the wall's are judged alike. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Literal
from uuid import UUID

import orjson

from fntx_sessions.automation.rules.engine import evaluate
from fntx_sessions.automation.rules.model import PAST, Action, Facts, Memory, RuleSets, Truth, Verdict
from fntx_sessions.automation.rules.standing import Asked, Standing
from fntx_sessions.schemas import Hold, SessionStatus
from fntx_sessions.settings import Settings

Result = Literal["done", "pending", "refused", "moved", "failed"]
_NOT_YET = ("refused", "pending")
_MOST_DOUBLINGS = 4
_SEEN_BYTES = 12


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an action. moved: the session was another by then, so that it is judged anew.

    failed: nothing was asked, for want of a store.
    """

    result: Result
    command_id: UUID | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A session as it was judged at its own clock. wanted: the action that should be; why: of it, or of its absence."""

    session_id: UUID
    status: SessionStatus
    clock: datetime
    verdict: Verdict
    standing: Standing
    wanted: Action | None
    why: str

    @property
    def due(self) -> Action | None:
        """Return the action to ask for now: the wanted one, but for one whose time to be asked again has not come."""
        asked = self.standing.asked
        waits = asked is not None and asked.action is self.wanted and self.clock < asked.again_at
        return None if waits else self.wanted

    @property
    def tries(self) -> int:
        """Return how often this action was asked for in a row before."""
        asked = self.standing.asked
        return asked.tries if asked is not None and asked.action is self.wanted else 0


@dataclass(frozen=True, slots=True)
class Kept:
    """What a judgement leaves to be stored. decision: None where it is as the last one."""

    session_id: UUID
    before: Standing
    standing: Standing
    decision: Mapping[str, Any] | None
    events: tuple[Mapping[str, Any], ...] = ()


def judge(
    rules: RuleSets, facts: Facts, standing: Standing, settings: Settings, *, holds: frozenset[Hold], positions: bool
) -> Judged:
    """Judge a session by its rules."""
    verdict = evaluate(rules, facts, standing.memory, settings, holds=holds, positions=positions)
    return Judged(facts.session_id, facts.status, facts.now, verdict, standing, verdict.action, verdict.why)


def keep(judged: Judged, answer: Answer | None, settings: Settings) -> Kept:
    """Return what is to be stored of a judgement and of what became of its action; answer None: nothing was asked."""
    before, asked = judged.standing, _asked(judged, answer, settings)
    result = answer.result if answer else asked.outcome if asked else None
    seen = _seen(judged, result)
    decided = answer is not None or seen != before.seen
    standing = replace(
        before,
        memory=_memory(judged, answer),
        seen=seen,
        asked=asked,
        missing=bool(judged.verdict.missing),
        sequence=before.sequence + decided,
    )
    decision = _decision(judged, answer, standing.sequence) if decided else None
    return Kept(judged.session_id, before, standing, decision)


def _memory(judged: Judged, answer: Answer | None) -> Memory:
    """Return what the engine is to remember: no cooldown runs for what did not come about."""
    verdict = judged.verdict
    came_about = answer is not None and answer.result in ("done", "pending") and judged.wanted is verdict.action
    if verdict.action is None or came_about or verdict.unfired is None:
        return verdict.memory
    return verdict.unfired


def _asked(judged: Judged, answer: Answer | None, settings: Settings) -> Asked | None:
    """Return what is still wanted: what was refused and what waits is asked for again, ever later."""
    before = judged.standing.asked
    if answer is None:
        return before if before is not None and before.action is judged.wanted else None
    if answer.result not in _NOT_YET or judged.wanted is None:
        return None
    wait_s = settings.rule_retry_s * 2 ** min(judged.tries, _MOST_DOUBLINGS)
    return Asked(judged.wanted, answer.result, judged.clock + timedelta(seconds=wait_s), judged.tries + 1)


def _decision(judged: Judged, answer: Answer | None, sequence: int) -> dict[str, Any]:
    undone = answer is not None and answer.result != "done"
    why = asked_why(judged.wanted, judged.why) if undone and judged.wanted else judged.why
    if answer is not None and answer.problem:
        why = f"{why}; {answer.result}: {answer.problem}"
    return {
        "seq": sequence,
        "clock_at": judged.clock,
        "status": judged.status,
        "action": judged.wanted,
        "outcome": answer.result if answer else None,
        "why": why,
        "truths": {name: [truth.to_json() for truth in found] for name, found in judged.verdict.truths.items()},
        "command_id": answer.command_id if answer else None,
    }


def asked_why(action: Action, why: str) -> str:
    """Return why an action is asked for, not saying that it came about: `start asked for: market open`."""
    return f"{action} asked for: {why.removeprefix(f'{PAST[action]}: ')}"


def _seen(judged: Judged, result: str | None) -> str:
    """Return what stands for a decision: two that differ only in figures are the same."""
    verdict = judged.verdict
    found = [[name, [_outline(truth) for truth in truths]] for name, truths in sorted(verdict.truths.items())]
    told = [judged.status, judged.wanted, result, verdict.missing, found]
    return blake2b(orjson.dumps(told), digest_size=_SEEN_BYTES).hexdigest()


def _outline(truth: Truth) -> Sequence[Any]:
    return (truth.path, truth.holds, truth.met, [_outline(child) for child in truth.children])
