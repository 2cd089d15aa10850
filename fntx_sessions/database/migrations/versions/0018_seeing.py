"""Events that somebody saw to, and the trace that a follow-up belongs to.

Revision: 0018, after 0017.
"""

import sqlalchemy as sa
from alembic import op
revision = '0018'
down_revision = '0017'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('events', sa.Column('acknowledged_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('events', sa.Column('acknowledged_by', sa.Text(), nullable=True))
    op.create_index('ix_events_timestamp', 'events', ['timestamp'], postgresql_using='brin')
    op.create_index('ix_events_to_do', 'events', ['timestamp'],
                    postgresql_where=sa.text('requires_action AND acknowledged_at IS NULL'))
    op.add_column('outbox', sa.Column('trace', sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column('outbox', 'trace')
    op.drop_index('ix_events_to_do', table_name='events')
    op.drop_index('ix_events_timestamp', table_name='events')
    op.drop_column('events', 'acknowledged_by')
    op.drop_column('events', 'acknowledged_at')
