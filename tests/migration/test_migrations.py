"""The migrations make what the models say, from nothing, any number of times, from any number of processes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from fntx_sessions.database import models  # noqa: F401 - fills the metadata
from fntx_sessions.database.engine import alembic_config, build_engine, migrate
from fntx_sessions.database.metadata import metadata
from fntx_sessions.database.seeds import BUILT_IN
from fntx_sessions.database.weeks import is_partition, layouts
from fntx_sessions.lifecycle.templates import load
from fntx_sessions.settings import Settings

MIGRATE = "import sys; from fntx_sessions.database.engine import migrate; migrate(sys.argv[1])"


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_from_nothing_to_the_models(new_database):
    """After an upgrade of an empty database nothing is left to generate: tables, columns, types, indexes."""
    url = new_database()
    migrate(url)
    with connected(url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": ours})
        assert compare_metadata(context, metadata) == []


def test_checks_and_storage_are_the_models_too(new_database):
    """What Alembic does not compare: CHECK constraints, foreign keys' names, fill factors, server defaults."""
    migrated, made = new_database(), new_database()
    migrate(migrated)
    with connected(made) as connection:
        metadata.create_all(connection)
        connection.commit()
    with connected(migrated) as one, connected(made) as other:
        for query in (CONSTRAINTS, STORAGE, INDEXES, DEFAULTS):
            assert set(one.execute(text(query))) == set(other.execute(text(query)))


def ours(name, kind, _parents) -> bool:
    """Partitions come and go; models speak of what they are parts of."""
    return not (kind == "table" and is_partition(name))


OURS = """FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public' AND NOT c.relispartition"""
CONSTRAINTS = f"""SELECT c.relname, k.conname, pg_get_constraintdef(k.oid) {OURS}
JOIN pg_constraint k ON k.conrelid = c.oid WHERE c.relname <> 'alembic_version'"""
STORAGE = f"""SELECT c.relname, c.relkind, pg_get_partkeydef(c.oid), c.reloptions::text {OURS}
WHERE c.relkind IN ('r', 'p') AND c.relname <> 'alembic_version'"""
INDEXES = f"""SELECT c.relname, pg_get_indexdef(i.indexrelid) {OURS}
JOIN pg_index i ON i.indrelid = c.oid WHERE c.relname <> 'alembic_version'"""
DEFAULTS = f"""SELECT c.relname, a.attname, a.attnotnull, a.atttypid::regtype::text, pg_get_expr(d.adbin, d.adrelid)
{OURS} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (c.oid, a.attnum)
WHERE c.relkind IN ('r', 'p') AND c.relname <> 'alembic_version'"""


def test_run_twice_nothing_changes(new_database):
    """The second run finds its work done; the shipped templates are there once and not reset."""
    url = new_database()
    migrate(url)
    with connected(url) as connection:
        connection.execute(text("UPDATE templates SET usage_count = 7"))
        connection.commit()
    migrate(url)
    with connected(url) as connection:
        used = connection.execute(text("SELECT template_name, usage_count FROM templates")).all()
    assert sorted(used) == sorted((template.template_name, 7) for template in BUILT_IN)


def test_two_processes_at_once(new_database):
    """Both end well; one did the work, the other waited for it."""
    url = new_database()
    started = [
        subprocess.Popen([sys.executable, "-c", MIGRATE, url], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    ends = [(process.communicate(timeout=60)[1], process.returncode) for process in started]
    assert [code for _, code in ends] == [0, 0], ends
    with connected(url) as connection:
        heads = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    assert heads == ScriptDirectory.from_config(alembic_config(url)).get_heads()


def test_there_is_one_head():
    """Two engineers' migrations are put in a row before they are merged."""
    assert len(ScriptDirectory.from_config(alembic_config("postgresql://")).get_heads()) == 1


def test_a_password_with_a_percent_sign_reaches_alembic():
    """The URL goes through a configuration file's syntax, which gives % a meaning."""
    url = "postgresql+psycopg2://fntx:50%25@host/db"
    assert alembic_config(url).get_main_option("sqlalchemy.url") == url


SOME_SESSION = """
INSERT INTO accounts (account_id, equity) VALUES ('desk', 1000);
INSERT INTO sessions (session_id, session_type, status, version, account_id, exclusive_account, broker, status_actor)
VALUES ('00000000-0000-0000-0000-000000000001', 'paper_trading', 'initializing', 1, 'desk', true, 'paper', 'test');
INSERT INTO events (event_id, session_id, timestamp, event_type, event_category, severity, description)
SELECT gen_random_uuid(), session_id, at, 'noted', 'system', 'info', 'one' FROM sessions, unnest(:moments) AS at;
INSERT INTO transitions (transition_id, session_id, timestamp, to_status, trigger, actor, version, epoch)
SELECT gen_random_uuid(), session_id, at, 'paused', 'pause_session', 'test', row_number() OVER (), 1
FROM sessions, unnest(:moments) AS at;
INSERT INTO fills (fill_id, session_id, account_id, epoch, client_order_id, trade_id, trade_date, symbol, "right", side,
  quantity, price, fee, opening, timestamp)
SELECT at::text, session_id, 'desk', 1, 'o', 't', '2018-02-05', 'SPY', 'put', 'sell', 1, 1.5, 0.68, true, at
FROM sessions, unnest(:moments) AS at;
INSERT INTO samples (session_id, timestamp, epoch, net_pnl) SELECT session_id, at, 1, 1.5
FROM sessions, unnest(:moments) AS at;
"""
MOMENTS = """ARRAY[timestamptz '2018-02-05 15:00+00', now() - interval '400 days', now() - interval '20 days', now(),
now() + interval '1 day', now() + interval '90 days']"""
HISTORY = ("events", "transitions", "fills", "samples")


def test_history_is_cut_by_week_with_every_row_where_it_belongs(new_database):
    """A database that was in use keeps each row, and can go back; simulated times are in the past."""
    url = new_database()
    command.upgrade(alembic_config(url), "0003")
    with connected(url) as connection:
        connection.execute(text(SOME_SESSION.replace(":moments", MOMENTS).replace("::text", "\\:\\:text")))
        connection.commit()
        before = _history(connection)
    command.upgrade(alembic_config(url), "0004")
    with connected(url) as connection:
        assert _history(connection) == before
        found = {(name, end): _rows_in(connection, f"{name}_{end}") for name in HISTORY for end in ("past", "default")}
        cut = layouts(connection)
    assert set(found.values()) == {1, 2}
    assert all(found[name, "past"] == 2 and found[name, "default"] == 1 for name in HISTORY)
    assert all(len(layout.weeks) >= 4 for layout in cut.values())
    command.downgrade(alembic_config(url), "0003")
    with connected(url) as connection:
        assert _history(connection) == before
    migrate(url)
    with connected(url) as connection:
        assert _rows_in(connection, "events") == len(before["events"])


OLD_BODY = {
    "template_id": "00000000-0000-0000-0000-000000000007", "template_name": "Old", "description": "before",
    "session_type": "paper_trading", "default_config": {"wait_ready_s": 5}, "default_risk_parameters": {},
    "required_agents": ["RiskManagerAgent"], "optional_agents": [], "agent_configurations": {},
    "enabled_strategies": [], "strategy_parameters": {}, "auto_start_conditions": [], "auto_stop_conditions":
    [{"condition": "vix_above", "value": 40, "for_s": None}], "auto_pause_conditions": [],
    "auto_resume_conditions": [], "created_at": "2026-01-01T00:00:00Z", "last_used": None, "usage_count": 0,
    "version": 3, "rules_history": [
        {"at": f"2026-01-0{number}T00:00:00+00:00", "actor": "ann", "reason": f"edit {number}", "version": number,
         "command_id": f"00000000-0000-0000-0000-00000000000{number}", "after": {},
         "before": {"auto_stop_conditions": [{"condition": "vix_above", "value": 10 * number}]}}
        for number in (2, 3)
    ],
}  # fmt: skip
OLD_TEMPLATE = """
INSERT INTO templates (template_id, template_name, version, body)
VALUES (CAST(:id AS uuid), 'Old', 3, CAST(:body AS jsonb))
"""


def test_templates_keep_their_edits_as_versions(new_database):
    """Edits kept inside a template become versions with who and why; it can be read, and made to go back."""
    url = new_database()
    command.upgrade(alembic_config(url), "0012")
    with connected(url) as connection:
        connection.execute(text(OLD_TEMPLATE), {"id": OLD_BODY["template_id"], "body": json.dumps(OLD_BODY)})
        connection.commit()
    migrate(url)
    with connected(url) as connection:
        now = load(connection, "Old")
        kept = connection.execute(
            text("SELECT version, action, actor, reason, body -> 'auto_stop_conditions' -> 0 ->> 'value' "
                 "FROM template_versions WHERE template_id = :id ORDER BY version"), {"id": OLD_BODY["template_id"]}
        ).all()  # fmt: skip
    assert (now.version, now.default_config, now.auto_stop_conditions[0].value) == (3, {"wait_ready_s": 5}, 40)
    assert [tuple(one) for one in kept] == [
        (1, "shipped", "fntx-sessions", "shipped with this package", "20"),
        (2, "edited", "ann", "edit 2", "30"),
        (3, "edited", "ann", "edit 3", "40"),
    ]
    command.downgrade(alembic_config(url), "0012")
    with connected(url) as connection:
        body = connection.execute(text("SELECT body FROM templates WHERE template_name = 'Old'")).scalar_one()
    assert (body["template_name"], body["version"], body["description"]) == ("Old", 3, "before")


def _history(connection: Connection) -> dict[str, list[str]]:
    statement = "SELECT to_jsonb(t)::text FROM {} t ORDER BY 1"
    return {name: list(connection.execute(text(statement.format(name))).scalars()) for name in HISTORY}


def _rows_in(connection: Connection, table: str) -> int:
    return connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()


def test_an_address_that_names_no_driver_is_enough(new_database):
    """`postgresql://...`, as people write it, migrates and connects with the driver that is installed with us."""
    url = new_database().replace("+psycopg2", "")
    assert url.startswith("postgresql://")
    migrate(url)
    with build_engine(url, Settings(database_url=url)).connect() as connection:
        assert connection.dialect.driver == "psycopg2"
