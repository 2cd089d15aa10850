"""A bulk run keeps the token it was asked with; of a session out of its asker's scope no status is kept.

Revision: 0042, after 0041.
"""

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("bulk_runs", sa.Column("token_id", sa.Text(), server_default="", nullable=False))
    op.alter_column("bulk_items", "status_before", nullable=True)


def downgrade() -> None:
    op.execute("DELETE FROM bulk_items WHERE status_before IS NULL")
    op.alter_column("bulk_items", "status_before", nullable=False)
    op.drop_column("bulk_runs", "token_id")
