"""partitions: history by week.

Revision: 0004, after 0003. Rows are copied: on a large desk, stop it first and count on a minute a few million rows.
"""

from datetime import date

from alembic import op
from sqlalchemy import text

from fntx_sessions.database.guards import append_only_sql, history_guard_sql, truncate_guard_sql
from fntx_sessions.database.weeks import (
    STORAGE,
    WEEK,
    attach_sql,
    create_sql,
    moment,
    monday,
    week_of,
)

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

_KEYS = {
    'events': ('session_id, timestamp, event_id', 'session_id, timestamp, event_id'),
    'transitions': ('session_id, version, to_status, timestamp', 'session_id, version, to_status'),
    'fills': ('fill_id, timestamp', 'fill_id'),
    'samples': ('session_id, timestamp', 'session_id, timestamp'),
}
_INDEXES = {
    'transitions': 'CREATE INDEX ix_transitions_timestamp ON transitions (timestamp)',
    'fills': 'CREATE INDEX ix_fills_session_id_timestamp ON fills (session_id, timestamp)',
}
# Older rows than this of a live desk are simulated ones, or may wait in the past for their sessions' archives.
_WEEKS_BACK = 26


def upgrade() -> None:
    function, *triggers = history_guard_sql()
    op.execute(function)
    for relation, (key, _) in _KEYS.items():
        _set_aside(relation)
        op.execute(f"CREATE TABLE {relation} (LIKE {relation}_whole INCLUDING DEFAULTS INCLUDING CONSTRAINTS) "
                   "PARTITION BY RANGE (timestamp)")
        _finish(relation, key)
        _cut(relation)
        _take_over(relation)
    ends = [truncate_guard_sql('transitions', f'transitions_{end}') for end in ('past', 'default')]
    for statement in [*triggers, *ends]:
        op.execute(statement)


def _set_aside(relation: str) -> None:
    op.execute(f"ALTER TABLE {relation} RENAME TO {relation}_whole")
    op.execute(f"ALTER TABLE {relation}_whole RENAME CONSTRAINT pk_{relation} TO pk_{relation}_whole")
    if relation in _INDEXES:
        name = _INDEXES[relation].split()[2]
        op.execute(f"ALTER INDEX {name} RENAME TO {name}_whole")


def _finish(relation: str, key: str) -> None:
    op.execute(f"ALTER TABLE {relation} ADD CONSTRAINT pk_{relation} PRIMARY KEY ({key})")
    if relation == 'fills':
        op.execute("ALTER TABLE fills ADD CONSTRAINT fk_fills_session_id "
                   "FOREIGN KEY (session_id) REFERENCES sessions (session_id)")
    if relation in _INDEXES:
        op.execute(_INDEXES[relation])


def _cut(relation: str) -> None:
    """Make the past, every week from the first row of late on to the next week, and DEFAULT."""
    this, first = op.get_bind().execute(text(f"""
SELECT (now() AT TIME ZONE 'UTC')::date, (min(timestamp) AT TIME ZONE 'UTC')::date FROM {relation}_whole
WHERE timestamp > now() - interval '{_WEEKS_BACK} weeks' AND timestamp <= now()
""")).one()
    since: date = monday(first or this)
    op.execute(f"CREATE TABLE {relation}_past PARTITION OF {relation} "
               f"FOR VALUES FROM (MINVALUE) TO ({moment(since)}) WITH ({STORAGE})")
    while since <= monday(this) + WEEK:
        week = week_of(relation, since)
        op.execute(create_sql(relation, week))
        for statement in attach_sql(relation, week):
            op.execute(statement)
        since += WEEK
    op.execute(f"CREATE TABLE {relation}_default PARTITION OF {relation} DEFAULT WITH ({STORAGE})")


def _take_over(relation: str) -> None:
    op.execute(f"INSERT INTO {relation} SELECT * FROM {relation}_whole")
    op.execute(f"DROP TABLE {relation}_whole")


def downgrade() -> None:
    for relation, (_, key) in _KEYS.items():
        _set_aside(relation)
        op.execute(f"CREATE TABLE {relation} (LIKE {relation}_whole INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        _finish(relation, key)
        _take_over(relation)
    for statement in append_only_sql('transitions'):
        op.execute(statement)
    op.execute("DROP FUNCTION fntx_guard_history()")
