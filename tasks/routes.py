"""Which queue a task goes to, by its name alone; whoever sends from this package agrees with whoever works."""

from typing import Any

COMMANDS, QUERIES, AGENTS, SWEEPS = "commands", "queries", "agents", "sweeps"
CHECKPOINTS, MAINTENANCE = "checkpoints", "maintenance"
# Celery's own default: where a caller who has only Celery and names no queue ends up. Command workers read it too.
UNNAMED = "celery"

QUEUES = (COMMANDS, QUERIES, AGENTS, SWEEPS, CHECKPOINTS, MAINTENANCE, UNNAMED)
# Their tasks may run for minutes: a worker that reads one of them waits long before a message is given to another.
SLOW_QUEUES = frozenset({CHECKPOINTS, MAINTENANCE})

_SESSIONS = "fntx.sessions."
_QUERY_VERBS = frozenset(
    {"get", "list", "metrics", "events", "transitions", "trades", "checkpoints", "outcome", "templates"}
    | {"get_checkpoint", "verify", "validate", "plan"}
)
_TEMPLATES = "fntx.templates."
_BACKTESTS = "fntx.backtests."
_BACKTEST_QUERIES = frozenset({"status", "report", "list"})
_BULK = "fntx.bulk."
_BULK_QUERIES = frozenset({"preview", "report", "list"})
_HALTS = "fntx.halts."
_HALT_QUERIES = frozenset({"list"})
_RULES = "fntx.rules."
_RULES_QUERIES = frozenset({"explain", "rehearse"})
_HEALTH = "fntx.health."
_SWEEPS = "fntx.sweeps."
_SWEEP_QUEUES = {
    "step": AGENTS,
    "checkpoint": CHECKPOINTS,
    "retention": MAINTENANCE,
    "prune": MAINTENANCE,
    "archive": MAINTENANCE,
    "erase": MAINTENANCE,
}


def queue_for(name: str) -> str:
    """Return the queue of a task. ``fntx.sweeps.prune_events`` goes where ``fntx.sweeps.prune`` goes."""
    if name.startswith(_SESSIONS):
        return QUERIES if name.removeprefix(_SESSIONS) in _QUERY_VERBS else COMMANDS
    if name.startswith((_TEMPLATES, _HEALTH)):
        return QUERIES
    if name.startswith(_BACKTESTS):
        return QUERIES if name.removeprefix(_BACKTESTS) in _BACKTEST_QUERIES else COMMANDS
    if name.startswith(_BULK):
        return QUERIES if name.removeprefix(_BULK) in _BULK_QUERIES else COMMANDS
    if name.startswith(_HALTS):
        return QUERIES if name.removeprefix(_HALTS) in _HALT_QUERIES else COMMANDS
    if name.startswith(_RULES):
        return QUERIES if name.removeprefix(_RULES) in _RULES_QUERIES else COMMANDS
    if name.startswith(_SWEEPS):
        return _SWEEP_QUEUES.get(name.removeprefix(_SWEEPS).split("_")[0], SWEEPS)
    return COMMANDS


def route_task(name: str, *_args: Any, **_options: Any) -> dict[str, str]:
    """Answer Celery's router."""
    return {"queue": queue_for(name)}
