"""A function by which transitions go that no role of the house may delete by itself.

Revision: 0030, after 0027. The roles and their rights are brought to `database.rights` at the end of every migration.
"""

from alembic import op

from fntx_sessions.database.guards import forget_transitions_sql

revision = "0030"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in forget_transitions_sql():
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP FUNCTION fntx_forget_transitions(uuid)")
