"""The session row and what a command writes beside it: its record, transition, audit, events and follow-ups."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from fntx_sessions.database.columns import HOLDS, at, json, now, one_of
from fntx_sessions.database.metadata import metadata
from fntx_sessions.schemas import SessionStatus, SessionType

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("kind", Text, nullable=False, server_default="paper"),
    Column("exclusive", Boolean, nullable=False, server_default=text("true")),
    Column("equity", Numeric(18, 4), nullable=False),
    now("created_at"),
    CheckConstraint("equity > 0", name="equity_positive"),
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
    json("config", "{}"),
    json("risk_parameters", "{}"),
    json("enabled_strategies", "[]"),
    json("strategy_parameters", "{}"),
    json("roster", "[]"),
    Column("holds", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    json("pending"),
    now("created_at"),
    at("started_at"),
    at("ended_at"),
    now("status_since"),
    Column("status_actor", Text, nullable=False),
    Column("status_reason", Text, nullable=False, server_default=""),
    Column("requires_action", Text),
    at("quiesced_at"),
    json("recovery_data", "{}"),
    Column("parent_session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id")),
    Column("audit_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("audit_head", LargeBinary),
    # Pinned: no retention moves or drops anything of it.
    Column("pinned", Boolean, nullable=False, server_default=text("false")),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    one_of("status", SessionStatus),
    one_of("session_type", SessionType),
    CheckConstraint("version > 0 AND epoch >= 0", name="counters"),
    CheckConstraint(f"holds <@ ARRAY[{HOLDS}]", name="holds_known"),
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
    # Sealed; None: none.
    Column("arguments", LargeBinary),
    Column("state", Text, nullable=False, server_default="running"),
    Column("outcome", LargeBinary),
    now("created_at"),
    at("finished_at"),
    CheckConstraint("state IN ('running', 'pending', 'done', 'refused')", name="state_known"),
    Index("ix_commands_session_id_created_at", "session_id", "created_at"),
    postgresql_with={"fillfactor": "80"},
)

transitions = Table(
    "transitions",
    metadata,
    Column("transition_id", UUID(as_uuid=True), nullable=False),
    Column("session_id", UUID(as_uuid=True), nullable=False),
    now("timestamp"),
    Column("from_status", Text),
    Column("to_status", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("version", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("command_id", UUID(as_uuid=True)),
    json("pre_conditions_met", "{}"),
    json("post_conditions_met", "{}"),
    Column("state_preserved", Boolean, nullable=False, server_default=text("true")),
    Column("data_migrated", Boolean, nullable=False, server_default=text("false")),
    json("warnings", "[]"),
    json("errors", "[]"),
    # One transition a version and status: the row lock sees to that, and the audit's (session_id, seq).
    PrimaryKeyConstraint("session_id", "version", "to_status", "timestamp"),
    Index("ix_transitions_timestamp", "timestamp"),
    postgresql_partition_by="RANGE (timestamp)",
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
    # What it was about where that is no session: a template, a halt, a token, a credential.
    Column("target", Text),
    Column("task", Text),
    Column("token_id", Text),
    # Who agreed, where an action takes two people.
    Column("confirmed_by", Text),
    # The key of the chain; None: a row from before chains had one.
    Column("key_id", Text),
    Column("previous", LargeBinary),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("session_id", "seq"),
    # Rows come in the order of time: a few bytes for each megabyte of them tell which chains grew lately.
    Index("ix_audit_timestamp", "timestamp", postgresql_using="brin"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("session_id", UUID(as_uuid=True), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    json("payload", "{}"),
    # The trace it belongs to, as W3C's traceparent; None: none.
    Column("trace", Text),
    now("created_at"),
    PrimaryKeyConstraint("session_id", "version", "position"),
    postgresql_with={
        "autovacuum_vacuum_scale_factor": "0.0",
        "autovacuum_vacuum_threshold": "1000",
    },
)

events = Table(
    "events",
    metadata,
    Column("event_id", UUID(as_uuid=True), nullable=False),
    Column("session_id", UUID(as_uuid=True), nullable=False),
    now("timestamp"),
    Column("event_type", Text, nullable=False),
    Column("event_category", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("source_agent", Text),
    Column("description", Text, nullable=False),
    Column("data", LargeBinary),  # sealed; None: none
    Column("requires_action", Boolean, nullable=False, server_default=text("false")),
    Column("action_taken", Text),
    Column("impact_assessment", Text),
    # Who has seen to it, or said that there is nothing to be done.
    at("acknowledged_at"),
    Column("acknowledged_by", Text),
    PrimaryKeyConstraint("session_id", "timestamp", "event_id"),
    # A desk's events of the last hours, over all sessions; events come in by their time.
    Index("ix_events_timestamp", "timestamp", postgresql_using="brin"),
    # Whoever acknowledges one names it alone.
    Index("ix_events_event_id", "event_id"),
    # The newest alert of a session is asked for each second by who watches it.
    Index(
        "ix_events_alerts",
        "session_id",
        "timestamp",
        postgresql_where=text("severity IN ('warning', 'error', 'critical')"),
    ),
    Index("ix_events_to_do", "timestamp", postgresql_where=text("requires_action AND acknowledged_at IS NULL")),
    postgresql_partition_by="RANGE (timestamp)",
)

templates = Table(
    "templates",
    metadata,
    Column("template_id", UUID(as_uuid=True), primary_key=True),
    Column("template_name", Text, nullable=False, unique=True),
    Column("version", Integer, nullable=False, server_default=text("1")),
    json("body", "{}"),
    now("created_at"),
    at("last_used"),
    Column("usage_count", BigInteger, nullable=False, server_default=text("0")),
    # Retired: nothing is made from it any more.
    at("retired_at"),
)
