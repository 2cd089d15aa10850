"""The front doors: what agents elsewhere told, approvals, orders of people, memories, markets; columns nobody read go.

Revision: 0012, after 0011.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('market_states',
    sa.Column('feed', sa.Text(), nullable=False),
    sa.Column('timestamp', sa.DateTime(timezone=True), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('publisher', sa.Text(), nullable=False),
    sa.Column('body', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.PrimaryKeyConstraint('feed', 'timestamp', name=op.f('pk_market_states'))
    )
    op.create_index('ix_market_states_received_at', 'market_states', ['received_at'], unique=False)
    op.create_table('template_versions',
    sa.Column('template_id', sa.UUID(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('body', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('action', sa.Text(), nullable=False),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), server_default='', nullable=False),
    sa.Column('command_id', sa.UUID(), nullable=True),
    sa.Column('timestamp', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['template_id'], ['templates.template_id'], name=op.f('fk_template_versions_template_id')),
    sa.PrimaryKeyConstraint('template_id', 'version', name=op.f('pk_template_versions'))
    )
    op.create_index('uq_template_versions_command_id', 'template_versions', ['command_id'], unique=True, postgresql_where=sa.text('command_id IS NOT NULL'))
    op.create_table('agent_reports',
    sa.Column('session_id', sa.UUID(), nullable=False),
    sa.Column('agent', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('report_id', sa.Text(), nullable=False),
    sa.Column('epoch', sa.BigInteger(), nullable=False),
    sa.Column('timestamp', sa.DateTime(timezone=True), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('latency_ms', sa.Double(), nullable=True),
    sa.Column('opened_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('closed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('gross_pnl', sa.Numeric(precision=18, scale=4), nullable=True),
    sa.Column('fees', sa.Numeric(precision=18, scale=4), nullable=True),
    sa.Column('slippage', sa.Numeric(precision=18, scale=4), nullable=True),
    sa.Column('data', sa.LargeBinary(), nullable=True),
    sa.CheckConstraint("kind IN ('trade', 'decision', 'error')", name=op.f('ck_agent_reports_kind_known')),
    sa.ForeignKeyConstraint(['session_id'], ['sessions.session_id'], name=op.f('fk_agent_reports_session_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('session_id', 'agent', 'kind', 'report_id', name=op.f('pk_agent_reports'))
    )
    op.create_index('ix_agent_reports_session_id_kind_timestamp', 'agent_reports', ['session_id', 'kind', 'timestamp'], unique=False)
    op.create_table('approvals',
    sa.Column('approval_id', sa.UUID(), nullable=False),
    sa.Column('session_id', sa.UUID(), nullable=False),
    sa.Column('epoch', sa.BigInteger(), nullable=False),
    sa.Column('agent', sa.Text(), nullable=False),
    sa.Column('trade_id', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), server_default='waiting', nullable=False),
    sa.Column('request', sa.LargeBinary(), nullable=False),
    sa.Column('limit_price', sa.Numeric(precision=18, scale=4), nullable=True),
    sa.Column('reference', sa.Numeric(precision=18, scale=4), nullable=True),
    sa.Column('risk', sa.Numeric(precision=18, scale=4), server_default=sa.text('0'), nullable=False),
    sa.Column('drift_max', sa.Double(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('decided_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('decided_by', sa.Text(), nullable=True),
    sa.Column('reason', sa.Text(), server_default='', nullable=False),
    sa.Column('command_id', sa.UUID(), nullable=True),
    sa.Column('closed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('result', sa.Text(), nullable=True),
    sa.CheckConstraint("(state IN ('waiting', 'approved')) = (closed_at IS NULL)", name=op.f('ck_approvals_closed_when_over')),
    sa.CheckConstraint("state IN ('waiting', 'approved', 'rejected', 'expired', 'stale', 'executed', 'refused', 'withdrawn')", name=op.f('ck_approvals_state_known')),
    sa.ForeignKeyConstraint(['session_id'], ['sessions.session_id'], name=op.f('fk_approvals_session_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('approval_id', name=op.f('pk_approvals'))
    )
    op.create_index('ix_approvals_expires_at', 'approvals', ['expires_at'], unique=False, postgresql_where=sa.text("state IN ('waiting', 'approved')"))
    op.create_index('ix_approvals_session_id_created_at', 'approvals', ['session_id', 'created_at'], unique=False)
    op.create_index('uq_approvals_open', 'approvals', ['session_id', 'trade_id'], unique=True, postgresql_where=sa.text("state IN ('waiting', 'approved')"))
    op.create_table('manual_orders',
    sa.Column('order_id', sa.UUID(), nullable=False),
    sa.Column('session_id', sa.UUID(), nullable=False),
    sa.Column('action', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), server_default='waiting', nullable=False),
    sa.Column('request', sa.LargeBinary(), nullable=False),
    sa.Column('client_order_id', sa.Text(), nullable=True),
    sa.Column('changes', sa.UUID(), nullable=True),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), server_default='', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('closed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('result', sa.Text(), nullable=True),
    sa.CheckConstraint("(state IN ('waiting', 'working')) = (closed_at IS NULL)", name=op.f('ck_manual_orders_closed_when_over')),
    sa.CheckConstraint("action IN ('place', 'change', 'cancel')", name=op.f('ck_manual_orders_action_known')),
    sa.CheckConstraint("state IN ('waiting', 'working', 'filled', 'cancelled', 'expired', 'refused', 'done')", name=op.f('ck_manual_orders_state_known')),
    sa.ForeignKeyConstraint(['session_id'], ['sessions.session_id'], name=op.f('fk_manual_orders_session_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('order_id', name=op.f('pk_manual_orders'))
    )
    op.create_index('ix_manual_orders_open', 'manual_orders', ['session_id'], unique=False, postgresql_where=sa.text("state IN ('waiting', 'working')"))
    op.create_index('ix_manual_orders_session_id_created_at', 'manual_orders', ['session_id', 'created_at'], unique=False)
    op.create_table('memories',
    sa.Column('memory_id', sa.UUID(), nullable=False),
    sa.Column('agent', sa.Text(), nullable=False),
    sa.Column('session_id', sa.UUID(), nullable=True),
    sa.Column('memory_type', sa.Text(), nullable=False),
    sa.Column('importance', sa.Integer(), nullable=False),
    sa.Column('content', sa.LargeBinary(), nullable=False),
    sa.Column('words', postgresql.TSVECTOR(), nullable=False),
    sa.Column('tags', postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint('importance BETWEEN 1 AND 4', name=op.f('ck_memories_importance_known')),
    sa.ForeignKeyConstraint(['session_id'], ['sessions.session_id'], name=op.f('fk_memories_session_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('memory_id', name=op.f('pk_memories'))
    )
    op.create_index('ix_memories_agent_created_at', 'memories', ['agent', 'created_at'], unique=False)
    op.create_index('ix_memories_expires_at', 'memories', ['expires_at'], unique=False, postgresql_where=sa.text('expires_at IS NOT NULL'))
    op.create_index('ix_memories_session_id', 'memories', ['session_id'], unique=False, postgresql_where=sa.text('session_id IS NOT NULL'))
    op.create_index('ix_memories_words', 'memories', ['words'], unique=False, postgresql_using='gin')
    op.drop_index(op.f('ix_alerts_since'), table_name='alerts')
    op.drop_column('alerts', 'last_seen')
    op.drop_column('rule_states', 'clock_at')
    op.add_column('session_agents', sa.Column('joined_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('session_agents', sa.Column('joined_by', sa.Text(), nullable=True))
    op.add_column('session_agents', sa.Column('ticket_hash', sa.LargeBinary(), nullable=True))
    op.create_index('ix_session_agents_joined', 'session_agents', ['session_id'], unique=False, postgresql_where=sa.text('joined_at IS NOT NULL'))
    op.add_column('session_work', sa.Column('memory_due_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('session_work', sa.Column('memory_claimed_until', sa.DateTime(timezone=True), nullable=True))
    op.add_column('session_work', sa.Column('remembered_version', sa.BigInteger(), server_default=sa.text('0'), nullable=False))
    op.add_column('session_work', sa.Column('memory_failures', sa.Integer(), server_default=sa.text('0'), nullable=False))
    op.create_index('ix_session_work_memory_due_at', 'session_work', ['memory_due_at'], unique=False, postgresql_where=sa.text('memory_due_at IS NOT NULL'))
    op.add_column('templates', sa.Column('retired_at', sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column('templates', 'retired_at')
    op.drop_index('ix_session_work_memory_due_at', table_name='session_work', postgresql_where=sa.text('memory_due_at IS NOT NULL'))
    op.drop_column('session_work', 'memory_failures')
    op.drop_column('session_work', 'remembered_version')
    op.drop_column('session_work', 'memory_claimed_until')
    op.drop_column('session_work', 'memory_due_at')
    op.drop_index('ix_session_agents_joined', table_name='session_agents', postgresql_where=sa.text('joined_at IS NOT NULL'))
    op.drop_column('session_agents', 'ticket_hash')
    op.drop_column('session_agents', 'joined_by')
    op.drop_column('session_agents', 'joined_at')
    op.add_column('rule_states', sa.Column('clock_at', postgresql.TIMESTAMP(timezone=True), autoincrement=False, nullable=True))
    op.add_column('alerts', sa.Column('last_seen', postgresql.TIMESTAMP(timezone=True), server_default=sa.text('now()'), autoincrement=False, nullable=False))
    op.create_index(op.f('ix_alerts_since'), 'alerts', ['since'], unique=False)
    op.drop_index('ix_memories_words', table_name='memories', postgresql_using='gin')
    op.drop_index('ix_memories_session_id', table_name='memories', postgresql_where=sa.text('session_id IS NOT NULL'))
    op.drop_index('ix_memories_expires_at', table_name='memories', postgresql_where=sa.text('expires_at IS NOT NULL'))
    op.drop_index('ix_memories_agent_created_at', table_name='memories')
    op.drop_table('memories')
    op.drop_index('ix_manual_orders_session_id_created_at', table_name='manual_orders')
    op.drop_index('ix_manual_orders_open', table_name='manual_orders', postgresql_where=sa.text("state IN ('waiting', 'working')"))
    op.drop_table('manual_orders')
    op.drop_index('uq_approvals_open', table_name='approvals', postgresql_where=sa.text("state IN ('waiting', 'approved')"))
    op.drop_index('ix_approvals_session_id_created_at', table_name='approvals')
    op.drop_index('ix_approvals_expires_at', table_name='approvals', postgresql_where=sa.text("state IN ('waiting', 'approved')"))
    op.drop_table('approvals')
    op.drop_index('ix_agent_reports_session_id_kind_timestamp', table_name='agent_reports')
    op.drop_table('agent_reports')
    op.drop_index('uq_template_versions_command_id', table_name='template_versions', postgresql_where=sa.text('command_id IS NOT NULL'))
    op.drop_table('template_versions')
    op.drop_index('ix_market_states_received_at', table_name='market_states')
    op.drop_table('market_states')
