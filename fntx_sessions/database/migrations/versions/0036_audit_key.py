"""Which key this database's chains have is noted once: not the oldest of those that lie there, wherever they came from.

Revision: 0036, after 0035.
"""

import sqlalchemy as sa
from alembic import op

revision = '0036'
down_revision = '0035'
branch_labels = None
depends_on = None

# A desk that has one goes on with it: whose anchors are there, whose rows the desk's own chain has, or the oldest.
_NOTE = """
INSERT INTO audit_key (key_id) SELECT coalesce(
  (SELECT key_id FROM audit_anchors ORDER BY anchor DESC LIMIT 1),
  (SELECT key_id FROM audit WHERE session_id = '00000000-0000-0000-0000-000000000000' AND key_id IS NOT NULL
   ORDER BY seq DESC LIMIT 1),
  encode(k.data_key_id, 'hex'))
FROM session_keys k
WHERE k.session_id BETWEEN '00000000-0000-0001-0000-000000000000' AND '00000000-0000-0001-ffff-ffffffffffff'
ORDER BY k.created_at, k.session_id LIMIT 1
"""


def upgrade() -> None:
    op.create_table('audit_key',
    sa.Column('one', sa.Integer(), server_default=sa.text('1'), autoincrement=False, nullable=False),
    sa.Column('key_id', sa.Text(), nullable=False),
    sa.CheckConstraint('one = 1', name=op.f('ck_audit_key_one_row')),
    sa.PrimaryKeyConstraint('one', name=op.f('pk_audit_key'))
    )
    op.execute(_NOTE)


def downgrade() -> None:
    op.drop_table('audit_key')
