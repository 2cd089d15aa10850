"""Hosting: claim the sessions that are due, step them, report, store, and ask the lifecycle for what they asked."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog

from fntx_sessions.agents.claims import (
    StepResult,
    claim_steps,
    claim_suspect,
    claimants,
    finish_steps,
    free_claims,
    hand_back,
    next_step_in,
    release_claims,
)
from fntx_sessions.agents.note import is_dead, last_words
from fntx_sessions.agents.runner import Slice, agent_parts, quarantine, run_slice, runs_on
from fntx_sessions.agents.runtime import Runtime, load_runtime, refresh
from fntx_sessions.automation import liveness
from fntx_sessions.automation.health.model import MARKET_DATA
from fntx_sessions.automation.pending import finish_session
from fntx_sessions.automation.rules import hosted
from fntx_sessions.automation.rules.model import Action
from fntx_sessions.automation.rules.rows import kept_json
from fntx_sessions.exceptions import FntxError, Retryable, StaleEpoch, Unavailable
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
_HOST = "host"  # what failed where no agent did
_runtimes: "OrderedDict[UUID, Runtime]" = OrderedDict()


@dataclass(slots=True)
class Batch:
    """Sessions claimed together. open: not yet given back; faulty: to be tried again; broken: cannot be stepped."""

    open: dict[UUID, dict[str, Any]]
    slices: list[Slice] = field(default_factory=list)
    forgotten: list[dict[str, Any]] = field(default_factory=list)
    faulty: list[dict[str, Any]] = field(default_factory=list)
    broken: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    out_of_reach: Unavailable | None = None
    handed_back: int = 0


def step_due(desk: Desk, host_id: str, *, stay_s: float = 0.0) -> int:
    """Step due sessions in batches until none is due or the sweep's time is over; return how many steps were done.

    stay_s: wait for steps that come due within that time, so that sessions may step more often than beat ticks.
    """
    bury_the_dead(desk, host_id)
    actor = system_actor(host_id)
    began = time.monotonic()
    until, leave = began + desk.settings.step_sweep_s, began + stay_s
    claim_s = desk.settings.step_claim_s
    stepped = 0
    while True:
        before = stepped
        stepped += step_batch(desk, actor, claim_steps(desk.engine, host_id, desk.settings.step_batch, claim_s), until)
        # After the others, and alone: if it hangs, nobody waits behind it.
        stepped += step_batch(desk, actor, claim_suspect(desk.engine, host_id, claim_s), until)
        if stepped == before:
            wait_s = next_step_in(desk.engine, host_id, max(0.0, leave - time.monotonic())) if stay_s else None
            if wait_s is None:
                break
            time.sleep(max(wait_s, _LEAST_WAIT_S))
            continue
        if time.monotonic() >= until:
            break
    return stepped


def bury_the_dead(desk: Desk, host_id: str) -> None:
    """Free what dead processes of this host had claimed, and charge the agents that took them down."""
    for process in claimants(desk.engine, host_id):
        if is_dead(process):
            session_id, agent = last_words(process) or (None, "")
            log.warning("step_process_died", process=process, session_id=session_id, agent=agent)
            free_claims(desk.engine, host_id, process, session_id, agent)


def step_batch(desk: Desk, actor: Actor, rows: Sequence[dict[str, Any]], until: float) -> int:
    """Step claimed sessions and return how many were begun; once one took long, the rest is left to whoever is free.

    What cannot be ended is given back as it was; one session's trouble stops no other.
    """
    if not rows:
        return 0
    batch = Batch({row["session_id"]: row for row in rows})
    try:
        _step_all(desk, batch, until)
        _keep(desk, batch)
    finally:
        _give_back(desk, batch)
    failpoint("step.finished")
    for row in batch.forgotten:
        _safely(row["session_id"], lambda row=row: _remember(desk, actor, row))  # type: ignore[misc]
    for row, problem in batch.broken:
        _safely(row["session_id"], lambda row=row, problem=problem: _fail(desk, actor, row, problem))  # type: ignore[misc]
    for done in batch.slices:
        _safely(done.runtime.session_id, lambda done=done: _ask_lifecycle(desk, actor, done))  # type: ignore[misc]
    if batch.out_of_reach is not None:
        raise batch.out_of_reach
    return len(rows) - batch.handed_back


def _step_all(desk: Desk, batch: Batch, until: float) -> None:
    ids = list(batch.open)
    marks = dict(zip(ids, LiveState(desk.redis, desk.settings).marks(ids), strict=True))
    for place, (session_id, row) in enumerate(list(batch.open.items()), 1):
        if _is_forgotten(row, marks[session_id]):
            batch.forgotten.append(row)
            continue
        began = time.monotonic()
        deadline = min(until, began + desk.settings.step_slice_s)
        try:
            batch.slices.append(_step_one(desk, row, marks[session_id], deadline))
        except Unavailable as error:
            _runtimes.pop(session_id, None)
            batch.out_of_reach = error
            return
        except Exception as error:  # noqa: BLE001 - judged there
            _runtimes.pop(session_id, None)
            _note_trouble(desk, batch, row, error)
        if time.monotonic() - began > desk.settings.step_slice_s:
            _hand_back(desk, batch, ids[place:])
            return


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


def _note_trouble(desk: Desk, batch: Batch, row: dict[str, Any], error: Exception) -> None:
    """A busy row is tried again; a session that cannot be played is broken at once, one with a bug after some tries."""
    session_id = row["session_id"]
    log.warning("step_failed", session_id=str(session_id), problem=f"{type(error).__name__}: {error}", exc_info=error)
    if isinstance(error, Retryable):
        return
    row["agent_failures"] = row["agent_failures"] | {_HOST: row["agent_failures"].get(_HOST, 0) + 1}
    if isinstance(error, FntxError):
        batch.broken.append((row, str(error)))
    elif row["agent_failures"][_HOST] >= desk.settings.agent_failures_max:
        batch.broken.append((row, f"its step failed: {type(error).__name__}: {error}"))
    else:
        batch.faulty.append(row)


def _keep(desk: Desk, batch: Batch) -> None:
    """Report to Redis, then write to Postgres; Redis out of reach keeps nothing from being written there."""
    try:
        _report(LiveState(desk.redis, desk.settings), batch.slices)
    except Unavailable as error:
        batch.out_of_reach = error
    failpoint("step.reported")
    unreported = batch.out_of_reach is not None
    results = [step_result(done, unreported=unreported) for done in batch.slices if not done.stale]
    results += [_untouched(row, "never") for row, _ in batch.broken]
    results += [_untouched(row, "interval") for row in batch.faulty]
    finish_steps(desk.engine, results)
    for result in results:
        del batch.open[result.session_id]


def _give_back(desk: Desk, batch: Batch) -> None:
    try:
        release_claims(desk.engine, list(batch.open))
    except FntxError as error:
        log.warning("claims_not_given_back", problem=str(error))  # they lapse by themselves


def _safely(session_id: UUID, act: Callable[[], None]) -> None:
    try:
        act()
    except FntxError as error:
        log.warning("not_asked", session_id=str(session_id), problem=str(error))


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


def step_result(done: Slice, *, unreported: bool) -> StepResult:
    """Return what a slice leaves behind; unreported: Redis does not know of it."""
    runtime = done.runtime
    return StepResult(
        runtime.session_id,
        runtime.epoch,
        _again(done),
        runtime.clock.now if runtime.clock.simulated else None,
        runtime.failures,
        done.day,
        done.samples,
        done.events,
        unreported or runtime.unsure,
        done.measures,
        kept_json(done.kept, done.decisions_kept) if done.kept else None,
        done.memories,
    )


def _again(done: Slice) -> str:
    runtime = done.runtime
    flat = runtime.book.flat and runtime.book.quiet
    if runtime.status in (SessionStatus.SUSPENDED, SessionStatus.ERROR) and flat:
        return "never"  # nothing to guard until somebody changes the session
    if done.finished and runtime.status in (SessionStatus.ACTIVE, SessionStatus.PAUSED):
        return "later"  # it is stopped next: nobody else need step it, and stop it, meanwhile
    return "now" if runs_on(runtime) else "interval"


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


def _untouched(row: dict[str, Any], again: str) -> StepResult:
    return StepResult(
        row["session_id"], row["epoch"], again, None, row["agent_failures"], None, (), (), unreported=True
    )


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
