"""Bulk runs over a desk in this process: what is asked for, how it is advanced, and what must hold of every run."""

from collections import Counter
from typing import Any
from uuid import UUID, uuid4

from hosting import ANN, Hosting

from fntx_sessions.automation import bulk
from fntx_sessions.automation.bulk import BulkRequest, Report, Selector
from fntx_sessions.security.actor import Actor

LAPSE = "UPDATE bulk_runs SET claimed_until = NULL"
DUE = "UPDATE bulk_runs SET next_wave_at = now() WHERE next_wave_at IS NOT NULL"


def asked(action: str = "pause", *, ids: list[UUID] | None = None, **more: Any) -> BulkRequest:
    """Return a request; what is no field of it selects."""
    own = {name: more.pop(name) for name in list(more) if name in BulkRequest.model_fields}
    chosen = Selector(session_ids=ids, **more)
    return BulkRequest(**({"bulk_id": uuid4(), "action": action, "selector": chosen, "reason": "a test"} | own))


def begin(hosting: Hosting, request: BulkRequest, actor: Actor = ANN) -> UUID:
    return bulk.begin(hosting.desk.engine, actor, request)


def finish(hosting: Hosting, request: BulkRequest, actor: Actor = ANN) -> Report:
    """Do a run to its end."""
    return bulk.advance(hosting.desk, begin(hosting, request, actor), all_waves=True)


def states(report: Report) -> dict[UUID, str]:
    return {item.session_id: item.state for item in report.items}


def check_run(hosting: Hosting, report: Report, trigger: str) -> None:
    """Each item has one command, in the asker's name, and one transition at most, whoever died on the way."""
    for item in report.items:
        commands = hosting.rows(
            "SELECT command_id, state, actor FROM commands WHERE session_id = :id AND trigger = :trigger",
            id=item.session_id, trigger=trigger,
        )  # fmt: skip
        mine = [row for row in commands if row["command_id"] == item.command_id]
        assert [(row["state"], row["actor"]) for row in mine] == [(item.state, report.actor)], (item, commands)
        steps = hosting.rows("SELECT 1 FROM transitions WHERE command_id = :id", id=item.command_id)
        assert len(steps) == (item.state == "done"), item
    assert Counter(item.state for item in report.items) == report.counts
