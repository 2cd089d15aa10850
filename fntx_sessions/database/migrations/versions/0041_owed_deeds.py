"""What the audit is owed is noted with the deed itself; who placed a halt, and on what, is nobody's to change.

Revision: 0041, after 0040.
"""

import sqlalchemy as sa
from alembic import op

from fntx_sessions.database.guards import halt_guard_sql

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "owed_deeds",
        sa.Column("owed_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("command_id", sa.UUID(), nullable=True),
        sa.Column("args_hash", sa.LargeBinary(), nullable=True),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=True),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("confirmed_by", sa.Text(), nullable=False),
        sa.Column("owed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("owed_id", name=op.f("pk_owed_deeds")),
    )
    for statement in halt_guard_sql():
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER guard_halt ON halts; DROP FUNCTION fntx_guard_halt()")
    op.drop_table("owed_deeds")
