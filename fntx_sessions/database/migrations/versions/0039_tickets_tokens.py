"""Which token an agent elsewhere joined with: taken back, it ends the ticket. A seat that is empty names nobody.

Revision: 0039, after 0036.
"""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("session_agents", sa.Column("token_id", sa.Text(), nullable=True))
    op.add_column("session_agents", sa.Column("token_key_id", sa.Text(), nullable=True))
    op.add_column("session_agents", sa.Column("token_issued_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE session_agents SET joined_by = NULL WHERE ticket_hash IS NULL AND joined_by IS NOT NULL")


def downgrade() -> None:
    for name in ("token_id", "token_key_id", "token_issued_at"):
        op.drop_column("session_agents", name)
