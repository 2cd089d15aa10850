"""Every table of this service on the one metadata: import this to have them all."""

from fntx_sessions.database.metadata import metadata
from fntx_sessions.database.money_tables import account_days, fills, order_intents, samples, session_days
from fntx_sessions.database.session_tables import (
    accounts,
    audit,
    commands,
    events,
    outbox,
    sessions,
    templates,
    transitions,
)
from fntx_sessions.database.state_tables import (
    archive_segments,
    archives,
    checkpoints,
    invalid_states,
    parts,
    recovery_runs,
    saves,
    session_keys,
    snapshot_parts,
    tier_states,
)
from fntx_sessions.database.work_tables import (
    backtest_units,
    backtests,
    hosts,
    session_agents,
    session_work,
    sweep_runs,
)

__all__ = [
    "account_days",
    "accounts",
    "archive_segments",
    "archives",
    "audit",
    "backtest_units",
    "backtests",
    "checkpoints",
    "commands",
    "events",
    "fills",
    "hosts",
    "invalid_states",
    "metadata",
    "order_intents",
    "outbox",
    "parts",
    "recovery_runs",
    "samples",
    "saves",
    "session_agents",
    "session_days",
    "session_keys",
    "session_work",
    "sessions",
    "snapshot_parts",
    "sweep_runs",
    "templates",
    "tier_states",
    "transitions",
]
