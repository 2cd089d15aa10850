"""archives: a restored session may be inserted as closed; sessions that were closed before are due for archiving.

Revision: 0006, after 0005.
"""

from alembic import op

from fntx_sessions.database.guards import status_guard_sql
revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in status_guard_sql():
        op.execute(statement)
    op.execute("UPDATE session_work SET archive_due_at = now() WHERE status = 'closed' AND archive_due_at IS NULL")


def downgrade() -> None:
    pass
