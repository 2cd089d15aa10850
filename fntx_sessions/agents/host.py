"""Hosting: claim the sessions that are due, step them, report, store, and ask the lifecycle for what they asked."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import structlog

from fntx_sessions.agents.claims import StepResult, claim_steps, claimants, finish_steps, free_claims
from fntx_sessions.agents.note import is_dead, last_words
from fntx_sessions.agents.runner import Slice, agent_parts, quarantine, run_slice
from fntx_sessions.agents.runtime import Runtime, load_runtime, refresh
from fntx_sessions.automation import liveness
from fntx_sessions.automation.pending import finish_session
from fntx_sessions.exceptions import FntxError, Retryable, StaleEpoch
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
_runtimes: "OrderedDict[UUID, Runtime]" = OrderedDict()


def step_due(desk: Desk, host_id: str) -> int:
    """Step due sessions in batches until none is due or the sweep's time is over; return how many steps were done."""
    _bury_the_dead(desk, host_id)
    actor = system_actor(host_id)
    until = time.monotonic() + desk.settings.step_sweep_s
    stepped = 0
    while time.monotonic() < until:
        rows = claim_steps(desk.engine, host_id, desk.settings.step_batch, desk.settings.step_time_limit_s)
        if not rows:
            break
        stepped += len(rows)
        _step_batch(desk, actor, rows, until)
    return stepped


def _bury_the_dead(desk: Desk, host_id: str) -> None:
    """Free what dead processes of this host had claimed, and charge the agents that took them down."""
    for process in claimants(desk.engine, host_id):
        if is_dead(process):
            session_id, agent = last_words(process) or (None, "")
            log.warning("step_process_died", process=process, session_id=session_id, agent=agent)
            free_claims(desk.engine, host_id, process, session_id, agent)


def _step_batch(desk: Desk, actor: Actor, rows: Sequence[dict[str, Any]], until: float) -> None:
    live = LiveState(desk.redis, desk.settings)
    marks = dict(zip((row["session_id"] for row in rows), live.marks([row["session_id"] for row in rows]), strict=True))
    slices: list[Slice] = []
    broken: list[tuple[dict[str, Any], FntxError]] = []
    forgotten = [row for row in rows if marks[row["session_id"]] is None and _is_forgotten(row)]
    for row in rows:
        if row in forgotten:
            continue
        deadline = min(until, time.monotonic() + desk.settings.step_slice_s)
        try:
            slices.append(_step_one(desk, row, marks[row["session_id"]], deadline))
        except Retryable:
            raise
        except FntxError as error:
            broken.append((row, error))
    _report(live, slices)
    failpoint("step.reported")
    finish_steps(desk.engine, [_result(done) for done in slices] + [_unsteppable(row) for row, _ in broken])
    for row in forgotten:
        _remember(desk, actor, row)
    failpoint("step.finished")
    for row, problem in broken:
        _fail(desk, actor, row, problem)
    for done in slices:
        _ask_lifecycle(desk, actor, done)


def _step_one(desk: Desk, row: dict[str, Any], mark: LiveMark | None, deadline: float) -> Slice:
    runtime = _runtime(desk, row, mark)
    done = run_slice(desk, runtime, deadline)
    quarantine(runtime, done.events, done.requests, desk.settings.agent_failures_max)
    return done


def _runtime(desk: Desk, row: dict[str, Any], mark: LiveMark | None) -> Runtime:
    """Return the warm runtime if nothing was reported since by anyone else, else a newly loaded one."""
    session_id = row["session_id"]
    kept = _runtimes.pop(session_id, None)
    current = kept is not None and mark is not None and (kept.epoch, kept.revision) == (mark.epoch, mark.revision)
    if kept is not None and current and kept.epoch == row["epoch"]:
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


def _result(done: Slice) -> StepResult:
    runtime = done.runtime
    if done.stale:
        _runtimes.pop(runtime.session_id, None)
        return StepResult(runtime.session_id, -1, "interval", None, {}, None, (), ())
    return StepResult(
        runtime.session_id,
        runtime.epoch,
        _again(done),
        runtime.clock.now if runtime.clock.simulated else None,
        runtime.failures,
        done.day,
        done.samples,
        done.events,
    )


def _again(done: Slice) -> str:
    runtime = done.runtime
    flat = runtime.book.flat and runtime.book.quiet
    if runtime.status in (SessionStatus.SUSPENDED, SessionStatus.ERROR) and flat:
        return "never"  # nothing to guard until somebody changes the session
    unfinished = runtime.status is SessionStatus.ACTIVE and not done.finished
    return "now" if unfinished and runtime.session_type == "backtest" else "interval"


def _is_forgotten(row: dict[str, Any]) -> bool:
    """Tell whether a session that Redis holds nothing of was live before: its agents must not begin anew."""
    return row["saved_epoch"] > 0 and row["status"] in (SessionStatus.ACTIVE, SessionStatus.PAUSED)


def _remember(desk: Desk, actor: Actor, row: dict[str, Any]) -> None:
    """Redis lost a session's live state: suspend it and recover it from its latest save, under a new epoch."""
    reason = "Redis lost its live state"
    _runtimes.pop(row["session_id"], None)
    _command(desk, Trigger.SUSPEND, actor, CommandArguments(session_id=row["session_id"], reason=reason))
    liveness.recover_and_resume(desk, actor, row["session_id"], row["epoch"], reason)


def _unsteppable(row: dict[str, Any]) -> StepResult:
    return StepResult(row["session_id"], row["epoch"], "never", None, row["agent_failures"], None, (), ())


def _fail(desk: Desk, actor: Actor, row: dict[str, Any], error: FntxError) -> None:
    """A session that cannot be stepped at all is in ERROR, with the sentence that says why."""
    arguments = FailArguments(session_id=row["session_id"], error=str(error)[:4000], reason="cannot be stepped")
    _command(desk, Trigger.FAIL, actor, arguments)


def _ask_lifecycle(desk: Desk, actor: Actor, done: Slice) -> None:
    runtime, requests = done.runtime, done.requests
    if done.stale:
        return
    active = runtime.status is SessionStatus.ACTIVE
    if requests.suspend and runtime.status in (SessionStatus.ACTIVE, SessionStatus.PAUSED):
        _system(desk, Trigger.SUSPEND, actor, runtime, requests.suspend)
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
