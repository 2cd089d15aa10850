"""Two people: who agreed and with which roles, and what was confirmed but not done yet.

Revision: 0031, after 0030.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0031'
down_revision = '0030'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('confirmations', sa.Column('settled_roles', sa.Text(), nullable=True))
    for name in ('done_at', 'claimed_until'):
        op.add_column('confirmations', sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.create_index('ix_confirmations_left_over', 'confirmations', ['settled_at'],
                    postgresql_where=sa.text("state = 'confirmed' AND done_at IS NULL"))
    op.create_index('ix_confirmations_session_id', 'confirmations', ['session_id'])
    op.add_column('bulk_runs', sa.Column('confirmed_by', sa.Text(), nullable=True))
    op.add_column('bulk_runs', sa.Column('confirmed_roles', postgresql.ARRAY(sa.Text()),
                                         server_default=sa.text("'{}'"), nullable=False))


def downgrade() -> None:
    for name in ('confirmed_roles', 'confirmed_by'):
        op.drop_column('bulk_runs', name)
    for name in ('session_id', 'left_over'):
        op.drop_index(f'ix_confirmations_{name}', 'confirmations')
    for name in ('claimed_until', 'done_at', 'settled_roles'):
        op.drop_column('confirmations', name)
