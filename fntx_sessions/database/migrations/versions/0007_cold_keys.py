"""cold keys: which cold store holds a session's key object, which are still to be written, what could not be erased.

Revision: 0007, after 0006.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None

_ADDED = ('cold_stores', 'cold_due_at', 'erase_problem', 'erase_problem_since')


def upgrade() -> None:
    op.add_column(
        'session_keys',
        sa.Column('cold_stores', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    )
    op.add_column('session_keys', sa.Column('cold_due_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('session_keys', sa.Column('erase_problem', sa.Text(), nullable=True))
    op.add_column('session_keys', sa.Column('erase_problem_since', sa.DateTime(timezone=True), nullable=True))
    due = sa.text('cold_due_at IS NOT NULL')
    op.create_index('ix_session_keys_cold_due_at', 'session_keys', ['cold_due_at'], postgresql_where=due)
    # Nobody noted which store holds those that are there: all are written again, and noted then.
    op.execute("UPDATE session_keys SET cold_at = NULL, cold_due_at = now() WHERE wrapped IS NOT NULL")


def downgrade() -> None:
    op.drop_index('ix_session_keys_cold_due_at', table_name='session_keys')
    for name in _ADDED:
        op.drop_column('session_keys', name)
