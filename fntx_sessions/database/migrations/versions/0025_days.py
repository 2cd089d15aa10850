"""A trade date is found over all sessions.

Revision: 0025, after 0024.
"""

from alembic import op
revision = '0025'
down_revision = '0024'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index('ix_session_days_trade_date', 'session_days', ['trade_date'])


def downgrade() -> None:
    op.drop_index('ix_session_days_trade_date', table_name='session_days')
