"""The owner of the tables: for what a test does to them that the house's own login may not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.pool import NullPool

from fntx_sessions.database.engine import build_engine
from fntx_sessions.settings import Settings

# Whom the tests' databases belong to; whom every test's house is.
_owner: list[URL] = []
DESK = "fntx_desk"


def note_owner(url: str) -> None:
    """Remember the user who makes the tests' databases."""
    _owner[:] = [make_url(url)]


def as_owner(url: str | URL) -> str:
    """Return the URL of the same database for its owner; one that is another login's stays as it is."""
    there = make_url(url)
    if not _owner or there.username != DESK:
        return there.render_as_string(hide_password=False)
    changed = there.set(username=_owner[0].username, password=_owner[0].password)
    return changed.render_as_string(hide_password=False)


@contextmanager
def owner_engine(engine: Engine) -> Iterator[Engine]:
    """Yield an engine of the owner of the database that `engine` is for."""
    made = create_engine(as_owner(engine.url), poolclass=NullPool)
    try:
        yield made
    finally:
        made.dispose()


@pytest.fixture
def house(database_url: str) -> Iterator[Engine]:
    """Return an engine of the login that workers have."""
    made = build_engine(database_url, Settings())
    yield made
    made.dispose()


def do(engine: Engine, statements: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Run statements of a test's own in one transaction and return what they found, if anything.

    As the house where it may, else as the tables' owner.
    """
    try:
        return run_as(engine, statements, values)
    except ProgrammingError as error:
        if not isinstance(error.orig, InsufficientPrivilege):
            raise
        with owner_engine(engine) as owner:
            return run_as(owner, statements, values)


def run_as(engine: Engine, statements: str, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Run statements in one transaction as the engine's own login, which may not have the right to, and return rows."""
    with engine.begin() as connection:
        result = connection.execute(text(statements), values or {})
        return [dict(row) for row in result.mappings()] if result.returns_rows else []
