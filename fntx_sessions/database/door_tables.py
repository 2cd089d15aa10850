"""What the front doors keep: what agents elsewhere told, approvals, orders of people, memories, markets, templates."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
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
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR, UUID

from fntx_sessions.database.columns import at, json, now
from fntx_sessions.database.metadata import metadata

# Trades, decisions and errors as agents of other services told them; each once, by the id its agent gave it. timestamp:
# the agent's own. latency_ms: of a decision, quote to decision. Of a trade: dollars; data is sealed.
agent_reports = Table(
    "agent_reports",
    metadata,
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id", ondelete="CASCADE"), nullable=False),
    Column("agent", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("report_id", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("timestamp", DateTime(timezone=True), nullable=False),
    now("received_at"),
    Column("latency_ms", Double),
    at("opened_at"),
    at("closed_at"),
    Column("gross_pnl", Numeric(18, 4)),
    Column("fees", Numeric(18, 4)),
    Column("slippage", Numeric(18, 4)),
    Column("data", LargeBinary),
    PrimaryKeyConstraint("session_id", "agent", "kind", "report_id"),
    CheckConstraint("kind IN ('trade', 'decision', 'error')", name="kind_known"),
    Index("ix_agent_reports_session_id_kind_timestamp", "session_id", "kind", "timestamp"),
)

# What a template was at each version, who made it so and why. templates.body is the newest.
template_versions = Table(
    "template_versions",
    metadata,
    Column("template_id", UUID(as_uuid=True), ForeignKey("templates.template_id"), nullable=False),
    Column("version", Integer, nullable=False),
    json("body", "{}"),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("command_id", UUID(as_uuid=True)),
    now("timestamp"),
    # Of the edit that made it, so that its id stands for no other.
    Column("arguments_hash", LargeBinary),
    PrimaryKeyConstraint("template_id", "version"),
    Index(
        "uq_template_versions_command_id", "command_id", unique=True, postgresql_where=text("command_id IS NOT NULL")
    ),
)

# Orders that wait, or waited, for a person. request: the order with its reasons, sealed. limit_price: dollars a share
# of one package; reference: its mid as it was proposed. risk: dollars to its stop.
approvals = Table(
    "approvals",
    metadata,
    Column("approval_id", UUID(as_uuid=True), primary_key=True),
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id", ondelete="CASCADE"), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("agent", Text, nullable=False),
    Column("trade_id", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="waiting"),
    Column("request", LargeBinary, nullable=False),
    Column("limit_price", Numeric(18, 4)),
    Column("reference", Numeric(18, 4)),
    Column("risk", Numeric(18, 4), nullable=False, server_default=text("0")),
    Column("drift_max", Double, nullable=False),
    now("created_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    at("decided_at"),
    Column("decided_by", Text),
    Column("reason", Text, nullable=False, server_default=""),
    Column("command_id", UUID(as_uuid=True)),
    at("closed_at"),
    Column("result", Text),
    CheckConstraint(
        "state IN ('waiting', 'approved', 'rejected', 'expired', 'stale', 'executed', 'refused', 'withdrawn')",
        name="state_known",
    ),
    CheckConstraint("(state IN ('waiting', 'approved')) = (closed_at IS NULL)", name="closed_when_over"),
    Index("ix_approvals_session_id_created_at", "session_id", "created_at"),
    Index("ix_approvals_expires_at", "expires_at", postgresql_where=text("state IN ('waiting', 'approved')")),
    Index(
        "uq_approvals_open",
        "session_id",
        "trade_id",
        unique=True,
        postgresql_where=text("state IN ('waiting', 'approved')"),
    ),
)

# What people asked a session's executor to trade. request: sealed. opening: it may add risk, so that a pause withdraws
# it. client_order_id: the order that came of it. changes: the order by hand that it replaces or cancels.
manual_orders = Table(
    "manual_orders",
    metadata,
    Column("order_id", UUID(as_uuid=True), primary_key=True),
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id", ondelete="CASCADE"), nullable=False),
    Column("action", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="waiting"),
    Column("opening", Boolean, nullable=False, server_default=text("false")),
    Column("request", LargeBinary, nullable=False),
    Column("client_order_id", Text),
    Column("changes", UUID(as_uuid=True)),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    now("created_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    at("closed_at"),
    Column("result", Text),
    CheckConstraint("action IN ('place', 'change', 'cancel')", name="action_known"),
    CheckConstraint(
        "state IN ('waiting', 'working', 'filled', 'cancelled', 'expired', 'refused', 'done')", name="state_known"
    ),
    CheckConstraint("(state IN ('waiting', 'working')) = (closed_at IS NULL)", name="closed_when_over"),
    Index("ix_manual_orders_session_id_created_at", "session_id", "created_at"),
    Index("ix_manual_orders_open", "session_id", postgresql_where=text("state IN ('waiting', 'working')")),
)

# What agents remember beyond a session. content: sealed; words: what can be searched for.
memories = Table(
    "memories",
    metadata,
    Column("memory_id", UUID(as_uuid=True), primary_key=True),
    Column("agent", Text, nullable=False),
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id", ondelete="CASCADE")),
    Column("memory_type", Text, nullable=False),
    Column("importance", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("words", TSVECTOR, nullable=False),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    now("created_at"),
    at("expires_at"),
    # Until another memory system, which this desk was given, has taken it.
    Column("waits", Boolean, nullable=False, server_default=text("false")),
    # Of context that waits: whom to tell. Of what waits and has no session: when it is to be handed over.
    Column("recipients", ARRAY(Text)),
    at("hand_due_at"),
    # When the other system took it: the row is a receipt from then on, without content.
    at("taken_at"),
    CheckConstraint("importance BETWEEN 1 AND 4", name="importance_known"),
    Index("ix_memories_agent_created_at", "agent", "created_at"),
    Index("ix_memories_session_id", "session_id", postgresql_where=text("session_id IS NOT NULL")),
    Index("ix_memories_words", "words", postgresql_using="gin"),
    Index("ix_memories_created_at", "created_at"),
    Index("ix_memories_waits", "session_id", "created_at", postgresql_where=text("waits")),
    Index("ix_memories_expires_at", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
)

# Every market that was published, by feed.
market_states = Table(
    "market_states",
    metadata,
    Column("feed", Text, nullable=False),
    Column("timestamp", DateTime(timezone=True), nullable=False),
    now("received_at"),
    Column("publisher", Text, nullable=False),
    json("body", "{}"),
    PrimaryKeyConstraint("feed", "timestamp"),
    Index("ix_market_states_received_at", "received_at"),
)
