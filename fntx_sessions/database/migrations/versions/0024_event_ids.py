"""An event is found by its id alone.

Revision: 0024, after 0018.
"""

from alembic import op
revision = '0024'
down_revision = '0018'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index('ix_events_event_id', 'events', ['event_id'])


def downgrade() -> None:
    op.drop_index('ix_events_event_id', table_name='events')
