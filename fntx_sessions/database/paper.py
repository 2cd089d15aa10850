"""The paper broker's own tables: it is a broker, not a part of the sessions, so nothing here points at theirs."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from fntx_sessions.database.metadata import metadata

paper_accounts = Table(
    "paper_accounts",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("opening_cash", Numeric(18, 4), nullable=False),
    Column("cash", Numeric(18, 4), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("opening_cash > 0", name="opening_cash_positive"),
    postgresql_with={"fillfactor": "50"},
)

# The highest epoch seen of each session. Its row is also the lock under which one session's orders change.
paper_fences = Table(
    "paper_fences",
    metadata,
    Column("session_id", UUID(as_uuid=True), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    postgresql_with={"fillfactor": "50"},
)

paper_orders = Table(
    "paper_orders",
    metadata,
    Column("client_order_id", Text, primary_key=True),
    Column("session_id", UUID(as_uuid=True), nullable=False),
    Column("account_id", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("opening", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("request", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("status IN ('working', 'filled', 'cancelled', 'expired')", name="status_known"),
    Index("ix_paper_orders_session_id_working", "session_id", postgresql_where=text("status = 'working'")),
    postgresql_with={"fillfactor": "80"},
)

paper_fills = Table(
    "paper_fills",
    metadata,
    Column("fill_id", Text, primary_key=True),
    Column("session_id", UUID(as_uuid=True), nullable=False),
    Column("account_id", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("client_order_id", Text, nullable=False),
    Column("trade_id", Text, nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("right", Text, nullable=False),
    Column("strike", Numeric(12, 4)),
    Column("expiry", Date),
    Column("side", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("price", Numeric(12, 4), nullable=False),
    Column("fee", Numeric(12, 4), nullable=False),
    Column("slippage", Numeric(12, 4), nullable=False),
    Column("opening", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("timestamp", DateTime(timezone=True), nullable=False),
    CheckConstraint("side IN ('buy', 'sell')", name="side_known"),
    CheckConstraint("quantity > 0 AND price >= 0 AND fee >= 0", name="amounts"),
    Index("ix_paper_fills_session_id_timestamp", "session_id", "timestamp"),
    Index("ix_paper_fills_session_id_trade_id", "session_id", "trade_id"),
)

# average_price: what the held quantity was taken at, per share, quantity-weighted over fills on its own side.
paper_positions = Table(
    "paper_positions",
    metadata,
    Column("session_id", UUID(as_uuid=True), nullable=False),
    Column("trade_id", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("account_id", Text, nullable=False),
    Column("right", Text, nullable=False),
    Column("strike", Numeric(12, 4)),
    Column("expiry", Date),
    Column("quantity", Integer, nullable=False),
    Column("average_price", Numeric(12, 4), nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("session_id", "trade_id", "symbol"),
    Index("ix_paper_positions_held", "session_id", postgresql_where=text("quantity <> 0")),
    postgresql_with={"fillfactor": "70"},
)

paper_rolls = Table(
    "paper_rolls",
    metadata,
    Column("session_id", UUID(as_uuid=True), nullable=False),
    Column("trade_date", Date, nullable=False),
    Column("value", Numeric(18, 4), nullable=False),
    PrimaryKeyConstraint("session_id", "trade_date"),
)

TABLES = (paper_accounts, paper_fences, paper_orders, paper_fills, paper_positions, paper_rolls)
