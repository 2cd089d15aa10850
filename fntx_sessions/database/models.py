"""The tables of the lifecycle: sessions and what hangs on their row. Core tables only; no objects in hot paths."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from fntx_sessions.database.metadata import metadata
from fntx_sessions.schemas import Hold, SessionStatus, SessionType


def _one_of(column: str, values: type[SessionStatus] | type[SessionType]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def _at(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True))


def _json(name: str, default: str | None = None) -> Column[object]:
    if default is None:
        return Column(name, JSONB)
    return Column(name, JSONB, nullable=False, server_default=text(f"'{default}'::jsonb"))


_HOLDS = ", ".join(f"'{hold}'" for hold in Hold)

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("kind", Text, nullable=False, server_default="paper"),
    Column("exclusive", Boolean, nullable=False, server_default=text("true")),
    Column("equity", Numeric(18, 4), nullable=False),
    _now("created_at"),
    CheckConstraint("equity > 0", name="equity_positive"),
)

account_days = Table(
    "account_days",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.account_id"), nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("equity_at_roll", Numeric(18, 4), nullable=False),
    _at("latched_at"),
    Column("latched_by", Text),
    Column("latch_reason", Text),
    PrimaryKeyConstraint("account_id", "trade_date"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", UUID(as_uuid=True), primary_key=True),
    Column("session_type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("account_id", Text, ForeignKey("accounts.account_id"), nullable=False),
    Column("exclusive_account", Boolean, nullable=False),
    Column("broker", Text, nullable=False),
    Column("template_name", Text),
    Column("template_version", Integer),
    _json("config", "{}"),
    _json("risk_parameters", "{}"),
    _json("enabled_strategies", "[]"),
    _json("strategy_parameters", "{}"),
    _json("roster", "[]"),
    Column("holds", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    _json("pending"),
    _now("created_at"),
    _at("started_at"),
    _at("ended_at"),
    _now("status_since"),
    Column("status_actor", Text, nullable=False),
    Column("status_reason", Text, nullable=False, server_default=""),
    Column("requires_action", Text),
    _at("quiesced_at"),
    _json("recovery_data", "{}"),
    Column("parent_session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id")),
    Column("audit_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("audit_head", LargeBinary),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    _one_of("status", SessionStatus),
    _one_of("session_type", SessionType),
    CheckConstraint("version > 0 AND epoch >= 0", name="counters"),
    CheckConstraint(f"holds <@ ARRAY[{_HOLDS}]", name="holds_known"),
    CheckConstraint("(status = 'closed') = (ended_at IS NOT NULL)", name="ended_when_closed"),
    Index(
        "uq_sessions_exclusive_account",
        "account_id",
        unique=True,
        postgresql_where=text("exclusive_account AND started_at IS NOT NULL AND status <> 'closed'"),
    ),
    Index("ix_sessions_status_created_at", "status", "created_at"),
    Index("ix_sessions_created_at", "created_at"),
    Index("ix_sessions_parent_session_id", "parent_session_id"),
    Index("ix_sessions_tags", "tags", postgresql_using="gin"),
    postgresql_with={"fillfactor": "70"},
)

commands = Table(
    "commands",
    metadata,
    Column("command_id", UUID(as_uuid=True), primary_key=True),
    Column("session_id", UUID(as_uuid=True)),
    Column("trigger", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("args_hash", LargeBinary, nullable=False),
    _json("arguments", "{}"),
    Column("state", Text, nullable=False, server_default="running"),
    _json("outcome"),
    _now("created_at"),
    _at("finished_at"),
    CheckConstraint("state IN ('running', 'pending', 'done', 'refused')", name="state_known"),
    Index("ix_commands_session_id_created_at", "session_id", "created_at"),
    postgresql_with={"fillfactor": "80"},
)

transitions = Table(
    "transitions",
    metadata,
    Column("transition_id", UUID(as_uuid=True), nullable=False),
    Column("session_id", UUID(as_uuid=True), nullable=False),
    _now("timestamp"),
    Column("from_status", Text),
    Column("to_status", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("version", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("command_id", UUID(as_uuid=True)),
    _json("pre_conditions_met", "{}"),
    _json("post_conditions_met", "{}"),
    Column("state_preserved", Boolean, nullable=False, server_default=text("true")),
    Column("data_migrated", Boolean, nullable=False, server_default=text("false")),
    _json("warnings", "[]"),
    _json("errors", "[]"),
    PrimaryKeyConstraint("session_id", "version", "to_status"),
    Index("ix_transitions_timestamp", "timestamp"),
)

audit = Table(
    "audit",
    metadata,
    Column("session_id", UUID(as_uuid=True), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("timestamp", DateTime(timezone=True), nullable=False),
    Column("actor", Text, nullable=False),
    Column("roles", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("command_id", UUID(as_uuid=True)),
    Column("args_hash", LargeBinary),
    Column("version_before", BigInteger),
    Column("version_after", BigInteger),
    Column("host", Text, nullable=False, server_default=""),
    Column("previous", LargeBinary),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("session_id", "seq"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("session_id", UUID(as_uuid=True), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    _json("payload", "{}"),
    _now("created_at"),
    PrimaryKeyConstraint("session_id", "version", "position"),
    postgresql_with={
        "autovacuum_vacuum_scale_factor": "0.0",
        "autovacuum_vacuum_threshold": "1000",
    },
)

hosts = Table(
    "hosts",
    metadata,
    Column("host_id", Text, primary_key=True),
    Column("queues", Text, nullable=False, server_default=""),
    Column("pid", Integer, nullable=False),
    Column("node", Text, nullable=False),
    _now("started_at"),
    _now("seen_at"),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    Column("left", Boolean, nullable=False, server_default=text("false")),
    postgresql_with={"fillfactor": "50"},
)

session_work = Table(
    "session_work",
    metadata,
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id", ondelete="CASCADE"), primary_key=True),
    Column("status", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("session_type", Text, nullable=False),
    # Saves: due, claimed until, and the mark of what is stored.
    Column("save_interval_s", Double, nullable=False),
    _at("next_save_at"),
    _at("save_claimed_until"),
    Column("saved_epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("saved_revision", BigInteger, nullable=False, server_default=text("0")),
    _at("last_saved_at"),
    # Checkpoints.
    Column("checkpoint_interval_s", Double, nullable=False),
    _at("next_checkpoint_at"),
    _at("checkpoint_claimed_until"),
    Column("checkpoint_type", Text, nullable=False, server_default="periodic"),
    # Hosting: who steps it, when next, and where its own clock stands.
    Column("hosted", Boolean, nullable=False, server_default=text("true")),
    Column("step_interval_s", Double, nullable=False),
    _at("next_step_at"),
    _at("step_claimed_until"),
    Column("host_id", Text),
    Column("step_claimed_by", Text),
    _json("agent_failures", "{}"),
    _at("clock_at"),
    # Recovery and what waits: pending starts and stops.
    Column("recovery_attempts", Integer, nullable=False, server_default=text("0")),
    _at("next_recovery_at"),
    _at("pending_due_at"),
    _at("pending_claimed_until"),
    _at("relay_claimed_until"),
    _at("relay_due_at"),
    Index("ix_session_work_next_save_at", "next_save_at", postgresql_where=text("next_save_at IS NOT NULL")),
    Index(
        "ix_session_work_next_checkpoint_at",
        "next_checkpoint_at",
        postgresql_where=text("next_checkpoint_at IS NOT NULL"),
    ),
    Index("ix_session_work_next_step_at", "next_step_at", postgresql_where=text("next_step_at IS NOT NULL")),
    Index("ix_session_work_pending_due_at", "pending_due_at", postgresql_where=text("pending_due_at IS NOT NULL")),
    Index("ix_session_work_relay_due_at", "relay_due_at", postgresql_where=text("relay_due_at IS NOT NULL")),
    Index("ix_session_work_host_id", "host_id", postgresql_where=text("host_id IS NOT NULL")),
    postgresql_with={"fillfactor": "50"},
)

session_agents = Table(
    "session_agents",
    metadata,
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id", ondelete="CASCADE"), nullable=False),
    Column("agent", Text, nullable=False),
    Column("required", Boolean, nullable=False, server_default=text("true")),
    Column("hosted", Boolean, nullable=False, server_default=text("true")),
    _at("ready_at"),
    PrimaryKeyConstraint("session_id", "agent"),
)

sweep_runs = Table(
    "sweep_runs",
    metadata,
    Column("name", Text, primary_key=True),
    Column("last_run", DateTime(timezone=True), nullable=False),
    Column("previous_run", DateTime(timezone=True)),
    postgresql_with={"fillfactor": "50"},
)

saves = Table(
    "saves",
    metadata,
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    _now("saved_at"),
    Column("manifest", LargeBinary, nullable=False),
    Column("checksum", LargeBinary, nullable=False),
    postgresql_with={"fillfactor": "70"},
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("checkpoint_id", UUID(as_uuid=True), primary_key=True),
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id", ondelete="CASCADE"), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    _now("timestamp"),
    Column("checkpoint_type", Text, nullable=False),
    Column("is_recovery_point", Boolean, nullable=False, server_default=text("true")),
    Column("manifest", LargeBinary, nullable=False),
    Column("checksum", LargeBinary, nullable=False),
    Column("identity", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("verified", Boolean, nullable=False, server_default=text("false")),
    Column("note", Text),
    Index("ix_checkpoints_session_id_timestamp", "session_id", "timestamp"),
)

parts = Table(
    "parts",
    metadata,
    Column("session_id", UUID(as_uuid=True), nullable=False),
    Column("part_hash", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    _now("created_at"),
    PrimaryKeyConstraint("session_id", "part_hash"),
)

snapshot_parts = Table(
    "snapshot_parts",
    metadata,
    Column("session_id", UUID(as_uuid=True), nullable=False),
    # The checkpoint's id, or the session's id for its current save.
    Column("snapshot_id", UUID(as_uuid=True), nullable=False),
    Column("part_hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("session_id", "snapshot_id", "part_hash"),
    # Collecting garbage can never leave a manifest dangling: whoever loses the race sends the part again.
    ForeignKeyConstraint(["session_id", "part_hash"], ["parts.session_id", "parts.part_hash"]),
    Index("ix_snapshot_parts_session_id_part_hash", "session_id", "part_hash"),
)

order_intents = Table(
    "order_intents",
    metadata,
    Column("client_order_id", Text, primary_key=True),
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id"), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("account_id", Text, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("opening", Boolean, nullable=False),
    Column("stop_loss_usd", Numeric(18, 4), nullable=False, server_default=text("0")),
    Column("state", Text, nullable=False, server_default="intended"),
    _json("payload", "{}"),
    Column("decision_latency_ms", Double),
    _now("created_at"),
    _at("closed_at"),
    CheckConstraint("state IN ('intended', 'working', 'filled', 'cancelled', 'rejected', 'expired')", name="state"),
    Index(
        "ix_order_intents_session_id_open",
        "session_id",
        postgresql_where=text("state IN ('intended', 'working')"),
    ),
    Index("uq_order_intents_session_id_epoch_seq", "session_id", "epoch", "seq", unique=True),
)

fills = Table(
    "fills",
    metadata,
    Column("fill_id", Text, primary_key=True),
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id"), nullable=False),
    Column("account_id", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("client_order_id", Text, nullable=False),
    Column("trade_id", Text, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("right", Text, nullable=False),
    Column("strike", Numeric(12, 4)),
    Column("expiry", Text),
    Column("side", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("price", Numeric(12, 4), nullable=False),
    Column("fee", Numeric(12, 4), nullable=False),
    Column("slippage", Numeric(12, 4), nullable=False, server_default=text("0")),
    Column("opening", Boolean, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("timestamp", DateTime(timezone=True), nullable=False),
    _now("recorded_at"),
    CheckConstraint("side IN ('buy', 'sell')", name="side"),
    Index("ix_fills_session_id_timestamp", "session_id", "timestamp"),
)

session_days = Table(
    "session_days",
    metadata,
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id"), nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("account_id", Text, nullable=False),
    Column("realized", Numeric(18, 4), nullable=False, server_default=text("0")),
    Column("fees", Numeric(18, 4), nullable=False, server_default=text("0")),
    Column("unrealized", Numeric(18, 4), nullable=False, server_default=text("0")),
    Column("open_risk", Numeric(18, 4), nullable=False, server_default=text("0")),
    Column("contracts", Integer, nullable=False, server_default=text("0")),
    Column("margin", Numeric(18, 4), nullable=False, server_default=text("0")),
    _now("updated_at"),
    PrimaryKeyConstraint("session_id", "trade_date"),
    Index("ix_session_days_account_id_trade_date", "account_id", "trade_date"),
)

samples = Table(
    "samples",
    metadata,
    Column("session_id", UUID(as_uuid=True), nullable=False),
    Column("timestamp", DateTime(timezone=True), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("net_pnl", Numeric(18, 4), nullable=False),
    Column("exposure", Numeric(18, 4), nullable=False, server_default=text("0")),
    Column("spot", Double),
    _json("steps", "{}"),
    PrimaryKeyConstraint("session_id", "timestamp"),
)

events = Table(
    "events",
    metadata,
    Column("event_id", UUID(as_uuid=True), nullable=False),
    Column("session_id", UUID(as_uuid=True), nullable=False),
    _now("timestamp"),
    Column("event_type", Text, nullable=False),
    Column("event_category", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("source_agent", Text),
    Column("description", Text, nullable=False),
    _json("data", "{}"),
    Column("requires_action", Boolean, nullable=False, server_default=text("false")),
    Column("action_taken", Text),
    Column("impact_assessment", Text),
    PrimaryKeyConstraint("session_id", "timestamp", "event_id"),
)

templates = Table(
    "templates",
    metadata,
    Column("template_id", UUID(as_uuid=True), primary_key=True),
    Column("template_name", Text, nullable=False, unique=True),
    Column("version", Integer, nullable=False, server_default=text("1")),
    _json("body", "{}"),
    _now("created_at"),
    _at("last_used"),
    Column("usage_count", BigInteger, nullable=False, server_default=text("0")),
)

backtests = Table(
    "backtests",
    metadata,
    Column("run_id", UUID(as_uuid=True), primary_key=True),
    _json("spec", "{}"),
    Column("actor", Text, nullable=False),
    _now("created_at"),
    _at("stopped_at"),
)

backtest_units = Table(
    "backtest_units",
    metadata,
    Column("run_id", UUID(as_uuid=True), ForeignKey("backtests.run_id", ondelete="CASCADE"), nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("session_id", UUID(as_uuid=True)),
    Column("state", Text, nullable=False, server_default="waiting"),
    _json("result"),
    PrimaryKeyConstraint("run_id", "trade_date", "seed"),
    CheckConstraint("state IN ('waiting', 'running', 'done', 'failed')", name="state"),
    Index("ix_backtest_units_state", "run_id", "state"),
)
