"""What is gone stays gone, what is refused stays refused: guards of shredded keys and of revocations.

Revision: 0035, after 0034.
"""

from alembic import op

from fntx_sessions.database.guards import key_guard_sql, revocation_guard_sql

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in [*key_guard_sql(), *revocation_guard_sql()]:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER guard_revocation ON revoked_tokens; DROP FUNCTION fntx_guard_revocation()")
    op.execute("DROP TRIGGER guard_key ON session_keys; DROP FUNCTION fntx_guard_key()")
