"""Where state is kept: the current save, checkpoints, and the large parts they share."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from fntx_sessions.database.columns import now
from fntx_sessions.database.metadata import metadata

saves = Table(
    "saves",
    metadata,
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    now("saved_at"),
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
    now("timestamp"),
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
    now("created_at"),
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
