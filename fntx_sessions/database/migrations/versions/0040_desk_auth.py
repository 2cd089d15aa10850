"""What workers take for a token is noted: who works straight on the stores is held to the same.

Revision: 0040, after 0039.
"""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "desk_auth",
        sa.Column("one", sa.Integer(), server_default=sa.text("1"), autoincrement=False, nullable=False),
        sa.Column("auth_mode", sa.Text(), nullable=False),
        sa.Column("key_ids", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("one = 1", name=op.f("ck_desk_auth_one_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_desk_auth")),
    )


def downgrade() -> None:
    op.drop_table("desk_auth")
