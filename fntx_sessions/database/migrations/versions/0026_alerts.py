"""A session's alerts are found without reading past all else that happened to it.

Revision: 0026, after 0025.
"""

import sqlalchemy as sa
from alembic import op
revision = '0026'
down_revision = '0025'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index('ix_events_alerts', 'events', ['session_id', 'timestamp'],
                    postgresql_where=sa.text("severity IN ('warning', 'error', 'critical')"))


def downgrade() -> None:
    op.drop_index('ix_events_alerts', table_name='events')
