"""Hosting: claim the sessions that are due, step them, report, store, and ask the lifecycle for what they asked."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import structlog

from fntx_sessions.agents.claims import (
    claim_steps,
    claim_suspect,
    claimants,
    free_claims,
    hand_back,
    next_step_in,
    release_claims,
)
from fntx_sessions.agents.interrupts import interrupt_in, is_leaving
from fntx_sessions.agents.note import is_dead, last_words
from fntx_sessions.agents.outcomes import Batch, blame, note_trouble, store
from fntx_sessions.agents.runner import Slice, agent_parts, quarantine, run_slice
from fntx_sessions.agents.runtime import Runtime, load_runtime, refresh
from fntx_sessions.agents.saying import problem_of
from fntx_sessions.automation import liveness
from fntx_sessions.automation.health.model import MARKET_DATA
from fntx_sessions.automation.pending import finish_session
from fntx_sessions.automation.rules import hosted
from fntx_sessions.automation.rules.model import Action
from fntx_sessions.exceptions import FntxError, StaleEpoch, Unavailable
from fntx_sessions.lifecycle import commands, execute, machine
from fntx_sessions.lifecycle.arguments import CommandArguments, FailArguments
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Hold, SessionStatus, Trigger
from fntx_sessions.security.actor import Actor, system_actor
from fntx_sessions.state.live import LiveMark, LiveState, Report
from fntx_sessions.testing import failpoint

log = structlog.get_logger(__name__)
_KEPT_RUNTIMES = 512
_LEAST_WAIT_S = 0.01
_runtimes: "OrderedDict[UUID, Runtime]" = OrderedDict()


class _Turns:
    """Whose turn is first. suspect_waits: a sweep had no time left for the one that is stepped alone."""

    suspect_waits = False


def step_due(desk: Desk, host_id: str, *, stay_s: float = 0.0) -> int:
    """Step due sessions in batches until none is due or the sweep's time is over; return how many steps were done.

    stay_s: wait for steps that come due within that time, so that sessions may step more often than beat ticks.
    """
    bury_the_dead(desk, host_id)
    actor = system_actor(host_id)
    began = time.monotonic()
    until, leave = began + desk.settings.step_sweep_s, began + stay_s
    last = began + desk.settings.step_begin_s
    stepped = 0
    while True:
        done = _round(desk, actor, host_id, until, last)
        stepped += done
        if done == 0:
            wait_s = next_step_in(desk.engine, host_id, max(0.0, leave - time.monotonic())) if stay_s else None
            if wait_s is None:
                break
            time.sleep(max(wait_s, _LEAST_WAIT_S))
            continue
        if time.monotonic() >= min(until, last):
            break
    return stepped


def _round(desk: Desk, actor: Actor, host_id: str, until: float, last: float) -> int:
    """Step a batch, then the one that is stepped alone: if it hangs, nobody waits behind it. Return how many.

    Where the time is over after the first of the two, the other one begins the next round.
    """
    settings, stepped = desk.settings, 0
    for alone in (_Turns.suspect_waits, not _Turns.suspect_waits):
        if stepped and time.monotonic() >= last:
            _Turns.suspect_waits = alone
            return stepped
        if alone:
            claimed = claim_suspect(desk.engine, host_id, settings.step_claim_s)
        else:
            claimed = claim_steps(desk.engine, host_id, settings.step_batch, settings.step_claim_s)
        stepped += step_batch(desk, actor, claimed, until, last)
    _Turns.suspect_waits = False
    return stepped


def bury_the_dead(desk: Desk, host_id: str) -> None:
    """Free what dead processes of this host had claimed, and charge the agents that took them down."""
    for process in claimants(desk.engine, host_id):
        if is_dead(process):
            session_id, agent = last_words(process) or (None, "")
            log.warning("step_process_died", process=process, session_id=session_id, agent=agent)
            free_claims(desk.engine, host_id, process, session_id, agent)


def step_batch(desk: Desk, actor: Actor, rows: Sequence[dict[str, Any]], until: float, last: float) -> int:
    """Step claimed sessions and return how many were begun; once one took long, the rest is left to whoever is free.

    until, last: monotonic seconds; a backtest goes on until the one, none but the first is begun after the other. What
    cannot be ended is given back as it was; one session's trouble stops no other. Raises what interrupts it from
    outside, once what is whole is stored.
    """
    if not rows:
        return 0
    batch = Batch({row["session_id"]: row for row in rows})
    try:
        _step_all(desk, batch, until, last)
        _keep(desk, batch)
    finally:
        _give_back(desk, batch)
    failpoint("step.finished")
    for row, problem in batch.broken:
        _safely(row["session_id"], lambda row=row, problem=problem: _fail(desk, actor, row, problem))  # type: ignore[misc]
    if batch.interrupt is not None:
        raise batch.interrupt
    for row in batch.forgotten:
        _safely(row["session_id"], lambda row=row: _remember(desk, actor, row))  # type: ignore[misc]
    for done in batch.slices:
        _safely(done.runtime.session_id, lambda done=done: _ask_lifecycle(desk, actor, done))  # type: ignore[misc]
    if batch.out_of_reach is not None:
        raise batch.out_of_reach
    return len(rows) - batch.handed_back


def _step_all(desk: Desk, batch: Batch, until: float, last: float) -> None:
    ids = list(batch.open)
    marks = dict(zip(ids, LiveState(desk.redis, desk.settings).marks(ids), strict=True))
    for place, (session_id, row) in enumerate(list(batch.open.items())):
        began = time.monotonic()
        if place and began >= last:
            _hand_back(desk, batch, ids[place:])
            return
        if _is_forgotten(row, marks[session_id]):
            batch.forgotten.append(row)
            continue
        _step_into(desk, batch, row, marks[session_id], min(until, began + desk.settings.step_slice_s))
        took_s = time.monotonic() - began
        if batch.out_of_reach is not None:
            return
        if batch.interrupt is not None:
            blame(desk, batch, row, _runtimes.pop(session_id, None), took_s)
        if batch.interrupt is not None or took_s > desk.settings.step_slice_s:
            _hand_back(desk, batch, ids[place + 1 :])
            return


def _step_into(desk: Desk, batch: Batch, row: dict[str, Any], mark: LiveMark | None, deadline: float) -> None:
    """Step one session; what comes of it, good or bad, is in the batch."""
    session_id = row["session_id"]
    try:
        batch.slices.append(_step_one(desk, row, mark, deadline))
        if is_leaving():  # whoever was stepped kept it to itself
            batch.interrupt = SystemExit()
    except Unavailable as error:
        _runtimes.pop(session_id, None)
        batch.out_of_reach = error
    except BaseException as error:  # noqa: BLE001 - judged there
        batch.interrupt = interrupt_in(error)
        if batch.interrupt is None:
            _runtimes.pop(session_id, None)
            note_trouble(desk, batch, row, error)


def _hand_back(desk: Desk, batch: Batch, rest: Sequence[UUID]) -> None:
    """Leave what was not begun to others; where Postgres is out of reach it is given back with the batch."""
    try:
        hand_back(desk.engine, [batch.open[session_id] for session_id in rest])
    except FntxError as error:
        log.warning("claims_not_handed_back", problem=str(error))
        return
    batch.handed_back = len(rest)
    for session_id in rest:
        del batch.open[session_id]


def _keep(desk: Desk, batch: Batch) -> None:
    """Report to Redis, then write to Postgres; Redis out of reach keeps nothing from being written there."""
    try:
        _report(LiveState(desk.redis, desk.settings), batch.slices)
    except Unavailable as error:
        batch.out_of_reach = error
    failpoint("step.reported")
    for session_id in store(desk, batch, unreported=batch.out_of_reach is not None):
        _runtimes.pop(session_id, None)


def _give_back(desk: Desk, batch: Batch) -> None:
    try:
        release_claims(desk.engine, list(batch.open))
    except FntxError as error:
        log.warning("claims_not_given_back", problem=str(error))  # they lapse by themselves


def _safely(session_id: UUID, act: Callable[[], None]) -> None:
    try:
        act()
    except Exception as error:
        if interrupt_in(error) is not None:
            raise
        log.warning("not_asked", session_id=str(session_id), problem=problem_of(error), exc_info=error)


def _step_one(desk: Desk, row: dict[str, Any], mark: LiveMark | None, deadline: float) -> Slice:
    runtime = _runtime(desk, row, mark)
    done = run_slice(desk, runtime, deadline)
    quarantine(runtime, done.events, done.requests, desk.settings.agent_failures_max)
    return done


def _runtime(desk: Desk, row: dict[str, Any], mark: LiveMark | None) -> Runtime:
    """Return the warm runtime if nobody reported or began a step since, else a newly loaded one."""
    session_id = row["session_id"]
    kept = _runtimes.pop(session_id, None)
    current = kept is not None and mark is not None and (kept.epoch, kept.revision) == (mark.epoch, mark.revision)
    if kept is not None and current and kept.epoch == row["epoch"] and not row["interrupted"]:
        refresh(kept, row)
        runtime = kept
    else:
        runtime = load_runtime(desk, row)
    _runtimes[session_id] = runtime
    while len(_runtimes) > _KEPT_RUNTIMES:
        _runtimes.popitem(last=False)
    return runtime


def _report(live: LiveState, slices: Sequence[Slice]) -> None:
    """Report every session's parts in one pipeline; a session that was superseded meanwhile is forgotten."""
    reports: list[Report] = []
    owners: list[Slice] = []
    for done in slices:
        if done.stale:
            _runtimes.pop(done.runtime.session_id, None)
            continue
        runtime = done.runtime
        parts = agent_parts(runtime)
        for index, (agent, name, data) in enumerate(parts):
            beside = done.parts if index == len(parts) - 1 else {}
            reports.append(Report(runtime.session_id, runtime.epoch, agent, {name: data, **beside}))
            owners.append(done)
    for done, answer in zip(owners, live.report_many(reports), strict=True):
        if isinstance(answer, FntxError):
            done.stale = done.stale or isinstance(answer, StaleEpoch)
            log.warning("report_refused", session_id=str(done.runtime.session_id), problem=str(answer))
            _runtimes.pop(done.runtime.session_id, None)
        else:
            done.runtime.revision = answer


def _is_forgotten(row: dict[str, Any], mark: LiveMark | None) -> bool:
    """Tell whether Redis holds less of a session than was saved: its agents must not begin anew, or run back."""
    saved = (row["saved_epoch"], row["saved_revision"])
    known = mark is not None and mark.size > 0 and (mark.epoch, mark.revision) >= saved
    # Revision 0: agents had reported nothing yet when it was saved, so there is nothing that could be lost.
    return not known and row["saved_revision"] > 0 and row["status"] in (SessionStatus.ACTIVE, SessionStatus.PAUSED)


def _remember(desk: Desk, actor: Actor, row: dict[str, Any]) -> None:
    """Redis lost a session's live state: suspend it and recover it from its latest save, under a new epoch."""
    reason = "Redis lost its live state"
    _runtimes.pop(row["session_id"], None)
    _command(desk, Trigger.SUSPEND, actor, CommandArguments(session_id=row["session_id"], reason=reason))
    liveness.recover_and_resume(desk, actor, row["session_id"], f"{row['epoch']}/redis/{row['saved_revision']}", reason)


def _fail(desk: Desk, actor: Actor, row: dict[str, Any], problem: str) -> None:
    """A session that cannot be stepped at all is in ERROR, with the sentence that says why; once there, it rests."""
    if row["status"] == SessionStatus.ERROR:
        return
    arguments = FailArguments(session_id=row["session_id"], error=problem[:4000], reason="cannot be stepped")
    _command(desk, Trigger.FAIL, actor, arguments)


def _ask_lifecycle(desk: Desk, actor: Actor, done: Slice) -> None:
    runtime, requests = done.runtime, done.requests
    if done.stale:
        return
    active = runtime.status is SessionStatus.ACTIVE
    if requests.suspend and runtime.status in (SessionStatus.ACTIVE, SessionStatus.PAUSED):
        more = {"to_do": requests.to_do} | _healing(desk, done)
        _system(desk, Trigger.SUSPEND, actor, runtime, requests.suspend, **more)
    elif done.judged is not None and (done.judged.wanted is Action.STOP or not (requests.stop or done.finished)):
        hosted.ask(desk, actor, runtime, done.judged)
        if done.judged.wanted is Action.STOP:
            _finish_if_flat(desk, actor, runtime)
    elif requests.stop or (done.finished and runtime.status in (SessionStatus.ACTIVE, SessionStatus.PAUSED)):
        _system(desk, Trigger.STOP, actor, runtime, requests.stop or "its simulated day is over")
        _finish_if_flat(desk, actor, runtime)
    elif requests.pause and active:
        _system(desk, Trigger.PAUSE, actor, runtime, requests.pause, hold=Hold.RULE)
    elif runtime.status is SessionStatus.CLOSING:
        _finish_if_flat(desk, actor, runtime)
    elif runtime.status is SessionStatus.PAUSED and not runtime.quiesced and runtime.book.quiet:
        ask = Ask(Trigger.UPDATE, runtime.session_id, actor, "nothing is in flight")
        machine.run(desk.engine, ask, commands.quiesce)


def _healing(desk: Desk, done: Slice) -> dict[str, Any]:
    """Return what marks a suspension for health to heal: that of a stale market alone, with no agent set aside."""
    if not done.requests.stale or any(slot.quarantined for slot in done.runtime.slots.values()):
        return {}
    return {"heal_after_s": desk.settings.recovery_backoff_s, "causes": [MARKET_DATA]}


def _finish_if_flat(desk: Desk, actor: Actor, runtime: Runtime) -> None:
    if runtime.book.quiet and (runtime.book.flat or not runtime.flatten):
        finish_session(desk, actor, runtime.session_id)


def _system(desk: Desk, trigger: Trigger, actor: Actor, runtime: Runtime, reason: str, **more: Any) -> None:
    model = commands.ARGUMENTS[trigger]
    _command(desk, trigger, actor, model(session_id=runtime.session_id, reason=reason[:2000], **more))


def _command(desk: Desk, trigger: Trigger, actor: Actor, arguments: Any) -> None:
    """Ask for a command; a refusal means that somebody was quicker, and is in the audit."""
    outcome = execute.system_command(desk, trigger, actor, arguments)
    if outcome.error is not None:
        log.info("command_refused", trigger=trigger.value, problem=outcome.error["message"])
