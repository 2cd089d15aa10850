"""What sweeps claim: due times, leases and claims. The session rows themselves are never locked for it."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from fntx_sessions.database.columns import at, json, now
from fntx_sessions.database.metadata import metadata

hosts = Table(
    "hosts",
    metadata,
    Column("host_id", Text, primary_key=True),
    Column("queues", Text, nullable=False, server_default=""),
    Column("pid", Integer, nullable=False),
    Column("node", Text, nullable=False),
    now("started_at"),
    now("seen_at"),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    Column("left", Boolean, nullable=False, server_default=text("false")),
    # What its processes take of the machine, as the lease's thread measured it.
    json("measures", "{}"),
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
    at("next_save_at"),
    at("save_claimed_until"),
    Column("saved_epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("saved_revision", BigInteger, nullable=False, server_default=text("0")),
    at("last_saved_at"),
    # Checkpoints.
    Column("checkpoint_interval_s", Double, nullable=False),
    at("next_checkpoint_at"),
    at("checkpoint_claimed_until"),
    Column("checkpoint_type", Text, nullable=False, server_default="periodic"),
    # Hosting: who steps it, when next, and where its own clock stands.
    Column("hosted", Boolean, nullable=False, server_default=text("true")),
    Column("step_interval_s", Double, nullable=False),
    at("next_step_at"),
    at("step_claimed_until"),
    Column("host_id", Text),
    Column("step_claimed_by", Text),
    json("agent_failures", "{}"),
    at("clock_at"),
    # Recovery and what waits: pending starts and stops.
    Column("recovery_attempts", Integer, nullable=False, server_default=text("0")),
    at("next_recovery_at"),
    at("pending_due_at"),
    at("pending_claimed_until"),
    at("relay_claimed_until"),
    at("relay_due_at"),
    # Retention: a closed session's archive, and a long session's next segment.
    at("archive_due_at"),
    at("archive_claimed_until"),
    # Rules and health: due by Postgres's clock. measures: what the last step left for both.
    at("next_rule_at"),
    at("rule_claimed_until"),
    at("next_health_at"),
    at("health_claimed_until"),
    json("measures", "{}"),
    # Memory: transitions above this version are not among its slices yet.
    at("memory_due_at"),
    at("memory_claimed_until"),
    Column("remembered_version", BigInteger, nullable=False, server_default=text("0")),
    Column("memory_failures", Integer, nullable=False, server_default=text("0")),
    Index("ix_session_work_memory_due_at", "memory_due_at", postgresql_where=text("memory_due_at IS NOT NULL")),
    Index("ix_session_work_next_rule_at", "next_rule_at", postgresql_where=text("next_rule_at IS NOT NULL")),
    Index("ix_session_work_next_health_at", "next_health_at", postgresql_where=text("next_health_at IS NOT NULL")),
    Index("ix_session_work_archive_due_at", "archive_due_at", postgresql_where=text("archive_due_at IS NOT NULL")),
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
    at("ready_at"),
    # Who speaks for it from another service: since when, under which name of a token, and the ticket's digest.
    at("joined_at"),
    Column("joined_by", Text),
    Column("ticket_hash", LargeBinary),
    # Of the token it joined with: taken back, it ends the ticket.
    Column("token_id", Text),
    Column("token_key_id", Text),
    at("token_issued_at"),
    # X25519; what it may know is sealed to it.
    Column("sealing_key", LargeBinary),
    PrimaryKeyConstraint("session_id", "agent"),
    Index("ix_session_agents_joined", "session_id", postgresql_where=text("joined_at IS NOT NULL")),
)

sweep_runs = Table(
    "sweep_runs",
    metadata,
    Column("name", Text, primary_key=True),
    Column("last_run", DateTime(timezone=True), nullable=False),
    Column("previous_run", DateTime(timezone=True)),
    # When beat sent the message of the last run, by beat's own clock, and how long the run took; None: still unknown.
    at("sent_at"),
    Column("took_s", Double),
    postgresql_with={"fillfactor": "50"},
)

backtests = Table(
    "backtests",
    metadata,
    Column("run_id", UUID(as_uuid=True), primary_key=True),
    json("spec", "{}"),
    Column("actor", Text, nullable=False),
    now("created_at"),
    at("stopped_at"),
)

backtest_units = Table(
    "backtest_units",
    metadata,
    Column("run_id", UUID(as_uuid=True), ForeignKey("backtests.run_id", ondelete="CASCADE"), nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("session_id", UUID(as_uuid=True)),
    Column("state", Text, nullable=False, server_default="waiting"),
    json("result"),
    PrimaryKeyConstraint("run_id", "trade_date", "seed"),
    CheckConstraint("state IN ('waiting', 'running', 'done', 'failed')", name="state"),
    Index("ix_backtest_units_state", "run_id", "state"),
    Index("ix_backtest_units_session_id", "session_id"),
)
