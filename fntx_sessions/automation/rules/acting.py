"""What a rule asks for: a command like anybody's, with the rule's why as its reason, under the system's own name."""

from dataclasses import replace
from uuid import uuid5

import structlog

from fntx_sessions import figures
from fntx_sessions.automation.limits import Breach
from fntx_sessions.automation.rules.judgement import Answer, Judged
from fntx_sessions.automation.rules.model import Action
from fntx_sessions.automation.rules.telling import breach_key
from fntx_sessions.exceptions import IllegalTransition, Retryable, VersionConflict
from fntx_sessions.lifecycle import commands, execute
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Hold, Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.testing import failpoint

log = structlog.get_logger(__name__)
_TRIGGERS = {
    Action.START: Trigger.START,
    Action.STOP: Trigger.STOP,
    Action.PAUSE: Trigger.PAUSE,
    Action.RESUME: Trigger.RESUME,
}
_HOLDING = (Action.PAUSE, Action.RESUME)
_MOVED = (VersionConflict.__name__, IllegalTransition.__name__)
_REASON_CHARACTERS = 2000


def ask(desk: Desk, actor: Actor, judged: Judged, version: int, epoch: int) -> Answer:
    """Ask for the action that is due and return what became of it; raises nothing that another try may cure.

    It is asked of the session as it was judged: one that moved meanwhile is left alone, and judged anew. The command's
    id follows from what was judged, so that after a kill the same judgement asks the same command.
    """
    action = judged.due
    assert action is not None  # noqa: S101 - callers look first
    answer = _ask(desk, actor, judged, action, version, epoch)
    figures.RULES_FIRED.note(1, action.value, answer.result)
    return answer


def _ask(desk: Desk, actor: Actor, judged: Judged, action: Action, version: int, epoch: int) -> Answer:
    command_id = uuid5(judged.session_id, f"rule/{action}/{epoch}/{version}/{judged.tries}/{judged.why}")
    hold = {"hold": Hold.RULE} if action in _HOLDING else {}
    arguments = commands.ARGUMENTS[_TRIGGERS[action]].model_validate(
        {
            "session_id": judged.session_id,
            "reason": judged.why[:_REASON_CHARACTERS],
            "expected_version": version,
            **hold,
        }
    )
    try:
        outcome = execute.command(desk, _TRIGGERS[action], actor, arguments, command_id)
    except Retryable as error:
        log.warning("rule_not_asked", session_id=str(judged.session_id), action=action, problem=str(error))
        return Answer("failed", None, str(error))
    failpoint("rules.answered")
    return _answer(judged, outcome)


def _answer(judged: Judged, outcome: Outcome) -> Answer:
    if outcome.error is None:
        log.info("rule_fired", session_id=str(judged.session_id), action=judged.wanted, why=judged.why)
        return Answer("pending" if outcome.state == "pending" else "done", outcome.command_id)
    if outcome.error["error"] in _MOVED:
        return Answer("moved", outcome.command_id, outcome.error["message"])
    log.info("rule_refused", session_id=str(judged.session_id), problem=outcome.error["message"])
    return Answer("refused", outcome.command_id, outcome.error["message"])


def heed(judged: Judged, found: list[Breach], day: str) -> Judged:
    """Return a judgement that heeds broken limits: they stop and pause like rules, and keep rules from resuming.

    A breach that is not standing acts once a trade date and key; a rule's stop comes before any.
    """
    if not found:
        return judged
    told = judged.standing.told
    acts = [one for one in found if one.action and (one.standing or told.get(breach_key(one)) != day)]
    worst = next((one for one in acts if one.action == "stop"), acts[0] if acts else None)
    if worst is not None and worst.action and judged.wanted is not Action.STOP:
        return replace(judged, wanted=Action(worst.action), why=worst.why)
    if judged.wanted in (Action.START, Action.RESUME):
        return replace(judged, wanted=None, why=f"not {judged.wanted}: {found[0].why}")
    return judged
