"""sealed_payloads: event data, command arguments and outcomes are sealed bytes.

What was written before stays as plain JSON bytes; FNTX_ACCEPT_UNSEALED=true reads it.

Revision: 0005, after 0004.
"""

from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None

_COLUMNS = (('commands', 'arguments', "'{}'::jsonb"), ('commands', 'outcome', None), ('events', 'data', "'{}'::jsonb"))


def upgrade() -> None:
    for table, column, _ in _COLUMNS:
        op.execute(f"""ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT, ALTER COLUMN {column} DROP NOT NULL,
            ALTER COLUMN {column} TYPE bytea
            USING CASE WHEN {column} <> '{{}}' THEN convert_to({column}::text, 'UTF8') END""")


def downgrade() -> None:
    # What is sealed has no plain form here.
    for table, column, default in _COLUMNS:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE jsonb USING {default or 'NULL::jsonb'}")
        if default:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default}, ALTER COLUMN {column} SET NOT NULL")
