"""Anchors are numbered by the key of their chains, and the chains that grew lately are found without reading all rows.

Revision: 0034, after 0032.
"""

import sqlalchemy as sa
from alembic import op

revision = '0034'
down_revision = '0032'
branch_labels = None
depends_on = None

_ADDED = ('key_id', 'number', 'ends_full_run', 'broken')


def upgrade() -> None:
    op.create_index('ix_audit_timestamp', 'audit', ['timestamp'], postgresql_using='brin')
    # Nothing wrote any before.
    op.add_column('audit_anchors', sa.Column('key_id', sa.Text(), nullable=False))
    op.add_column('audit_anchors', sa.Column('number', sa.BigInteger(), nullable=False))
    op.add_column('audit_anchors', sa.Column('ends_full_run', sa.Boolean(), nullable=False))
    op.add_column('audit_anchors', sa.Column('broken', sa.Integer(), server_default=sa.text('0'), nullable=False))
    op.create_unique_constraint(op.f('uq_audit_anchors_key_id_number'), 'audit_anchors', ['key_id', 'number'])


def downgrade() -> None:
    op.drop_constraint(op.f('uq_audit_anchors_key_id_number'), 'audit_anchors')
    for name in _ADDED:
        op.drop_column('audit_anchors', name)
    op.drop_index('ix_audit_timestamp', table_name='audit')
