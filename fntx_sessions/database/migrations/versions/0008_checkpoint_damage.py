"""checkpoint damage: what was wrong with one that was found damaged, so that it is not taken for one not yet read.

Revision: 0008, after 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('checkpoints', sa.Column('damage', sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column('checkpoints', 'damage')
