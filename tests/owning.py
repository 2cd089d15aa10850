"""The owner of the tables: for what a test does to them that the house's own login may not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.pool import NullPool

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


def do(engine: Engine, statements: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Run statements of a test's own in one transaction and return what they found, if anything.

    As the house where it may, else as the tables' owner.
    """
    try:
        return _done(engine, statements, values)
    except ProgrammingError as error:
        if not isinstance(error.orig, InsufficientPrivilege):
            raise
        with owner_engine(engine) as owner:
            return _done(owner, statements, values)


def _done(engine: Engine, statements: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    with engine.begin() as connection:
        result = connection.execute(text(statements), values)
        return [dict(row) for row in result.mappings()] if result.returns_rows else []
