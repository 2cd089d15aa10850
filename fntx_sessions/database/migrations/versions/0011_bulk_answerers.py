"""who cancelled a bulk run, and who last let one go on that waited for a person, and when.

Revision: 0011, after 0010.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("bulk_runs", sa.Column("cancelled_by", sa.Text(), nullable=True))
    op.add_column("bulk_runs", sa.Column("resumed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("bulk_runs", sa.Column("resumed_by", sa.Text(), nullable=True))


def downgrade() -> None:
    for column in ("cancelled_by", "resumed_at", "resumed_by"):
        op.drop_column("bulk_runs", column)
