"""A recovery plan: every state that could be put back, ranked with the reason, the first ones proven."""

from datetime import datetime
from uuid import UUID, uuid4

from redis import Redis
from sqlalchemy import Engine

from fntx_sessions.exceptions import FntxError, Rejected
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.lifecycle.decisions.recovery import must_be_recoverable
from fntx_sessions.lifecycle.recovery import candidates as found
from fntx_sessions.lifecycle.recovery.facts import Facts, Stores, last_known, loss_s, read_facts
from fntx_sessions.lifecycle.recovery.judging import IDENTITY, UNREACHABLE, Judged
from fntx_sessions.lifecycle.recovery.look import Look, look_at
from fntx_sessions.lifecycle.recovery.progress import STEPS
from fntx_sessions.schemas import RecoveryCandidate, RecoveryStep, SessionRecoveryPlan, Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import Settings
from fntx_sessions.state import backups

CHECKS = [
    "every blob opens under the session's own key and label: no changed, swapped or foreign bytes",
    "the manifest is the one its checksum was taken of, and names the epoch and revision it is stored under",
    "every part is there, its content what its name says, and valid JSON in the part's shape",
    "it is of an epoch the session has had, and a checkpoint was made under the session's identity",
    "what was put back is read from Redis and compared, byte for byte",
    "memory, ledger and broker agree on every position, fill and working order",
]
_WHY = {
    found.LIVE: "the live state is whole: nothing is lost",
    found.HOT: "the hot copy of a save",
    found.SAVE: "the save of record",
    found.BACKUP: "a backup made while Postgres was away, which has not come in yet",
    found.CHECKPOINT: "a checkpoint",
    found.COLD: "the cold copy of a save",
}
_BYTES_PER_S = 50_000_000  # reading, proving and putting back, measured on 10 MB
_BASE_S = 0.2
_NAMED = 3
_NOBODY = Actor("plan", frozenset())


def create_recovery_plan(
    engine: Engine,
    redis: Redis,
    settings: Settings,
    session_id: UUID,
    accept_identity: str | None = None,
    checkpoint_id: UUID | None = None,
) -> SessionRecoveryPlan:
    """Return what a recovery of the session would try, in its order; nothing is written anywhere.

    The first `plan_verified_max` usable candidates are read whole and proven; what would be tried after them is listed
    unread. The cold store is only searched when nothing nearer is usable. checkpoint_id: nothing else would be tried,
    and nothing else is listed; `others` counts what could be named instead. `refused` says what a recovery would be
    refused with now. Raises NotFound (of a named one too), Shredded and Unavailable (Postgres).
    """
    stores = Stores(engine, redis, settings)
    facts = read_facts(engine, session_id)
    look = look_at(stores, facts, accept_identity, found.named(stores, facts, checkpoint_id) if checkpoint_id else None)
    refused = _refused(facts, checkpoint_id)
    return _plan(stores, look).model_copy(update={"refused": refused or _unusable(look)})


def _refused(facts: Facts, checkpoint_id: UUID | None) -> str | None:
    """Return what recovering would be refused with as the session stands, None: nothing; authority aside."""
    named = {"checkpoint_id": str(checkpoint_id)} if checkpoint_id else {}
    try:
        must_be_recoverable(facts.standing, Ask(Trigger.RECOVER, facts.session_id, _NOBODY, arguments=named))
    except Rejected as error:
        return str(error)
    return None


def _unusable(look: Look) -> str | None:
    """Return why the one that was named would not be taken, None where it would."""
    bad = [one for one in look.bad if look.named and one.kind != UNREACHABLE]
    return str(bad[0].error or bad[0].problem) if bad else None


def alternatives(stores: Stores, session_id: UUID) -> str:
    """Return in one sentence what could be restored instead of what was refused."""
    try:
        plan = create_recovery_plan(stores.engine, stores.redis, stores.settings, session_id)
    except FntxError as error:
        return f"What is left could not be looked at: {error}"
    names = [one.name for one in plan.candidates if one.problem is None]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"What could be restored: {', '.join(names[:_NAMED])}{more}." if names else "Nothing else is usable."


def _plan(stores: Stores, look: Look) -> SessionRecoveryPlan:
    facts, listed = look.facts, _listed(look)
    usable = [one for one in listed if one.problem is None]
    best = next((one for one in usable if not look.named or one.name == look.named), None)
    confidence, reasons = _confidence(stores.settings, facts, best, usable)
    hidden = backups.other_hosts(stores.engine, stores.settings)
    size = look.usable[0].snapshot.size if look.usable and look.usable[0].snapshot else 0
    return SessionRecoveryPlan(
        plan_id=uuid4(),
        session_id=facts.session_id,
        created_at=facts.now,
        recovery_type=best.source if best else "none",
        checkpoint_id=best.checkpoint_id if best else None,
        fallback_checkpoint_ids=[one.checkpoint_id for one in usable if one.checkpoint_id and one is not best],
        candidates=listed,
        others=look.others,
        hosts_not_seen=hidden,
        steps=[RecoveryStep(name=name, description=what) for name, what in STEPS.items()],
        estimated_duration=round(_BASE_S + size / _BYTES_PER_S, 3),
        data_integrity_checks=CHECKS,
        rollback_points=_rollback_points(look),
        data_loss_risk=_loss_risk(best, look, hidden),
        expected_data_loss_s=best.expected_data_loss_s if best else None,
        state_consistency_risk=_consistency_risk(facts, best),
        recovery_confidence=confidence,
        confidence_reasons=reasons,
        status=facts.status,
        version=facts.version,
        epoch=facts.epoch,
    )


def _listed(look: Look) -> list[RecoveryCandidate]:
    """Return usable ones as they would be tried, then those not read yet, then what cannot be used."""
    known = last_known(look.facts, look.cut)
    judged = [*look.usable, *map(Judged, look.later), *look.bad]
    return [_row(look, one, known, rank) for rank, one in enumerate(judged, 1)]


def _row(look: Look, judged: Judged, known: datetime, rank: int) -> RecoveryCandidate:
    facts, candidate, snapshot, seen = look.facts, judged.candidate, judged.snapshot, judged.seen
    created = seen.created_at if seen else candidate.created_at
    mark = (seen.epoch, seen.revision) if seen and candidate.key == look.named else candidate.mark
    live = candidate.source == found.LIVE
    return RecoveryCandidate(
        rank=rank,
        source=candidate.source,
        name=candidate.name,
        tier=judged.tier or candidate.tier,
        checkpoint_id=candidate.checkpoint_id,
        epoch=mark[0],
        revision=mark[1],
        identity=seen.identity if seen else candidate.identity,
        created_at=created,
        verified=snapshot is not None,
        expected_data_loss_s=0.0 if live and snapshot else loss_s(facts, candidate.mark, created, known),
        identity_differences=str(judged.problem).split("; ") if judged.kind == IDENTITY else [],
        reason=_reason(look, judged),
        problem=judged.problem,
    )


def _reason(look: Look, judged: Judged) -> str:
    facts, candidate = look.facts, judged.candidate
    if candidate.key == look.named:
        return "named: nothing else would be tried"
    if judged.problem is not None:
        return "last: it cannot be used now" if judged.kind == UNREACHABLE else "last: it cannot be used"
    what = _WHY[candidate.source]
    if candidate.source == found.LIVE:
        return what
    age = "as new as what was saved last" if candidate.mark == facts.saved else f"of {_mark(candidate.mark)}"
    if candidate.source in (found.SAVE, found.HOT) and candidate.mark < facts.saved:
        age = f"of {_mark(candidate.mark)}, behind the save of {_mark(facts.saved)} that there was"
    read = "" if judged.snapshot else "; read and proven when its turn comes"
    return f"{what}, {age}: the newest first, of equals the nearest{read}"


def _mark(mark: tuple[int, int]) -> str:
    return f"epoch {mark[0]} revision {mark[1]}"


def _rollback_points(look: Look) -> list[str]:
    cut = look.cut
    points = [] if cut is None else [f"the live state as it is, {_mark((cut.epoch, cut.revision))}"]
    return [*points, *(one.candidate.name for one in look.usable if one.candidate.source != found.LIVE)]


def _loss_risk(best: RecoveryCandidate | None, look: Look, hidden: list[str]) -> str:
    if best is None:
        never = look.facts.saved == (0, 0) and not look.bad
        return "none: it was never saved, agents begin anew" if never else "all of it: nothing that was found is usable"
    lost = best.expected_data_loss_s
    told = "unknown" if lost is None else "none" if lost == 0 else f"up to {lost} s of the agents' memory"
    unseen = f"; backups on {', '.join(hidden)} may be newer, and cannot be seen from here" if hidden else ""
    return f"{told}; never orders, positions, fills, P&L or loss used{unseen}"


def _consistency_risk(facts: Facts, best: RecoveryCandidate | None) -> str:
    if facts.in_flight:
        return f"{facts.in_flight} orders are in flight: the broker is asked about each before anything is sent again"
    return "memory may be older than the ledger; agents are given the broker's truth" if best else ""


def _confidence(
    settings: Settings, facts: Facts, best: RecoveryCandidate | None, usable: list[RecoveryCandidate]
) -> tuple[float, list[str]]:
    """Return 0.6 for a proven candidate, 0.2 for a small loss, 0.1 for a second, 0.1 with nothing in flight; why."""
    if best is None or not best.verified:
        return 0.0, ["0: no candidate is proven"]
    lost, proven = best.expected_data_loss_s, [one for one in usable if one.verified]
    parts = [
        (0.6, "a candidate was read whole and proven", True),
        (0.2, "at most two save intervals are lost", lost is not None and lost <= 2 * settings.save_interval_s),
        (0.1, "a second proven candidate to fall back on", len(proven) > 1),
        (0.1, "no order is in flight", not facts.in_flight),
    ]
    return round(sum(worth for worth, _, holds in parts if holds), 2), [
        f"{worth if holds else 0.0}: {what if holds else 'not: ' + what}" for worth, what, holds in parts
    ]
