"""A session's checkpoints, its last recovery, and what the next one would try: that only where it is asked for.

A plan reads and proves bytes. It is made for an address with `plan=newest`, or the id of a checkpoint, and then shown
to all who look for `pages_look_kept_s`.
"""

from typing import Any
from uuid import UUID

from fntx_sessions.exceptions import Fatal, InvalidArgument, Rejected
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.cursors import Cursor
from fntx_sessions.lifecycle.reads.kept_checkpoints import checkpoint_totals, last_recovery, list_checkpoints
from fntx_sessions.lifecycle.reads.rows import Row
from fntx_sessions.lifecycle.recovery.plan import create_recovery_plan
from fntx_sessions.lifecycle.recovery.progress import STEPS
from fntx_sessions.lifecycle.told import measures
from fntx_sessions.monitoring.flower.lately import Lately
from fntx_sessions.monitoring.flower.offers import offers
from fntx_sessions.monitoring.flower.page import Asked, Draw
from fntx_sessions.monitoring.flower.session_page import SessionPage
from fntx_sessions.monitoring.flower.tables import table
from fntx_sessions.monitoring.flower.views import Part, Parts
from fntx_sessions.monitoring.flower.words import NONE
from fntx_sessions.schemas import SessionRecoveryPlan

NEWEST = "newest"


class Checkpoints(SessionPage):
    """What it keeps, and what it could be brought back from."""

    template = "checkpoints.html"
    here = "checkpoints"

    def __init__(self) -> None:
        self._plans: Lately[SessionRecoveryPlan | str] = Lately()

    def body(self, desk: Desk, asked: Asked, draw: Draw, head: Row) -> Parts:
        """Draw them a page at a time, the last recovery, and a plan where one is asked for."""
        recovers = any(offer.path[-1] == "recover" for offer in offers(asked.viewer, head))
        return {
            "checkpoints": _listed(desk, asked, draw, head, recovers=recovers),
            "last-recovery": _last(desk, draw, head),
            "recovery-plan": self._plan(desk, asked, draw, head),
        }

    def _plan(self, desk: Desk, asked: Asked, draw: Draw, head: Row) -> Part:
        named = _named(asked)
        if named is None:
            return draw.part("recovery_plan_none.html", head=head)

        def make() -> SessionRecoveryPlan | str:
            return _made(desk, head["session_id"], None if named == NEWEST else UUID(named))

        plan = self._plans.get((head["session_id"], named), make, desk.settings.pages_look_kept_s)
        told = {"head": head, "named": named, "kept_s": desk.settings.pages_look_kept_s}
        if isinstance(plan, str):
            return draw.part("recovery_plan_refused.html", problem=plan, **told)
        return draw.part("recovery_plan.html", plan=plan, lost=_lost, **told)


def _named(asked: Asked) -> str | None:
    """Return what a plan is asked for of, None: no plan is asked for; raises InvalidArgument."""
    given = asked.get("plan")
    if given in ("", NEWEST):
        return given or None
    try:
        return str(UUID(given))
    except ValueError:
        fix = f"Give {NEWEST}, or the id of a checkpoint."
        raise InvalidArgument("plan", f"{given[:50]!r} is no checkpoint", fix) from None


def _made(desk: Desk, session_id: UUID, checkpoint_id: UUID | None) -> SessionRecoveryPlan | str:
    """Return a plan, or why none can be made; raises Unavailable."""
    try:
        return create_recovery_plan(*desk.parts(), session_id, checkpoint_id=checkpoint_id)
    except (Rejected, Fatal) as error:
        return str(error)


def _listed(desk: Desk, asked: Asked, draw: Draw, head: Row, *, recovers: bool) -> Part:
    before = Cursor.of("before", asked.get("before"))
    rows, older = list_checkpoints(desk.engine, head["session_id"], desk.settings.pages_rows, before)
    return table(
        draw, "checkpoints_table.html", [f"checkpoint-{row['checkpoint_id']}" for row in rows], head=head, rows=rows,
        totals=checkpoint_totals(desk.engine, head["session_id"]), older=older, first=not asked.get("before"),
        recovers=recovers, size=_size,
    )  # fmt: skip


def _last(desk: Desk, draw: Draw, head: Row) -> Part:
    run = last_recovery(desk.engine, head["session_id"])
    if run is None:
        return draw.part("recovery_last.html", run=None)
    stands = {one["name"]: one["status"] for one in run["steps"]}
    steps = [{"name": name, "what": what, "status": stands.get(name, "pending")} for name, what in STEPS.items()]
    # Of what was measured the session's row tells, and of the last that was done alone.
    measured = measures(head["recovery_data"]) if run["state"] == "done" and head["shredded_at"] is None else None
    return draw.part("recovery_last.html", run=run, steps=steps, report=run["report"], measured=measured)


def _size(count: Any) -> str:
    return f"{int(count):,} bytes"


def _lost(seconds: float | None) -> str:
    return NONE if seconds is None else f"{seconds:,g} s"
