"""What callers leave for a memory system of another package waits in Postgres: slices of no session, and context too.

Revision: 0017, after 0016.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
revision = '0017'
down_revision = '0016'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('memories', sa.Column('recipients', postgresql.ARRAY(sa.Text()), nullable=True))
    op.add_column('memories', sa.Column('hand_due_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('memories', sa.Column('taken_at', sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for column in ('taken_at', 'hand_due_at', 'recipients'):
        op.drop_column('memories', column)
