"""The ledger: intents before they are sent, fills before they are acknowledged, days of loss, the equity curve."""

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
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from fntx_sessions.database.columns import at, json, now
from fntx_sessions.database.metadata import metadata

account_days = Table(
    "account_days",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.account_id"), nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("equity_at_roll", Numeric(18, 4), nullable=False),
    Column("carried", Numeric(18, 4), nullable=False, server_default=text("0")),
    at("latched_at"),
    Column("latched_by", Text),
    Column("latch_reason", Text),
    PrimaryKeyConstraint("account_id", "trade_date"),
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
    json("payload", "{}"),
    Column("decision_latency_ms", Double),
    now("created_at"),
    at("closed_at"),
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
    Column("fill_id", Text, nullable=False),
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
    now("recorded_at"),
    CheckConstraint("side IN ('buy', 'sell')", name="side"),
    # The broker gave a fill its time once and for all: told again, it is the same row.
    PrimaryKeyConstraint("fill_id", "timestamp"),
    Index("ix_fills_session_id_timestamp", "session_id", "timestamp"),
    postgresql_partition_by="RANGE (timestamp)",
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
    now("updated_at"),
    PrimaryKeyConstraint("session_id", "trade_date"),
    Index("ix_session_days_account_id_trade_date", "account_id", "trade_date"),
    Index("ix_session_days_trade_date", "trade_date"),
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
    json("steps", "{}"),
    PrimaryKeyConstraint("session_id", "timestamp"),
    postgresql_partition_by="RANGE (timestamp)",
)
