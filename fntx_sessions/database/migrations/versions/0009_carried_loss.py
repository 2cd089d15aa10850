"""carried loss: what a fork's account begins a trade date with, of its parent's loss.

Revision: 0009, after 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "account_days",
        sa.Column("carried", sa.Numeric(precision=18, scale=4), server_default=sa.text("0"), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("account_days", "carried")
