"""Trust: the audit says more, the desk has a chain of its own; revocations, confirmations, credentials, anchors.

Revision: 0027, after 0026.
"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = '0027'
down_revision = '0026'
branch_labels = None
depends_on = None

_NOW = sa.text('now()')
_SAID = ('target', 'task', 'token_id', 'confirmed_by', 'key_id')


def _time(name: str, *, now: bool = False, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=_NOW if now else None)


def upgrade() -> None:
    for name in _SAID:
        op.add_column('audit', sa.Column(name, sa.Text(), nullable=True))
    op.create_table('desk_chain',
    sa.Column('one', sa.Integer(), server_default=sa.text('1'), autoincrement=False, nullable=False),
    sa.Column('seq', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('head', sa.LargeBinary(), nullable=True),
    sa.CheckConstraint('one = 1', name=op.f('ck_desk_chain_one_row')),
    sa.PrimaryKeyConstraint('one', name=op.f('pk_desk_chain'))
    )
    op.execute('INSERT INTO desk_chain DEFAULT VALUES')
    op.create_table('audit_anchors',
    sa.Column('anchor', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('object_name', sa.Text(), nullable=False),
    _time('made_at'),
    sa.Column('chains', sa.Integer(), nullable=False),
    sa.Column('hash', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('anchor', name=op.f('pk_audit_anchors')),
    sa.UniqueConstraint('object_name', name=op.f('uq_audit_anchors_object_name'))
    )
    op.create_table('revoked_tokens',
    sa.Column('revocation_id', sa.UUID(), nullable=False),
    sa.Column('token_id', sa.Text(), nullable=True),
    sa.Column('subject', sa.Text(), nullable=True),
    _time('issued_until', nullable=True),
    _time('forget_at'),
    sa.Column('revoked_by', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), server_default='', nullable=False),
    _time('revoked_at', now=True),
    sa.CheckConstraint('(token_id IS NULL) <> (subject IS NULL)', name=op.f('ck_revoked_tokens_token_or_subject')),
    sa.CheckConstraint('(subject IS NULL) = (issued_until IS NULL)', name=op.f('ck_revoked_tokens_until_when')),
    sa.PrimaryKeyConstraint('revocation_id', name=op.f('pk_revoked_tokens'))
    )
    op.create_index('ix_revoked_tokens_forget_at', 'revoked_tokens', ['forget_at'])
    op.create_table('refused_callers',
    _time('minute'),
    sa.Column('host', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('number', sa.BigInteger(), nullable=False),
    sa.Column('last', sa.Text(), server_default='', nullable=False),
    sa.PrimaryKeyConstraint('minute', 'host', 'kind', name=op.f('pk_refused_callers'))
    )
    op.create_table('confirmations',
    sa.Column('command_id', sa.UUID(), nullable=False),
    sa.Column('task', sa.Text(), nullable=False),
    sa.Column('action', sa.Text(), nullable=False),
    sa.Column('session_id', sa.UUID(), nullable=True),
    sa.Column('arguments', sa.LargeBinary(), nullable=False),
    sa.Column('args_hash', sa.LargeBinary(), nullable=False),
    sa.Column('asked_by', sa.Text(), nullable=False),
    sa.Column('asked_roles', sa.Text(), nullable=False),
    sa.Column('asked_token_id', sa.Text(), nullable=True),
    sa.Column('actor', sa.LargeBinary(), nullable=False),
    sa.Column('reason', sa.Text(), server_default='', nullable=False),
    _time('asked_at', now=True),
    _time('expires_at'),
    sa.Column('state', sa.Text(), server_default='waiting', nullable=False),
    sa.Column('settled_by', sa.Text(), nullable=True),
    sa.Column('settled_reason', sa.Text(), nullable=True),
    _time('settled_at', nullable=True),
    sa.CheckConstraint("state IN ('waiting', 'confirmed', 'rejected', 'expired')",
                       name=op.f('ck_confirmations_known_state')),
    sa.PrimaryKeyConstraint('command_id', name=op.f('pk_confirmations'))
    )
    op.create_index('ix_confirmations_waiting', 'confirmations', ['expires_at'],
                    postgresql_where=sa.text("state = 'waiting'"))
    op.create_table('credentials',
    sa.Column('credential_id', sa.UUID(), nullable=False),
    sa.Column('session_id', sa.UUID(), nullable=True),
    sa.Column('template_name', sa.Text(), nullable=True),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('sealed', sa.LargeBinary(), nullable=True),
    sa.Column('version', sa.Integer(), server_default=sa.text('1'), nullable=False),
    sa.Column('set_by', sa.Text(), nullable=False),
    _time('set_at', now=True),
    _time('created_at', now=True),
    sa.CheckConstraint('(session_id IS NULL) <> (template_name IS NULL)',
                       name=op.f('ck_credentials_session_or_template')),
    sa.PrimaryKeyConstraint('credential_id', name=op.f('pk_credentials')),
    sa.UniqueConstraint('session_id', 'name', name=op.f('uq_credentials_session_id_name')),
    sa.UniqueConstraint('template_name', 'name', name=op.f('uq_credentials_template_name_name'))
    )


def downgrade() -> None:
    for name in ('credentials', 'confirmations', 'refused_callers', 'revoked_tokens', 'audit_anchors', 'desk_chain'):
        op.drop_table(name)
    for name in _SAID:
        op.drop_column('audit', name)
