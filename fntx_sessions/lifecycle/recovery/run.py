"""recover_session, start to end: raise the epoch, run the steps, end in PAUSED or leave the session as it was.

Each attempt has an epoch of its own, raised and committed before its first step: an attempt that was overtaken, or a
host that wakes up, writes nothing. Orders, positions and money never come from a snapshot.
"""

from typing import Any
from uuid import UUID

import structlog
from redis import Redis
from sqlalchemy import Engine

from fntx_sessions import figures
from fntx_sessions.exceptions import FntxError, IntegrityError, PreconditionFailed, Rejected, StaleEpoch, Unavailable
from fntx_sessions.lifecycle import commands, machine
from fntx_sessions.lifecycle.change import Ask, Outcome
from fntx_sessions.lifecycle.recovery.facts import Stores, read_facts
from fntx_sessions.lifecycle.recovery.plan import alternatives
from fntx_sessions.lifecycle.recovery.progress import Progress
from fntx_sessions.lifecycle.recovery.restoring import NothingLeft, Restored, Restoring
from fntx_sessions.lifecycle.recovery.settling import settle_with
from fntx_sessions.lifecycle.told import sentence
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import Settings
from fntx_sessions.state.objects.base import COLD_STORE
from fntx_sessions.state.parts import is_memory
from fntx_sessions.testing import failpoint
from fntx_sessions.trading.brokers import get_broker

log = structlog.get_logger(__name__)


def recover(engine: Engine, redis: Redis, settings: Settings, ask: Ask) -> Outcome:
    """Recover a session and return the outcome, PAUSED. Asked again while an attempt is pending, a new attempt begins.

    A failed step leaves the command pending for the next attempt and raises what went wrong. Where nothing can be put
    back it is refused; the session then stays as it was, its live state too, and waits for a person.
    """
    begun = machine.run(engine, ask, commands.begin_recovery, finishing=True)
    if begun.state != "pending" or begun.epoch is None:
        return begun
    failpoint("recovery.begun")
    try:
        return _attempt(engine, redis, settings, ask, begun, begun.epoch)
    except Exception:
        figures.RECOVERIES.note(1, "failed")
        raise


def _attempt(engine: Engine, redis: Redis, settings: Settings, ask: Ask, begun: Outcome, epoch: int) -> Outcome:
    stores = Stores(engine, redis, settings, mends=True)
    progress: Progress | None = None
    try:
        progress = Progress(engine, ask.command_id, ask.session_id, epoch)
        measured = _measured(stores, ask, progress, epoch)
    except StaleEpoch as error:
        return _overtaken(engine, ask, error) or begun
    except NothingLeft as left:
        return _refused(stores, ask, progress, _nothing_left(stores, ask, left.args[0]))
    except (Rejected, IntegrityError) as error:
        return _refused(stores, ask, progress, _for_good(ask, error))
    except Unavailable as error:
        if not ask.arguments.get("checkpoint_id") or error.args[0] != COLD_STORE:
            raise
        # Nothing else will do for whoever named it, and they are there to ask again: no attempt is spent on waiting.
        return _refused(stores, ask, progress, _away(ask, error))
    failpoint("recovery.restored")
    outcome = machine.run(engine, ask, commands.finish_recovery(measured), finishing=True)
    failpoint("recovery.finished")
    if outcome.state == "done":
        progress.close("done", finished=outcome.extra)
    _count(outcome)
    return outcome


def _count(outcome: Outcome) -> None:
    figures.RECOVERIES.note(1, outcome.state)
    told = ((figures.RECOVERY_RTO, "rto_s"), (figures.RECOVERY_DOWN, "down_s"), (figures.RECOVERY_RPO, "state_lost_s"))
    for figure, name in told:
        if outcome.extra.get(name) is not None:
            figure.note(outcome.extra[name])


def _measured(stores: Stores, ask: Ask, progress: Progress, epoch: int) -> dict[str, Any]:
    facts = read_facts(stores.engine, ask.session_id)
    restored = _restored(Restoring(stores, facts, progress, epoch), ask)
    broker = get_broker(facts.broker, stores.engine)
    settled = settle_with(stores.engine, broker, facts, progress, epoch, restored.memory)
    memory = restored.memory.parts if restored.memory else {}
    return {
        "epoch": epoch,
        "source": restored.source,
        "tier": restored.tier,
        "revision": restored.revision,
        "state_lost_s": restored.lost_s,
        "agents": sorted(filter(is_memory, memory)),
        "passed_over": progress.report["passed_over"],
        "attempts": progress.report["attempts"],
        "known_at": progress.report["known_at"],
        "open_positions": len(broker.positions(ask.session_id)),
        **settled,
        "requires_action": _call(ask.session_id, settled["differences"]),
    }


def _restored(restoring: Restoring, ask: Ask) -> Restored:
    asked, accept = ask.arguments.get("checkpoint_id"), ask.arguments.get("accept_identity")
    restoring.fence()
    return restoring.named(UUID(asked), accept) if asked else restoring.newest(accept)


def _call(session_id: UUID, found: list[dict[str, Any]]) -> str | None:
    if not found:
        return None
    told = "; ".join(map(sentence, found))[:3000]
    fix = f'a risk manager answers for it: `fntx accept {session_id} --reason "..."`'
    return f"what is remembered, the ledger and the broker differ: {told}. Look, then {fix}."


def _for_good(ask: Ask, error: Rejected | IntegrityError) -> Rejected:
    """Return the refusal for what no further attempt would mend."""
    if isinstance(error, Rejected):
        return error
    fix = "Look at what is left: `fntx plan ID`."
    return PreconditionFailed(str(ask.session_id), ask.trigger.value, "what is restored verifies", str(error), fix)


def _away(ask: Ask, error: Unavailable) -> Rejected:
    condition, detail = "the cold store answers", f"the checkpoint lies in {COLD_STORE}, out of reach: {error.args[1]}"
    fix = "Recover it again once the store answers, or name another: `fntx checkpoints ID`."
    return PreconditionFailed(str(ask.session_id), ask.trigger.value, condition, detail, fix)


def _nothing_left(stores: Stores, ask: Ask, tried: list[dict[str, Any]]) -> Rejected:
    told = "; ".join(f"{one['source']}: {one['problem']}" for one in tried) or "nothing of it was found anywhere"
    if ask.arguments.get("checkpoint_id"):
        fix = f"{alternatives(stores, ask.session_id)} See `fntx plan ID`, then name another."
    else:
        fix = "See `fntx plan ID`; name a checkpoint, or stop the session: what is open is guarded."
    return PreconditionFailed(str(ask.session_id), ask.trigger.value, "what is restored verifies", told[:3000], fix)


def _refused(stores: Stores, ask: Ask, progress: Progress | None, error: Rejected) -> Outcome:
    """Refuse the command; agents are told its epoch first, and a person is called unless one had named a checkpoint."""
    figures.RECOVERIES.note(1, "refused")
    if progress is not None:
        progress.close("failed", problem=str(error))
    system = Ask(Trigger.UPDATE, ask.session_id, Actor("system", frozenset({"system"})), "recovery found nothing")
    named = ask.arguments.get("checkpoint_id")
    decision = commands.leave_as_it_was if named else commands.call_for_recovery
    machine.run(stores.engine, system, decision(str(error), ask.command_id))
    failpoint("recovery.called")
    return machine.run(stores.engine, ask, commands.refuse(error), finishing=True)


def _overtaken(engine: Engine, ask: Ask, error: StaleEpoch) -> Outcome | None:
    """Return what became of the command meanwhile: a newer attempt answers it, or another command overtook it."""
    figures.RECOVERIES.note(1, "overtaken")
    log.info("recovery_overtaken", session_id=str(ask.session_id), problem=str(error))
    try:
        return machine.stored_outcome(engine, ask.command_id)
    except FntxError:
        return None
