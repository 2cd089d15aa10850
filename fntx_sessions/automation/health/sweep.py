"""The health sweep: every started session is looked at, a grade that changed is told, what failed is suspended, healed.

It trusts itself least: where it was late itself, where Redis could not be asked, where no worker lives or most sessions
fail together, nothing is suspended, and the desk is told instead.
"""

import time
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from redis import RedisError
from sqlalchemy.exc import DBAPIError

from fntx_sessions import figures
from fntx_sessions.automation import alerts
from fntx_sessions.automation.health.facts import AGENTS_STEP
from fntx_sessions.automation.health.healing import Healed, heal_due
from fntx_sessions.automation.health.looking import Look, look
from fntx_sessions.automation.health.model import Grade
from fntx_sessions.automation.health.rows import Looked, claim_due, store
from fntx_sessions.automation.health.suspending import Suspended, causes, storm, suspend
from fntx_sessions.automation.market_clock import watch_publisher
from fntx_sessions.automation.sweeps import note_run
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Severity
from fntx_sessions.security.actor import Actor
from fntx_sessions.testing import failpoint

SWEEP = "health"
HELD_BACK = "health_suspends_nothing"
_LATE = 3
# What lies in the stores for one session can end a look with; not a store out of reach, nor the time that is up.
_FAULTS = (RedisError, DBAPIError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Swept:
    """What one sweep did. distrust: why nothing was suspended though something failed; empty: that was not so."""

    looked: int = 0
    failed: int = 0
    distrust: str = ""
    suspended: Suspended = field(default_factory=Suspended)
    healed: Healed = field(default_factory=Healed)


def sweep(desk: Desk, actor: Actor) -> Swept:
    """Look at every session whose time has come, in batches, for `state_sweep_s` at most. Raises Unavailable."""
    gap_s = note_run(desk.engine, SWEEP).gap_s
    done = Swept()
    failed, unseen = _look_at_due(desk, done)
    if failed:
        done.distrust = _distrust(desk, gap_s, unseen)
    if not done.distrust:
        done.suspended = suspend(desk, actor, failed)
    failpoint("health.suspended")
    if not unseen:
        done.healed = heal_due(desk, actor)
        watch_publisher(desk)
    _tell(desk, done)
    return done


def _look_at_due(desk: Desk, done: Swept) -> tuple[list[Looked], str]:
    """Return the sessions whose failures would suspend them, and why Redis could not be asked."""
    settings, until = desk.settings, time.monotonic() + desk.settings.state_sweep_s
    early_s = settings.health_interval_s - min(settings.overdue_s, settings.health_interval_s / 2)
    failed, unseen = list[Looked](), ""
    while True:
        ids = claim_due(desk.engine, settings.health_batch, early_s)
        found = _looked(desk, ids) if ids else None
        if found:
            store(desk.engine, found.looked, settings.health_interval_s)
            _note_heartbeats(found.looked)
            done.looked += len(found.looked)
            done.failed += sum(one.grade is Grade.FAILED for one in found.looked)
            failed += [one for one in found.looked if causes(one, settings)]
            unseen = unseen or found.unseen
        if len(ids) < settings.health_batch or time.monotonic() >= until:
            return failed, unseen


def _note_heartbeats(looked: list[Looked]) -> None:
    for one in looked:
        for agent in one.facts.agents if one.facts.status in AGENTS_STEP else ():
            if agent.vitals is not None and agent.vitals.silent_s is not None:
                figures.HEARTBEAT_AGES.note(agent.vitals.silent_s, "hosted" if agent.hosted else "remote")


def _looked(desk: Desk, ids: list[UUID]) -> Look:
    """Look at them together; where one of them ends that in a way nobody thought of, at each alone.

    That one stays due, which `fntx doctor` says.
    """
    try:
        return look(desk, ids)
    except _FAULTS:
        _log.exception("health_looks_one_by_one")
    done = Look([])
    for session_id in ids:
        try:
            found = look(desk, [session_id])
        except _FAULTS:
            _log.exception("health_not_looked_at", session_id=str(session_id))
        else:
            done = Look(done.looked + found.looked, done.unseen or found.unseen)
    return done


def _distrust(desk: Desk, gap_s: float | None, unseen: str) -> str:
    """Return why the fault is more likely the desk's own than the sessions'; empty: it is not."""
    if unseen:
        return f"Redis could not be asked: {unseen}"
    if gap_s is not None and gap_s > _LATE * desk.settings.health_interval_s:
        return f"this sweep itself had stood still for {gap_s:.0f} s"
    return storm(desk)


def _tell(desk: Desk, done: Swept) -> None:
    held = done.distrust
    if not held and done.suspended.capped:
        held = (
            f"{done.suspended.capped} sessions more are to be suspended than FNTX_HEALTH_SUSPENSIONS_PER_SWEEP allows"
        )
    told = f"health suspended not all that failed: {held}. Positions are guarded as before; look: `fntx health`"
    found = [alerts.Found(HELD_BACK, "", Severity.CRITICAL, told)] if held else []
    alerts.settle(desk.engine, [HELD_BACK], found)
