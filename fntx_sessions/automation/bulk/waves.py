"""Doing a run: one wave after the other, each session's command asked once, whoever asks.

The claim of a run is committed before the work and renewed with each item's result, in one statement; whoever dies
leaves a claim that lapses, and at most one command that was done and not written down, which answers again.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any
from uuid import UUID, uuid5

import structlog

from fntx_sessions.automation.bulk import rows
from fntx_sessions.automation.bulk.request import TRIGGERS, Report, command_arguments
from fntx_sessions.automation.bulk.runs import arguments_of, report
from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import FntxError, Rejected
from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.pasting import halt_command
from fntx_sessions.schemas import Hold, SessionStatus, Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.payloads import Payloads
from fntx_sessions.testing import failpoint

Row = dict[str, Any]
log = structlog.get_logger(__name__)
# How often whoever does all waves looks while another is at one, or the pause between two is long.
_LOOK_S = 0.2
_HELD = frozenset({SessionStatus.PAUSED, SessionStatus.SUSPENDED})
_HALT = Hold.HALT.value
_IN_ERROR = (
    "it is in error, which takes no hold and needs none: it opens nothing, its guard goes on with its exits, and while "
    "the halt stands a recovery brings it no further than to paused. To close what it holds: {flatten}"
)


@dataclass
class _Run:
    """A run that is claimed here. claimed_until: the proof of it."""

    row: Row
    actor: Actor
    arguments: dict[str, Any]
    claimed_until: datetime

    @property
    def bulk_id(self) -> UUID:
        found: UUID = self.row["bulk_id"]
        return found

    @property
    def halting(self) -> bool:
        """Whether its sessions are to be held by a halt: those that stand still already, too."""
        return self.row["action"] == "pause" and self.arguments.get("hold") == _HALT


def advance(
    desk: Desk, bulk_id: UUID, *, all_waves: bool = False, seconds: float | None = None, items: bool = True
) -> Report:
    """Do the wave of a run that is due, unless somebody else is at it; return how far it is.

    all_waves: go on, and wait for another who is at it, until nothing more happens by itself. seconds: do the waves
    that are due, beginning no item after so long. Raises NotFound, and Unavailable while Postgres is away.
    """
    if all_waves:
        _to_the_end(desk, bulk_id)
    elif seconds is None:
        _advance_one(desk, bulk_id, None)
    else:
        _advance_for(desk, bulk_id, seconds)
    return report(desk.engine, bulk_id, items=items)


def _to_the_end(desk: Desk, bulk_id: UUID) -> None:
    while not (found := report(desk.engine, bulk_id, items=False)).over:
        if not _advance_one(desk, bulk_id, None):
            time.sleep(min(_LOOK_S, found.wave_pause_s or _LOOK_S))


def advance_due(desk: Desk, seconds: float) -> int:
    """Do the waves of all runs that are due, beginning none after `seconds`; return how many."""
    return _advance_for(desk, None, seconds)


def _advance_for(desk: Desk, bulk_id: UUID | None, seconds: float) -> int:
    until, done = monotonic() + seconds, 0
    while monotonic() < until and _advance_one(desk, bulk_id, until):
        done += 1
    return done


def _advance_one(desk: Desk, bulk_id: UUID | None, until: float | None) -> bool:
    """Do a wave, or what of it can be begun by `until`; returns whether there was one for us."""
    run = _claimed(desk, bulk_id)
    if run is None:
        return False
    with transaction(desk.engine) as connection:
        items, again = rows.wave(connection, run.bulk_id)
    states = list(_asked(desk, run, items, until))
    if None not in states:
        _let_go(desk, run, states, again=again, cut=len(states) < len(items))
    return True


def _claimed(desk: Desk, bulk_id: UUID | None) -> _Run | None:
    with transaction(desk.engine) as connection:
        row = rows.claim(connection, bulk_id, desk.settings.lease_s)
    if row is None:
        return None
    failpoint("bulk.claimed")
    actor = Actor(
        row["actor"], frozenset(row["roles"]), token_id=row["token_id"], sessions=frozenset(row["token_sessions"]),
        confirmed_by=row["confirmed_by"] or "", confirmed_roles=frozenset(row["confirmed_roles"]),
    )  # fmt: skip
    return _Run(row, actor, arguments_of(row, Payloads(desk.engine)), row["claimed_until"])


def _asked(desk: Desk, run: _Run, items: list[Row], until: float | None) -> Iterable[str | None]:
    """Ask for each item and write down what it answers; yields their states, None once the run is another's."""
    for item in items:
        if until is not None and monotonic() >= until:
            return
        result = _result(desk, run, item)
        failpoint("bulk.item_done")
        if not _written(desk, run, item, result):
            yield None
            return
        yield result["state"]


def _written(desk: Desk, run: _Run, item: Row, result: Row) -> bool:
    own = {"bulk_id": run.bulk_id, "session_id": item["session_id"], "claimed_until": run.claimed_until}
    with transaction(desk.engine) as connection:
        renewed = rows.record(connection, own | result | {"lease_s": desk.settings.lease_s})
    if renewed is None:
        log.info("bulk_left", bulk_id=str(run.bulk_id), why="cancelled, or another advances it")
        return False
    run.claimed_until = renewed
    return True


def _result(desk: Desk, run: _Run, item: Row) -> Row:
    try:
        outcome = _outcome(desk, run, item)
    except Rejected as error:
        return {"state": "refused", "status_after": None, "problem": str(error)}
    except FntxError as error:
        return _failed(run, item, str(error))
    except Exception as error:  # one session's fault must not keep the others from being paused
        log.exception("bulk_item_failed", bulk_id=str(run.bulk_id), session_id=str(item["session_id"]))
        return _failed(run, item, f"unexpected {type(error).__name__}; the log of who advanced it has more")
    return {
        "state": outcome.state,
        "status_after": outcome.status and outcome.status.value,
        "problem": _problem(run, outcome),
    }


def _problem(run: _Run, outcome: Outcome) -> str | None:
    if outcome.error is None:
        return None
    if run.halting and outcome.state == "refused" and outcome.status is SessionStatus.ERROR:
        return _IN_ERROR.format(flatten=halt_command(f"session:{outcome.session_id}", flatten=True))
    return str(outcome.error["message"])


def _failed(run: _Run, item: Row, problem: str) -> Row:
    log.warning("bulk_item_waits", bulk_id=str(run.bulk_id), session_id=str(item["session_id"]), problem=problem)
    return {"state": "failed", "status_after": None, "problem": problem}


def _outcome(desk: Desk, run: _Run, item: Row) -> Outcome:
    # What was asked under this id is asked again, whatever the session has become by it.
    held = run.halting and item["status"] in _HELD
    trigger = Trigger(item["asked"] or (Trigger.UPDATE if held else TRIGGERS[run.row["action"]]))
    outcome = _ask(desk, run, trigger, item["session_id"], item["command_id"])
    if run.halting and trigger is Trigger.PAUSE and outcome.state == "refused" and outcome.status in _HELD:
        # Somebody paused it between the look and the command: it is to be held by the halt all the same.
        held_id = uuid5(run.bulk_id, f"{item['session_id']}/hold")
        return _ask(desk, run, Trigger.UPDATE, item["session_id"], held_id)
    return outcome


def _ask(desk: Desk, run: _Run, trigger: Trigger, session_id: UUID, command_id: UUID) -> Outcome:
    own = {"add_hold": _HALT} if trigger is Trigger.UPDATE else run.arguments
    arguments = command_arguments(trigger, session_id, own, run.row["reason"])
    return execute.command(desk, trigger, run.actor, arguments, command_id)


def _let_go(desk: Desk, run: _Run, states: list[str | None], *, again: bool, cut: bool) -> None:
    failed = states.count("failed")
    stop = _is_too_much(desk, run, failed, len(states), again=again)
    if stop:
        log.error("bulk_stopped", bulk_id=str(run.bulk_id), failed=failed, of=len(states), fix="fntx bulk show")
    pause_s = run.row["wave_pause_s"]
    if cut:
        pause_s = 0.0
    elif again and failed:
        pause_s = max(pause_s, desk.settings.bulk_retry_s)
    with transaction(desk.engine) as connection:
        rows.release(connection, run.bulk_id, run.claimed_until, pause_s, stop=stop)


def _is_too_much(desk: Desk, run: _Run, failed: int, asked: int, *, again: bool) -> bool:
    """Tell whether a person has to look before the run goes on. A halt's never stops: it tries again instead."""
    if run.row["halt_id"] is not None or not failed:
        return False
    return again or failed / asked > desk.settings.bulk_failures_max_fraction
