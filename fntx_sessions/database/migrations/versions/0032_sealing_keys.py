"""The key that an agent elsewhere joined with: what it may know is sealed to it.

Revision: 0032, after 0031.
"""

import sqlalchemy as sa
from alembic import op

revision = '0032'
down_revision = '0031'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('session_agents', sa.Column('sealing_key', sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column('session_agents', 'sealing_key')
