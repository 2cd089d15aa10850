"""Which queue a task goes to, by its name alone; whoever sends from this package agrees with whoever works."""

from typing import Any

from fntx_sessions.caller.producer import COMMANDS, QUERIES, SAFETY, SAFETY_TASKS

__all__ = ["COMMANDS", "QUERIES", "SAFETY", "SAFETY_TASKS", "queue_for"]

AGENTS, SWEEPS = "agents", "sweeps"
CHECKPOINTS, MAINTENANCE = "checkpoints", "maintenance"
# Celery's own default: where a caller who has only Celery and names no queue ends up. Command workers read it too.
UNNAMED = "celery"

QUEUES = (SAFETY, COMMANDS, QUERIES, AGENTS, SWEEPS, CHECKPOINTS, MAINTENANCE, UNNAMED)
# Their tasks may run for minutes: a worker that reads one of them waits long before a message is given to another.
SLOW_QUEUES = frozenset({CHECKPOINTS, MAINTENANCE})
# Their tasks ask for no trade date.
CALENDARLESS = frozenset({CHECKPOINTS, MAINTENANCE})

# What asks nothing but questions, by the group of its name; None: all of the group.
_QUESTIONS: dict[str, frozenset[str] | None] = {
    "fntx.sessions.": frozenset(
        {"get", "list", "metrics", "events", "transitions", "trades", "checkpoints", "outcome", "templates"}
        | {"get_checkpoint", "verify", "validate", "plan", "history", "news", "board", "curve", "foresee"}
    ),
    "fntx.templates.": frozenset({"list", "get", "versions", "diff", "export"}),
    "fntx.agents.": frozenset({"list"}),
    "fntx.approvals.": frozenset({"list"}),
    "fntx.confirmations.": frozenset({"list"}),
    "fntx.orders.": frozenset({"list"}),
    "fntx.memory.": frozenset({"search", "list", "context"}),
    "fntx.market.": frozenset({"get", "history"}),
    "fntx.health.": None,
    "fntx.backtests.": frozenset({"status", "report", "list"}),
    "fntx.bulk.": frozenset({"preview", "report", "list"}),
    "fntx.events.": frozenset({"list"}),
    "fntx.halts.": frozenset({"list"}),
    "fntx.rules.": frozenset({"explain", "rehearse"}),
    "fntx.tokens.": frozenset({"list", "whoami"}),
}
_SWEEPS = "fntx.sweeps."
_SWEEP_QUEUES = {
    "step": AGENTS,
    "checkpoint": CHECKPOINTS,
    "retention": MAINTENANCE,
    "prune": MAINTENANCE,
    "archive": MAINTENANCE,
    "anchor": MAINTENANCE,
    "erase": MAINTENANCE,
}


def queue_for(name: str) -> str:
    """Return the queue of a task. ``fntx.sweeps.prune_events`` goes where ``fntx.sweeps.prune`` goes."""
    if name.startswith(_SWEEPS):
        return _SWEEP_QUEUES.get(name.removeprefix(_SWEEPS).split("_")[0], SWEEPS)
    if name in SAFETY_TASKS:
        return SAFETY
    group, _, verb = name.rpartition(".")
    questions = _QUESTIONS.get(f"{group}.", frozenset())
    return QUERIES if questions is None or verb in questions else COMMANDS


def route_task(name: str, *_args: Any, **_options: Any) -> dict[str, str]:
    """Answer Celery's router."""
    return {"queue": queue_for(name)}
