"""automation: rules and their decisions, halts, bulk runs, health, alerts; what sweeps note of themselves.

Revision: 0010, after 0009.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('alerts',
    sa.Column('alert_id', sa.UUID(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('subject', sa.Text(), server_default='', nullable=False),
    sa.Column('severity', sa.Text(), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('since', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('last_seen', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('cleared_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('alert_id', name=op.f('pk_alerts'))
    )
    op.create_index('ix_alerts_since', 'alerts', ['since'], unique=False)
    op.create_index('uq_alerts_open', 'alerts', ['name', 'subject'], unique=True, postgresql_where=sa.text('cleared_at IS NULL'))
    op.create_table('halts',
    sa.Column('halt_id', sa.UUID(), nullable=False),
    sa.Column('scope', sa.Text(), nullable=False),
    sa.Column('scope_name', sa.Text(), nullable=True),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('flatten', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('released_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('released_by', sa.Text(), nullable=True),
    sa.Column('release_reason', sa.Text(), nullable=True),
    sa.CheckConstraint("(scope = 'all') = (scope_name IS NULL)", name=op.f('ck_halts_scope_named')),
    sa.CheckConstraint("scope IN ('all', 'account', 'template', 'session')", name=op.f('ck_halts_scope_known')),
    sa.CheckConstraint('(released_at IS NULL) = (released_by IS NULL)', name=op.f('ck_halts_released_by_someone')),
    sa.PrimaryKeyConstraint('halt_id', name=op.f('pk_halts'))
    )
    op.create_index('ix_halts_created_at', 'halts', ['created_at'], unique=False)
    op.create_index('ix_halts_standing', 'halts', ['scope', 'scope_name'], unique=False, postgresql_where=sa.text('released_at IS NULL'))
    op.create_table('bulk_runs',
    sa.Column('bulk_id', sa.UUID(), nullable=False),
    sa.Column('action', sa.Text(), nullable=False),
    sa.Column('selector', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('arguments', sa.LargeBinary(), nullable=True),
    sa.Column('reason', sa.Text(), server_default='', nullable=False),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('roles', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('token_sessions', postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('halt_id', sa.UUID(), nullable=True),
    sa.Column('wave_size', sa.Integer(), nullable=False),
    sa.Column('wave_pause_s', sa.Double(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('next_wave_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('claimed_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('cancelled_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['halt_id'], ['halts.halt_id'], name=op.f('fk_bulk_runs_halt_id')),
    sa.PrimaryKeyConstraint('bulk_id', name=op.f('pk_bulk_runs'))
    )
    op.create_index('ix_bulk_runs_created_at', 'bulk_runs', ['created_at'], unique=False)
    op.create_index('ix_bulk_runs_halt_id', 'bulk_runs', ['halt_id'], unique=False)
    op.create_index('ix_bulk_runs_next_wave_at', 'bulk_runs', ['next_wave_at'], unique=False, postgresql_where=sa.text('next_wave_at IS NOT NULL'))
    op.create_table('bulk_items',
    sa.Column('bulk_id', sa.UUID(), nullable=False),
    sa.Column('session_id', sa.UUID(), nullable=False),
    sa.Column('wave', sa.Integer(), nullable=False),
    sa.Column('command_id', sa.UUID(), nullable=False),
    sa.Column('state', sa.Text(), server_default='waiting', nullable=False),
    sa.Column('status_before', sa.Text(), nullable=False),
    sa.Column('status_after', sa.Text(), nullable=True),
    sa.Column('problem', sa.Text(), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("state IN ('waiting', 'done', 'pending', 'refused', 'failed', 'cancelled')", name=op.f('ck_bulk_items_state_known')),
    sa.ForeignKeyConstraint(['bulk_id'], ['bulk_runs.bulk_id'], name=op.f('fk_bulk_items_bulk_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('bulk_id', 'session_id', name=op.f('pk_bulk_items'))
    )
    op.create_index('ix_bulk_items_waiting', 'bulk_items', ['bulk_id', 'wave'], unique=False, postgresql_where=sa.text("state IN ('waiting', 'failed')"))
    op.create_table('rule_decisions',
    sa.Column('session_id', sa.UUID(), nullable=False),
    sa.Column('seq', sa.BigInteger(), nullable=False),
    sa.Column('timestamp', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('clock_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('action', sa.Text(), nullable=True),
    sa.Column('outcome', sa.Text(), nullable=True),
    sa.Column('why', sa.Text(), nullable=False),
    sa.Column('truths', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False),
    sa.Column('command_id', sa.UUID(), nullable=True),
    sa.ForeignKeyConstraint(['session_id'], ['sessions.session_id'], name=op.f('fk_rule_decisions_session_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('session_id', 'seq', name=op.f('pk_rule_decisions'))
    )
    op.create_table('rule_states',
    sa.Column('session_id', sa.UUID(), nullable=False),
    sa.Column('state', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('evaluated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('clock_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('missing_since', sa.DateTime(timezone=True), nullable=True),
    sa.Column('retry_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('retries', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('decision_seq', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.ForeignKeyConstraint(['session_id'], ['sessions.session_id'], name=op.f('fk_rule_states_session_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('session_id', name=op.f('pk_rule_states')),
    postgresql_with={'fillfactor': '50'}
    )
    op.create_table('session_health',
    sa.Column('session_id', sa.UUID(), nullable=False),
    sa.Column('grade', sa.Text(), nullable=False),
    sa.Column('checks', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False),
    sa.Column('checked_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('failed_since', sa.DateTime(timezone=True), nullable=True),
    sa.Column('failures', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.CheckConstraint("grade IN ('ok', 'degraded', 'failed')", name=op.f('ck_session_health_grade_known')),
    sa.ForeignKeyConstraint(['session_id'], ['sessions.session_id'], name=op.f('fk_session_health_session_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('session_id', name=op.f('pk_session_health')),
    postgresql_with={'fillfactor': '50'}
    )
    op.create_index('ix_session_health_grade', 'session_health', ['grade'], unique=False, postgresql_where=sa.text("grade <> 'ok'"))
    op.add_column('hosts', sa.Column('measures', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False))
    op.add_column('session_work', sa.Column('next_rule_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('session_work', sa.Column('rule_claimed_until', sa.DateTime(timezone=True), nullable=True))
    op.add_column('session_work', sa.Column('next_health_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('session_work', sa.Column('health_claimed_until', sa.DateTime(timezone=True), nullable=True))
    op.add_column('session_work', sa.Column('measures', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False))
    op.create_index('ix_session_work_next_health_at', 'session_work', ['next_health_at'], unique=False, postgresql_where=sa.text('next_health_at IS NOT NULL'))
    op.create_index('ix_session_work_next_rule_at', 'session_work', ['next_rule_at'], unique=False, postgresql_where=sa.text('next_rule_at IS NOT NULL'))
    op.add_column('sweep_runs', sa.Column('sent_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('sweep_runs', sa.Column('took_s', sa.Double(), nullable=True))
    # Sessions that run already are looked at soon; those that wait for a start rule too.
    op.execute("""
        UPDATE session_work w SET
          next_rule_at = CASE WHEN (w.status = 'initializing' AND s.config -> 'auto_start_conditions' <> '[]')
            OR (w.status IN ('active', 'paused', 'suspended', 'error') AND s.started_at IS NOT NULL
              AND (s.config #>> '{feed,kind}' = 'published' OR NOT w.hosted)) THEN now() END,
          next_health_at = CASE WHEN s.started_at IS NOT NULL AND w.status <> 'closed' THEN now() END
        FROM sessions s WHERE s.session_id = w.session_id
    """)


def downgrade() -> None:
    op.drop_column('sweep_runs', 'took_s')
    op.drop_column('sweep_runs', 'sent_at')
    op.drop_index('ix_session_work_next_rule_at', table_name='session_work', postgresql_where=sa.text('next_rule_at IS NOT NULL'))
    op.drop_index('ix_session_work_next_health_at', table_name='session_work', postgresql_where=sa.text('next_health_at IS NOT NULL'))
    op.drop_column('session_work', 'measures')
    op.drop_column('session_work', 'health_claimed_until')
    op.drop_column('session_work', 'next_health_at')
    op.drop_column('session_work', 'rule_claimed_until')
    op.drop_column('session_work', 'next_rule_at')
    op.drop_column('hosts', 'measures')
    op.drop_index('ix_session_health_grade', table_name='session_health', postgresql_where=sa.text("grade <> 'ok'"))
    op.drop_table('session_health')
    op.drop_table('rule_states')
    op.drop_table('rule_decisions')
    op.drop_index('ix_bulk_items_waiting', table_name='bulk_items', postgresql_where=sa.text("state IN ('waiting', 'failed')"))
    op.drop_table('bulk_items')
    op.drop_index('ix_bulk_runs_next_wave_at', table_name='bulk_runs', postgresql_where=sa.text('next_wave_at IS NOT NULL'))
    op.drop_index('ix_bulk_runs_halt_id', table_name='bulk_runs')
    op.drop_index('ix_bulk_runs_created_at', table_name='bulk_runs')
    op.drop_table('bulk_runs')
    op.drop_index('ix_halts_standing', table_name='halts', postgresql_where=sa.text('released_at IS NULL'))
    op.drop_index('ix_halts_created_at', table_name='halts')
    op.drop_table('halts')
    op.drop_index('uq_alerts_open', table_name='alerts', postgresql_where=sa.text('cleared_at IS NULL'))
    op.drop_index('ix_alerts_since', table_name='alerts')
    op.drop_table('alerts')
