"""An order by hand says whether it opens: a pause withdraws those that do, and no others.

Revision: 0015, after 0014.
"""

import sqlalchemy as sa
from alembic import op
revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('manual_orders', sa.Column('opening', sa.Boolean(), server_default=sa.text('false'), nullable=False))


def downgrade() -> None:
    op.drop_column('manual_orders', 'opening')
