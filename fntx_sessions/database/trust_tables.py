"""Who may no longer act, what waits for a second person, what agents may know, and where the audit's ends were told."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from fntx_sessions.database.columns import now
from fntx_sessions.database.metadata import metadata

# The head of the chain of what is about no one session: its rows in `audit` have the session id that is all zeros.
desk_chain = Table(
    "desk_chain",
    metadata,
    Column("one", Integer, primary_key=True, server_default=text("1"), autoincrement=False),
    Column("seq", BigInteger, nullable=False, server_default=text("0")),
    Column("head", LargeBinary),
    CheckConstraint("one = 1", name="one_row"),
)

# The one key that this database's rows and anchors hash with; noted once, and nothing moves it.
audit_key = Table(
    "audit_key",
    metadata,
    Column("one", Integer, primary_key=True, server_default=text("1"), autoincrement=False),
    Column("key_id", Text, nullable=False),
    CheckConstraint("one = 1", name="one_row"),
)

# What the desk's workers take for a token, for who works straight on the stores.
desk_auth = Table(
    "desk_auth",
    metadata,
    Column("one", Integer, primary_key=True, server_default=text("1"), autoincrement=False),
    Column("auth_mode", Text, nullable=False),
    Column("key_ids", ARRAY(Text), nullable=False),
    now("noted_at"),
    CheckConstraint("one = 1", name="one_row"),
)

# What a row of the desk's chain will say of what is done already; it goes as that row is written.
owed_deeds = Table(
    "owed_deeds",
    metadata,
    Column("owed_id", BigInteger, Identity(always=True), primary_key=True),
    Column("actor", Text, nullable=False),
    Column("roles", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("target", Text),
    Column("reason", Text, nullable=False),
    Column("command_id", UUID(as_uuid=True)),
    Column("args_hash", LargeBinary),
    Column("host", Text, nullable=False),
    Column("task", Text),
    Column("token_id", Text, nullable=False),
    Column("confirmed_by", Text, nullable=False),
    now("owed_at"),
)

audit_anchors = Table(
    "audit_anchors",
    metadata,
    Column("anchor", BigInteger, Identity(always=True), primary_key=True),
    Column("object_name", Text, nullable=False, unique=True),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("chains", Integer, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("ends_full_run", Boolean, nullable=False),
    # How much it tells of earlier anchors that the rows bear out no more.
    Column("broken", Integer, nullable=False, server_default=text("0")),
    UniqueConstraint("key_id", "number"),
)

# What one row names is refused from then on: a token by its id, or all of a name issued until a moment.
revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("revocation_id", UUID(as_uuid=True), primary_key=True),
    Column("token_id", Text),
    Column("subject", Text),
    Column("issued_until", DateTime(timezone=True)),
    Column("forget_at", DateTime(timezone=True), nullable=False),
    Column("revoked_by", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    now("revoked_at"),
    CheckConstraint("(token_id IS NULL) <> (subject IS NULL)", name="token_or_subject"),
    CheckConstraint("(subject IS NULL) = (issued_until IS NULL)", name="until_when"),
    Index("ix_revoked_tokens_forget_at", "forget_at"),
)

# Callers nobody can verify, counted by the minute: a row each would let a forger fill the disk.
refused_callers = Table(
    "refused_callers",
    metadata,
    Column("minute", DateTime(timezone=True), nullable=False),
    Column("host", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("last", Text, nullable=False, server_default=""),
    PrimaryKeyConstraint("minute", "host", "kind"),
)

confirmations = Table(
    "confirmations",
    metadata,
    Column("command_id", UUID(as_uuid=True), primary_key=True),
    Column("task", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("session_id", UUID(as_uuid=True)),
    Column("arguments", LargeBinary, nullable=False),
    Column("args_hash", LargeBinary, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("asked_roles", Text, nullable=False),
    Column("asked_token_id", Text),
    # The verified caller it is done for, with its scope, sealed like the arguments.
    Column("actor", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    now("asked_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("state", Text, nullable=False, server_default="waiting"),
    Column("settled_by", Text),
    Column("settled_roles", Text),
    Column("settled_reason", Text),
    Column("settled_at", DateTime(timezone=True)),
    # Of what was confirmed: when it had been done, or refused as it was; until when a sweep that took it up is at it.
    Column("done_at", DateTime(timezone=True)),
    Column("claimed_until", DateTime(timezone=True)),
    CheckConstraint("state IN ('waiting', 'confirmed', 'rejected', 'expired')", name="known_state"),
    Index("ix_confirmations_waiting", "expires_at", postgresql_where=text("state = 'waiting'")),
    Index("ix_confirmations_left_over", "settled_at", postgresql_where=text("state = 'confirmed' AND done_at IS NULL")),
    Index("ix_confirmations_session_id", "session_id"),
)

credentials = Table(
    "credentials",
    metadata,
    Column("credential_id", UUID(as_uuid=True), primary_key=True),
    # Exactly one of the two: whose agents may have it.
    Column("session_id", UUID(as_uuid=True)),
    Column("template_name", Text),
    Column("name", Text, nullable=False),
    # None: removed; the row stays so that a version is never given twice.
    Column("sealed", LargeBinary),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("set_by", Text, nullable=False),
    now("set_at"),
    now("created_at"),
    CheckConstraint("(session_id IS NULL) <> (template_name IS NULL)", name="session_or_template"),
    UniqueConstraint("session_id", "name"),
    UniqueConstraint("template_name", "name"),
)
