"""Alembic's entry: migrate one database, one migrator at a time."""

from typing import Any

from alembic import context
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from fntx_sessions.database import models, paper  # noqa: F401 - fills the metadata
from fntx_sessions.database.engine import driven
from fntx_sessions.database.granting import grant, owns
from fntx_sessions.database.guarded import restore
from fntx_sessions.database.metadata import metadata
from fntx_sessions.database.seeds import seed
from fntx_sessions.database.weeks import is_partition

_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('fntx_sessions.migrations'))")


def _ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Tell whether the models speak of it: partitions come and go."""
    return not (kind == "table" and is_partition(name))


engine = create_engine(driven(context.config.get_main_option("sqlalchemy.url") or ""))
with engine.begin() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=False,
        include_name=_ours,
    )
    connection.execute(_LOCK)
    context.run_migrations()
    # Not by a migration: a later release ships other templates, and an old migration knows no newer tables.
    if set(context.get_context().get_current_heads()) == set(ScriptDirectory.from_config(context.config).get_heads()):
        seed(connection)
        # Nor this: tables that any migration adds have the rights that are declared today.
        grant(connection)
        if owns(connection):
            restore(connection)
engine.dispose()
