"""Where state is kept: data keys, the current save, checkpoints, the large parts they share, recoveries, archives."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
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

from fntx_sessions.database.columns import at, json, now
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
    # A batch rewrites every row of a page: half of it free keeps the new versions on it, and the index untouched.
    postgresql_with={"fillfactor": "50"},
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
    # None once it was moved: then `tier` is cold, and `cold_object` names the object that holds all of it.
    Column("manifest", LargeBinary),
    Column("checksum", LargeBinary, nullable=False),
    Column("identity", Text, nullable=False),
    # The facts that the identity is the hash of.
    json("made_under", "{}"),
    Column("size_bytes", BigInteger, nullable=False),
    Column("verified", Boolean, nullable=False, server_default=text("false")),
    # What was wrong when it was read last; None: nothing, or it was not read yet.
    Column("damage", Text),
    Column("note", Text),
    Column("created_by", Text, nullable=False, server_default="system"),
    Column("pinned", Boolean, nullable=False, server_default=text("false")),
    Column("tier", Text, nullable=False, server_default="postgres"),
    Column("cold_object", Text),
    at("moved_at"),
    at("move_claimed_until"),
    CheckConstraint("tier IN ('postgres', 'cold')", name="tier_known"),
    CheckConstraint("(tier = 'postgres') = (manifest IS NOT NULL)", name="manifest_where_warm"),
    CheckConstraint("tier = 'postgres' OR cold_object IS NOT NULL", name="object_where_cold"),
    Index("ix_checkpoints_session_id_timestamp", "session_id", "timestamp"),
    Index("ix_checkpoints_timestamp_warm", "timestamp", postgresql_where=text("tier = 'postgres'")),
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

# A session's data key, wrapped by the key ring. The row outlives a shredded session, with nothing in it, so that no
# later writer makes a new key under which old blobs would look merely broken.
session_keys = Table(
    "session_keys",
    metadata,
    Column("session_id", UUID(as_uuid=True), primary_key=True),
    Column("data_key_id", LargeBinary, nullable=False),
    Column("ring_key_id", Text),
    Column("wrapped", LargeBinary),
    now("created_at"),
    # When the cold key object was written under this wrapping; None: not yet, or re-wrapped since.
    at("cold_at"),
    # Every cold store that was given a key object -> the ring key it hangs on there; kept until it was destroyed there.
    json("cold_stores", "{}"),
    # When a sweep writes the cold key object; None: it is there, or it is written when something else goes there.
    at("cold_due_at"),
    at("shredded_at"),
    # When what is left of a shredded session, in all tiers, is erased next; None: all of it is gone.
    at("erase_due_at"),
    # What could not be erased yet, and since when; None: nothing was in the way.
    Column("erase_problem", Text),
    at("erase_problem_since"),
    CheckConstraint("(wrapped IS NULL) = (shredded_at IS NOT NULL)", name="wrapped_unless_shredded"),
    Index("ix_session_keys_ring_key_id", "ring_key_id"),
    Index("ix_session_keys_erase_due_at", "erase_due_at", postgresql_where=text("erase_due_at IS NOT NULL")),
    Index("ix_session_keys_cold_due_at", "cold_due_at", postgresql_where=text("cold_due_at IS NOT NULL")),
)

# Evidence: what an agent reported and no save could take.
invalid_states = Table(
    "invalid_states",
    metadata,
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id", ondelete="CASCADE"), nullable=False),
    now("timestamp"),
    Column("epoch", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("problem", Text, nullable=False),
    Column("blob", LargeBinary, nullable=False),
    PrimaryKeyConstraint("session_id", "timestamp"),
)

# One attempt to recover a session: its plan, how far it is, what was measured. Another worker goes on from here.
recovery_runs = Table(
    "recovery_runs",
    metadata,
    Column("run_id", UUID(as_uuid=True), primary_key=True),  # the command's id
    Column("session_id", UUID(as_uuid=True), ForeignKey("sessions.session_id", ondelete="CASCADE"), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("state", Text, nullable=False, server_default="running"),
    json("plan", "{}"),
    json("steps", "[]"),
    json("report", "{}"),
    now("began_at"),
    now("updated_at"),
    at("finished_at"),
    CheckConstraint("state IN ('running', 'done', 'failed')", name="state_known"),
    Index("ix_recovery_runs_session_id_began_at", "session_id", "began_at"),
)

# Which tier a host last found in or out of reach.
tier_states = Table(
    "tier_states",
    metadata,
    Column("host", Text, nullable=False),
    Column("tier", Text, nullable=False),
    Column("up", Boolean, nullable=False),
    Column("problem", Text, nullable=False, server_default=""),
    now("since"),
    now("seen_at"),
    PrimaryKeyConstraint("host", "tier"),
)

# A closed session's one object in the cold tier.
archives = Table(
    "archives",
    metadata,
    Column("session_id", UUID(as_uuid=True), primary_key=True),
    Column("object", Text, nullable=False),
    Column("checksum", LargeBinary, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    json("contents", "{}"),
    now("archived_at"),
    at("verified_at"),
    at("rows_dropped_at"),
)

# A week of a session's history in the cold tier; what lets a partition be dropped.
archive_segments = Table(
    "archive_segments",
    metadata,
    Column("session_id", UUID(as_uuid=True), nullable=False),
    Column("relation", Text, nullable=False),
    Column("week", Date, nullable=False),
    Column("object", Text, nullable=False),
    Column("checksum", LargeBinary, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    now("archived_at"),
    at("verified_at"),
    PrimaryKeyConstraint("session_id", "relation", "week"),
    Index("ix_archive_segments_relation_week", "relation", "week"),
)
