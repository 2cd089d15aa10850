"""What hosted agents remember waits in Postgres for a memory system of another package to take it; all slices are listed newest first.

Revision: 0016, after 0015.
"""

import sqlalchemy as sa
from alembic import op
revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('memories', sa.Column('waits', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.create_index('ix_memories_created_at', 'memories', ['created_at'], unique=False)
    op.create_index('ix_memories_waits', 'memories', ['session_id', 'created_at'], unique=False, postgresql_where=sa.text('waits'))


def downgrade() -> None:
    op.drop_index('ix_memories_created_at', table_name='memories')
    op.drop_index('ix_memories_waits', table_name='memories', postgresql_where=sa.text('waits'))
    op.drop_column('memories', 'waits')
