"""Every save goes through a temporary table: the house has the right to make one whatever everybody has."""

from collections.abc import Callable, Iterator

import pytest
from owning import as_owner, house, owner_engine
from owning import run_as as do
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from fntx_sessions.database.engine import migrate
from fntx_sessions.database.granting import grant
from fntx_sessions.stack.check import Check
from fntx_sessions.stack.doctor_rights import diagnose_rights

__all__ = ["house"]


@pytest.fixture
def owner(house: Engine) -> Iterator[Engine]:
    with owner_engine(house) as made:
        do(made, f"REVOKE TEMPORARY ON DATABASE {named(made)} FROM PUBLIC, fntx_app")
        yield made


def named(engine: Engine) -> str:
    return f'"{engine.url.database}"'


def login(url: str) -> Check:
    return {check.name: check for check in diagnose_rights(url)}["database login"]


def test_a_house_that_may_make_no_temporary_table_is_told_with_what_gives_it_the_right(
    database_url: str, house: Engine, owner: Engine
) -> None:
    """A failed check whose statement, run as it stands, makes it well."""
    with pytest.raises(DBAPIError, match="permission denied"):
        do(house, "CREATE TEMP TABLE t (n int)")
    found = login(database_url)
    assert (found.result, "TEMPORARY on the database" in found.meaning) == ("fail", True)
    do(owner, found.fix.removeprefix("as the owner of the database: "))
    assert login(database_url).result == "ok"


def test_a_migration_gives_the_house_the_right_whatever_everybody_has(
    database_url: str, house: Engine, owner: Engine
) -> None:
    """Given to the role itself, also while everybody has it: so it stays where it is taken from everybody later."""
    do(owner, f"GRANT TEMPORARY ON DATABASE {named(owner)} TO PUBLIC")
    migrate(as_owner(database_url))
    do(owner, f"REVOKE TEMPORARY ON DATABASE {named(owner)} FROM PUBLIC")
    do(house, "CREATE TEMP TABLE t (n int)")
    assert login(database_url).result == "ok"


@pytest.mark.usefixtures("database_url")  # whose making makes the roles, which this user may not
@pytest.mark.parametrize("rights", ["CREATE", "CREATE, TEMPORARY"])
def test_who_owns_the_tables_and_not_the_database_is_told_what_is_left(
    new_database: Callable[[], str], rights: str
) -> None:
    """Whether Postgres refuses or only warns, the statement is named; nothing is left where everybody has the right."""
    url = make_url(new_database())
    admin = create_engine(url, poolclass=NullPool)
    do(admin, "DROP ROLE IF EXISTS fntx_tables; CREATE ROLE fntx_tables LOGIN")
    do(admin, f"GRANT {rights} ON DATABASE {named(admin)} TO fntx_tables; GRANT ALL ON SCHEMA public TO fntx_tables")
    tables = create_engine(url.set(username="fntx_tables"), poolclass=NullPool)
    try:
        migrate(tables.url.render_as_string(hide_password=False))
        with tables.connect() as connection:
            assert grant(connection) == []
        do(admin, f"REVOKE TEMPORARY ON DATABASE {named(admin)} FROM PUBLIC")
        with tables.connect() as connection:
            [left] = grant(connection)
        assert left.startswith(f'GRANT TEMPORARY ON DATABASE {named(admin)} TO "fntx_app"')
    finally:
        do(admin, "DROP OWNED BY fntx_tables CASCADE; DROP ROLE fntx_tables")
