"""What automation keeps: where each session's rules stand and what they decided, halts, bulk runs, health, alerts."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
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
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from fntx_sessions.database.columns import at, json, now
from fntx_sessions.database.metadata import metadata

# One row a session whose rules were evaluated. state: the engine's memory (dwell, hysteresis, cooldowns).
rule_states = Table(
    "rule_states",
    metadata,
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id", ondelete="CASCADE"), primary_key=True),
    json("state", "{}"),
    now("evaluated_at"),
    at("missing_since"),
    at("retry_at"),
    Column("retries", Integer, nullable=False, server_default=text("0")),
    Column("decision_seq", BigInteger, nullable=False, server_default=text("0")),
    postgresql_with={"fillfactor": "50"},
)

rule_decisions = Table(
    "rule_decisions",
    metadata,
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id", ondelete="CASCADE"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    now("timestamp"),
    at("clock_at"),
    Column("status", Text, nullable=False),
    # start, stop, pause, resume; None: nothing was to be done, and `why` says why not.
    Column("action", Text),
    Column("outcome", Text),
    Column("why", Text, nullable=False),
    json("truths", "[]"),
    Column("command_id", UUID(as_uuid=True)),
    PrimaryKeyConstraint("session_id", "seq"),
)

halts = Table(
    "halts",
    metadata,
    Column("halt_id", UUID(as_uuid=True), primary_key=True),
    Column("scope", Text, nullable=False),
    # The account's, template's or session's name; None for all.
    Column("scope_name", Text),
    Column("reason", Text, nullable=False),
    Column("flatten", Boolean, nullable=False, server_default=text("false")),
    Column("actor", Text, nullable=False),
    now("created_at"),
    at("released_at"),
    Column("released_by", Text),
    Column("release_reason", Text),
    CheckConstraint("scope IN ('all', 'account', 'template', 'session')", name="scope_known"),
    CheckConstraint("(scope = 'all') = (scope_name IS NULL)", name="scope_named"),
    CheckConstraint("(released_at IS NULL) = (released_by IS NULL)", name="released_by_someone"),
    Index("ix_halts_standing", "scope", "scope_name", postgresql_where=text("released_at IS NULL")),
    Index("ix_halts_created_at", "created_at"),
)

bulk_runs = Table(
    "bulk_runs",
    metadata,
    Column("bulk_id", UUID(as_uuid=True), primary_key=True),
    Column("action", Text, nullable=False),
    json("selector", "{}"),
    # Sealed: what each of its commands is asked with.
    Column("arguments", LargeBinary),
    Column("reason", Text, nullable=False, server_default=""),
    # Who asked, as verified then: the commands are asked in this name.
    Column("actor", Text, nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    Column("token_id", Text, nullable=False, server_default=""),
    Column("token_sessions", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # Who agreed to it, and with which roles, where it takes two people.
    Column("confirmed_by", Text),
    Column("confirmed_roles", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("halt_id", UUID(as_uuid=True), ForeignKey("halts.halt_id")),
    Column("wave_size", Integer, nullable=False),
    Column("wave_pause_s", Double, nullable=False),
    now("created_at"),
    at("next_wave_at"),
    at("claimed_until"),
    at("finished_at"),
    at("cancelled_at"),
    Column("cancelled_by", Text),
    # Who last let it go on when it waited for a person.
    at("resumed_at"),
    Column("resumed_by", Text),
    Index("ix_bulk_runs_next_wave_at", "next_wave_at", postgresql_where=text("next_wave_at IS NOT NULL")),
    Index("ix_bulk_runs_created_at", "created_at"),
    Index("ix_bulk_runs_halt_id", "halt_id"),
)

bulk_items = Table(
    "bulk_items",
    metadata,
    Column("bulk_id", UUID(as_uuid=True), ForeignKey("bulk_runs.bulk_id", ondelete="CASCADE"), nullable=False),
    Column("session_id", UUID(as_uuid=True), nullable=False),
    Column("wave", Integer, nullable=False),
    Column("command_id", UUID(as_uuid=True), nullable=False),
    # waiting: its wave has not come; done, pending and refused: as its command's; failed: not asked yet, tried again.
    Column("state", Text, nullable=False, server_default="waiting"),
    # None: it was out of its asker's scope, who is told nothing of it.
    Column("status_before", Text),
    Column("status_after", Text),
    Column("problem", Text),
    at("finished_at"),
    PrimaryKeyConstraint("bulk_id", "session_id"),
    CheckConstraint("state IN ('waiting', 'done', 'pending', 'refused', 'failed', 'cancelled')", name="state_known"),
    Index("ix_bulk_items_waiting", "bulk_id", "wave", postgresql_where=text("state IN ('waiting', 'failed')")),
)

session_health = Table(
    "session_health",
    metadata,
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id", ondelete="CASCADE"), primary_key=True),
    Column("grade", Text, nullable=False),
    json("checks", "[]"),
    now("checked_at"),
    at("failed_since"),
    # Checks in a row that failed.
    Column("failures", Integer, nullable=False, server_default=text("0")),
    CheckConstraint("grade IN ('ok', 'degraded', 'failed')", name="grade_known"),
    Index("ix_session_health_grade", "grade", postgresql_where=text("grade <> 'ok'")),
    postgresql_with={"fillfactor": "50"},
)

# What the desk as a whole, not one session, has to be told; one open alert a name and subject.
alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", UUID(as_uuid=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("subject", Text, nullable=False, server_default=""),
    Column("severity", Text, nullable=False),
    Column("description", Text, nullable=False),
    now("since"),
    at("cleared_at"),
    Index("uq_alerts_open", "name", "subject", unique=True, postgresql_where=text("cleared_at IS NULL")),
)
