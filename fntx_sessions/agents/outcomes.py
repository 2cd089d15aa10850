"""What a batch of steps leaves: stored together, apart where that fails, and charged to whoever is at fault."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog

from fntx_sessions.agents.claims import HUNG, StepResult, finish_steps
from fntx_sessions.agents.interrupts import interrupt_in
from fntx_sessions.agents.runner import Slice, runs_on
from fntx_sessions.agents.runtime import Runtime
from fntx_sessions.agents.saying import event, problem_of
from fntx_sessions.automation.rules.rows import kept_json
from fntx_sessions.exceptions import FntxError, Retryable, StackError, Unavailable
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import SessionStatus, Severity
from fntx_sessions.trading.clock import WALL

log = structlog.get_logger(__name__)
_HOST = "host"  # what failed where no agent did


@dataclass(slots=True)
class Batch:
    """Sessions claimed together. open: not yet given back; faulty: to be tried again; broken: cannot be stepped.

    told: events of those whose step left none itself. interrupt: what ended the batch from outside.
    """

    open: dict[UUID, dict[str, Any]]
    slices: list[Slice] = field(default_factory=list)
    forgotten: list[dict[str, Any]] = field(default_factory=list)
    faulty: list[dict[str, Any]] = field(default_factory=list)
    broken: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    told: dict[UUID, list[dict[str, Any]]] = field(default_factory=dict)
    out_of_reach: Unavailable | None = None
    interrupt: BaseException | None = None
    handed_back: int = 0


def blame(desk: Desk, batch: Batch, row: dict[str, Any], runtime: Runtime | None, took_s: float) -> None:
    """Charge an interruption to the agent that took too long by itself, or to a session whose agents did together.

    Neither: it would have struck any other. A session is stepped alone first, and charged if that takes too long, too.
    """
    failures = row["agent_failures"]
    if runtime is not None and runtime.overran:
        agents = [runtime.overran, HUNG]
        what = f"{runtime.overran} failed: its step still ran after {took_s:.1f} s and was ended"
        told = event(WALL.now(), "agent_failed", "health", Severity.ERROR, what)
        batch.told[row["session_id"]] = [told | {"source_agent": runtime.overran}]
    elif took_s < desk.settings.hosted_hung_s:
        return
    else:
        agents = [_HOST, HUNG] if HUNG in failures else [HUNG]
    row["agent_failures"] = failures | {name: failures.get(name, 0) + 1 for name in agents}
    _try_again(desk, batch, row, f"its agents take longer than {desk.settings.step_soft_limit_s} s for one step")


def note_trouble(desk: Desk, batch: Batch, row: dict[str, Any], error: BaseException) -> None:
    """A busy row is tried again; a session that cannot be played is broken at once, one with a bug after some tries."""
    problem = problem_of(error)
    log.warning("step_failed", session_id=str(row["session_id"]), problem=problem, exc_info=error)
    if isinstance(error, Retryable):
        return
    row["agent_failures"] = row["agent_failures"] | {_HOST: row["agent_failures"].get(_HOST, 0) + 1}
    if isinstance(error, FntxError):
        batch.broken.append((row, str(error)))
    else:
        _try_again(desk, batch, row, f"its step failed: {problem}")


def _try_again(desk: Desk, batch: Batch, row: dict[str, Any], problem: str) -> None:
    if row["agent_failures"].get(_HOST, 0) >= desk.settings.agent_failures_max:
        batch.broken.append((row, problem))
    else:
        batch.faulty.append(row)


def _troubled(batch: Batch, among: set[UUID]) -> list[StepResult]:
    """Return what is kept of sessions whose step came to nothing."""
    rows = [(row, "never") for row, _ in batch.broken] + [(row, "interval") for row in batch.faulty]
    told = batch.told
    return [
        _untouched(row, again, told.get(row["session_id"], ())) for row, again in rows if row["session_id"] in among
    ]


def store(desk: Desk, batch: Batch, *, unreported: bool) -> list[UUID]:
    """Store what steps left and those that came to nothing, as one or else each for itself; return what could not be.

    A session whose step cannot be stored is charged, and nothing else of that step is kept. Raises where not even that
    can be written: then it is no session's fault.
    """
    results = [step_result(done, unreported=unreported) for done in batch.slices if not done.stale]
    results += _troubled(batch, set(batch.open))
    lost: list[UUID] = []
    if not _stored(desk, results):
        lost = [one.session_id for one in results if not _stored(desk, [one]) and _charge(desk, batch, one)]
    for result in results:
        del batch.open[result.session_id]
    return lost


def _stored(desk: Desk, results: Sequence[StepResult]) -> bool:
    """Store what steps left; False where something in it cannot be. Raises where the stores are at fault."""
    try:
        finish_steps(desk.engine, results)
    except (Retryable, StackError):
        raise
    except Exception as error:
        if interrupt_in(error) is not None:
            raise
        log.exception("steps_not_stored", sessions=[str(result.session_id) for result in results])
        return False
    return True


def _charge(desk: Desk, batch: Batch, result: StepResult) -> bool:
    session_id = result.session_id
    row = batch.open[session_id] | {"agent_failures": result.agent_failures}
    for done in batch.slices:
        done.stale = done.stale or done.runtime.session_id == session_id
    note_trouble(desk, batch, row, ValueError("what its agents said cannot be stored"))
    finish_steps(desk.engine, _troubled(batch, {session_id}))
    return True


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


def _untouched(row: dict[str, Any], again: str, events: Sequence[dict[str, Any]] = ()) -> StepResult:
    return StepResult(
        row["session_id"], row["epoch"], again, None, row["agent_failures"], None, (), events, unreported=True
    )
