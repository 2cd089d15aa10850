"""What the house's roles may do in Postgres is what `database.rights` declares, in every table there is."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from conftest import DatabaseServer
from owning import as_owner, house, owner_engine
from owning import run_as as do
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from fntx_sessions.database import models, paper
from fntx_sessions.database.engine import migrate
from fntx_sessions.database.granted import differences
from fntx_sessions.database.granting import grant
from fntx_sessions.database.logins import ensure_login
from fntx_sessions.database.metadata import metadata
from fntx_sessions.database.partitions import make_ahead
from fntx_sessions.database.rights import APP, DECLARED, READ, RIGHTS, declared, usual
from fntx_sessions.exceptions import InvalidArgument, StackError
from fntx_sessions.settings import Settings
from fntx_sessions.stack.doctor_rights import diagnose_rights, diagnose_ways, judged
from fntx_sessions.stack.rights_status import RightsFound, read_rights

__all__ = ["house", "models", "paper"]
WELL = {"database login": "ok", "database roles": "ok", "database guards": "ok"}
_HAS = text("""
SELECT p.name FROM unnest(CAST(:rights AS text[])) AS p(name)
WHERE has_table_privilege(CAST(:role AS text), CAST(:table AS text), p.name)
""")


@pytest.fixture
def owner(house: Engine) -> Iterator[Engine]:
    with owner_engine(house) as made:
        yield made


def has(engine: Engine, role: str, table: str) -> frozenset[str]:
    with engine.connect() as connection:
        return frozenset(connection.execute(_HAS, {"role": role, "table": table, "rights": list(RIGHTS)}).scalars())


def results(url: str) -> dict[str, str]:
    return {check.name: check.result for check in diagnose_rights(url)}


def test_every_table_has_the_rights_that_are_declared(owner: Engine) -> None:
    """Whoever adds a table thinks of nothing; no role has a right that is not written down."""
    with owner.connect() as connection:
        assert differences(connection) == []
    for table in metadata.tables:
        for role in (APP, READ):
            assert has(owner, role, table) == declared(table).of(role), (table, role)
    assert set(DECLARED) - {"alembic_version"} <= set(metadata.tables), "rights of a table that is not there"


def test_a_table_made_meanwhile_has_the_usual_rights_at_once(owner: Engine, house: Engine) -> None:
    """Before any migration ends; and a partition made later has none of its own, as it is used through its whole."""
    do(owner, "CREATE TABLE came_later (id bigserial PRIMARY KEY, n int)")
    do(house, "INSERT INTO came_later (n) VALUES (1)")
    assert has(owner, APP, "came_later") == usual().app
    assert has(owner, READ, "came_later") == usual().read
    made = make_ahead(owner, 3)
    assert made
    assert all(has(owner, role, week) == frozenset() for week in made for role in (APP, READ))
    with owner.connect() as connection:
        assert differences(connection) == []


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit SET reason = 'x'", "DELETE FROM audit", "TRUNCATE audit", "UPDATE transitions SET reason = 'x'",
     "DELETE FROM transitions", "TRUNCATE transitions_default", "DELETE FROM transitions_default",
     "UPDATE audit_anchors SET chains = 0", "DELETE FROM audit_anchors", "DELETE FROM desk_chain",
     "INSERT INTO desk_chain DEFAULT VALUES", "UPDATE revoked_tokens SET forget_at = now()",
     "DELETE FROM session_keys", "DELETE FROM sessions", "UPDATE alembic_version SET version_num = '0'",
     "ALTER TABLE audit DISABLE TRIGGER ALL", "DROP TRIGGER append_only ON audit", "DROP TABLE audit",
     "CREATE TABLE mine (n int)", "SET session_replication_role = replica", "ALTER TABLE audit ADD COLUMN n int",
     "CREATE TRIGGER t BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION fntx_refuse_change()",
     "CREATE RULE r AS ON INSERT TO audit DO INSTEAD NOTHING", "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1",
     "ALTER ROLE fntx_app SUPERUSER", "SET ROLE postgres", "CREATE ROLE other",
     "CREATE OR REPLACE FUNCTION fntx_refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
     "COPY audit TO PROGRAM 'cat'", "SELECT pg_read_file('/etc/hostname')"],
)  # fmt: skip
def test_what_the_house_may_not(house: Engine, statement: str) -> None:
    """Nothing done is changed or taken away, no guard is switched off, nothing is made, nobody is given more."""
    allowed = "permission denied|must be owner|must be able to|does not exist|append-only|Only roles with"
    with pytest.raises(DBAPIError, match=allowed) as caught:
        do(house, statement)
    assert isinstance(caught.value.orig, psycopg2.Error)


def test_the_house_can_give_itself_nothing(house: Engine) -> None:
    """Postgres warns, and grants what the giver may: nothing."""
    do(house, "GRANT UPDATE ON audit TO fntx_app")
    with house.connect() as connection:
        assert differences(connection) == []


def test_who_only_reads_changes_nothing_and_sees_no_credential(
    postgres_server: DatabaseServer, owner: Engine, house: Engine
) -> None:
    """`fntx_read` is for figures and reports of other people's making."""
    do(owner, "DROP ROLE IF EXISTS fntx_reader; CREATE ROLE fntx_reader LOGIN IN ROLE fntx_read")
    reader = create_engine(house.url.set(username="fntx_reader"), poolclass=NullPool)
    try:
        do(reader, "SELECT * FROM sessions JOIN audit USING (session_id) LIMIT 1")
        for statement in ("SELECT * FROM credentials", "DELETE FROM commands", "INSERT INTO halts DEFAULT VALUES"):
            with pytest.raises(DBAPIError, match="permission denied"):
                do(reader, statement)
    finally:
        do(owner, "DROP ROLE fntx_reader")


def test_strayed_rights_are_told_and_mended_by_the_next_migration(database_url: str, owner: Engine) -> None:
    """Too much and too little; a migration that has nothing else to do puts them right."""
    assert results(database_url) == WELL
    do(owner, "GRANT UPDATE ON audit TO fntx_app; REVOKE INSERT ON events FROM fntx_app")
    found = {check.name: check for check in diagnose_rights(database_url)}
    assert (found["database login"].result, found["database roles"].result) == ("fail", "fail")
    assert "INSERT on events" in found["database login"].meaning
    assert "fntx_app on audit has UPDATE too much" in found["database roles"].meaning
    migrate(as_owner(database_url))
    assert results(database_url) == WELL


@pytest.mark.parametrize(
    ("statement", "told"),
    [("GRANT UPDATE (reason) ON audit TO fntx_app", "fntx_app on audit (reason) has UPDATE too much"),
     ("GRANT SELECT (sealed) ON credentials TO fntx_read", "fntx_read on credentials (sealed) has SELECT too much"),
     ("GRANT EXECUTE ON FUNCTION fntx_forget_transitions TO PUBLIC",
      "PUBLIC on fntx_forget_transitions() has EXECUTE too much"),
     ("GRANT EXECUTE ON FUNCTION fntx_forget_transitions TO fntx_read",
      "fntx_read on fntx_forget_transitions() has EXECUTE too much"),
     ("REVOKE EXECUTE ON FUNCTION fntx_forget_transitions FROM fntx_app",
      "fntx_app on fntx_forget_transitions() lacks EXECUTE"),
     ("CREATE FUNCTION more(int) RETURNS int LANGUAGE sql SECURITY DEFINER RETURN 1",
      "PUBLIC on more() has EXECUTE too much"),
     ("GRANT CREATE ON SCHEMA public TO fntx_read", "fntx_read on schema public has CREATE too much"),
     ("GRANT CREATE ON SCHEMA public TO PUBLIC", "PUBLIC on schema public has CREATE too much"),
     ("GRANT USAGE ON SCHEMA public TO fntx_app; REVOKE USAGE ON SCHEMA public FROM PUBLIC, fntx_read",
      "fntx_read on schema public lacks USAGE"),
     ("GRANT DELETE ON audit TO PUBLIC", "PUBLIC on audit has DELETE too much")],
)  # fmt: skip
def test_rights_on_columns_functions_and_the_schema_are_told_and_mended(
    database_url: str, owner: Engine, statement: str, told: str
) -> None:
    """To either role or to everybody; the next migration puts them right."""
    do(owner, statement)
    found = {check.name: check for check in diagnose_rights(database_url)}["database roles"]
    assert (found.result, told in found.meaning) == ("fail", True), found.meaning
    migrate(as_owner(database_url))
    assert results(database_url) == WELL


@pytest.mark.parametrize(
    "statement", ["GRANT DELETE ON audit TO PUBLIC", "GRANT UPDATE (reason) ON audit TO fntx_desk"]
)
def test_rights_that_come_another_way_are_seen(database_url: str, owner: Engine, statement: str) -> None:
    """Through everybody, or on one column alone."""
    do(owner, statement)
    assert results(database_url)["database login"] == "warn"


def test_the_owner_as_the_house_is_told(database_url: str) -> None:
    """With what to do about it."""
    [login, roles, _] = diagnose_rights(as_owner(database_url))
    assert (login.result, roles.result) == ("warn", "ok")
    assert "owns the tables" in login.meaning
    assert "FNTX_MAINTENANCE_DATABASE_URL" in login.fix


@pytest.mark.usefixtures("database_url")  # whose making makes the roles
def test_a_migrating_user_who_may_make_no_roles_goes_on(new_database: Callable[[], str]) -> None:
    """The tables are made and work for their owner; what is left to an administrator is said."""
    url = make_url(new_database())
    admin = create_engine(url, poolclass=NullPool)
    do(admin, "DROP ROLE IF EXISTS fntx_plain; CREATE ROLE fntx_plain LOGIN")
    do(admin, "GRANT CREATE, TEMPORARY ON DATABASE " + f'"{url.database}"' + " TO fntx_plain")
    do(admin, "GRANT ALL ON SCHEMA public TO fntx_plain")
    plain = url.set(username="fntx_plain").render_as_string(hide_password=False)
    try:
        migrate(plain)
        with create_engine(plain, poolclass=NullPool).begin() as connection:
            assert grant(connection) == []  # the roles are there, of the run's other databases, and it gives to them
            assert read_rights(connection).missing == ()
        with pytest.raises(StackError, match="CREATE ROLE fntx_other LOGIN"):
            ensure_login(plain, url.set(username="fntx_other").render_as_string(hide_password=False))
    finally:
        do(admin, "DROP OWNED BY fntx_plain CASCADE; DROP ROLE fntx_plain")


def test_missing_roles_are_told() -> None:
    """With the words an administrator has to say."""
    found = RightsFound("fntx", ("owns the tables",), (), (), (APP, READ), ())
    [login, roles, _] = judged(found)
    assert (login.result, roles.result) == ("warn", "warn")
    assert roles.fix.startswith("as an administrator: CREATE ROLE fntx_app NOLOGIN; CREATE ROLE fntx_read NOLOGIN")


def test_a_login_is_made_once_with_a_password_nobody_can_read(database_url: str, owner: Engine) -> None:
    """Made by whoever migrates; there already, its password stays; a member of the role that works."""
    url = make_url(database_url).set(username="fntx_made", password="s3cret'x").render_as_string(hide_password=False)
    try:
        assert ensure_login(as_owner(database_url), url)
        assert not ensure_login(as_owner(database_url), url)
        assert not ensure_login(url, url)
        with owner.connect() as connection:
            kept = connection.execute(
                text("SELECT rolpassword FROM pg_authid WHERE rolname = 'fntx_made'")
            ).scalar_one()
        assert kept.startswith("SCRAM-SHA-256$")
        assert results(url)["database login"] == "ok"
    finally:
        do(owner, "DROP ROLE IF EXISTS fntx_made")


@pytest.mark.parametrize(
    ("name", "url", "result"),
    [
        ("FNTX_REDIS_URL", "redis://:p@10.0.0.1/0", "warn"),
        ("FNTX_REDIS_URL", "redis://:p@127.0.0.1/0", "ok"),
        ("FNTX_REDIS_URL", "unix:///run/redis.sock", "ok"),
        ("FNTX_REDIS_URL", "rediss://:p@redis.desk/0", "ok"),
        ("FNTX_REDIS_URL", "rediss://:p@redis.desk/0?ssl_cert_reqs=none", "warn"),
        ("FNTX_DATABASE_URL", "postgresql://u:p@db.desk/d", "warn"),
        ("FNTX_DATABASE_URL", "postgresql://u:p@db.desk/d?sslmode=require", "warn"),
        ("FNTX_DATABASE_URL", "postgresql://u:p@db.desk/d?sslmode=verify-full&sslrootcert=/x", "ok"),
        ("FNTX_DATABASE_URL", "postgresql://u@/d?host=/run/pg", "ok"),
        ("FNTX_MAINTENANCE_DATABASE_URL", "postgresql://u:p@db.desk/d?sslmode=prefer", "warn"),
    ],
)
def test_doctor_looks_at_the_way_to_the_stores(name: str, url: str, result: str) -> None:
    """Over a network only TLS that verifies the server is well; sockets and loopback are no network."""
    found = [check for check in diagnose_ways({name: url}) if check.name.startswith("way")]
    assert [check.result for check in found] == [result]
    assert bool(found[0].fix) == (result == "warn")


def test_settings_say_once_what_all_clients_verify_by(tmp_path: Path) -> None:
    """The address carries it from then on; what an address says itself stays."""
    ca = tmp_path / "with space" / "ca.pem"
    found = Settings(
        database_ca_file=ca, redis_ca_file=ca, database_url="postgresql://u:p%40@db/d", redis_url="rediss://:p%40@r/0",
        maintenance_database_url="postgresql://u@db/d?sslmode=verify-ca&sslrootcert=/other",
    )  # fmt: skip
    assert found.database_url
    assert make_url(found.database_url.get_secret_value()).query == {"sslmode": "verify-full", "sslrootcert": str(ca)}
    assert found.redis_url
    assert "ssl_cert_reqs=required" in found.redis_url.get_secret_value()
    assert found.maintenance_database_url
    assert make_url(found.maintenance_database_url.get_secret_value()).query["sslrootcert"] == "/other"


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca"])
def test_a_ca_file_counts_beside_an_sslmode_too(tmp_path: Path, mode: str) -> None:
    """An address that names its mode and no file of its own is verified by the one that is set."""
    ca = tmp_path / "ca.pem"
    found = Settings(database_ca_file=ca, database_url=f"postgresql://u@db/d?sslmode={mode}")
    assert found.database_url
    assert make_url(found.database_url.get_secret_value()).query == {"sslmode": mode, "sslrootcert": str(ca)}


@pytest.mark.parametrize(
    "given",
    [
        {"redis_ca_file": "ca.pem", "redis_url": "redis://:p@redis.desk/0"},
        {"database_ca_file": "ca.pem", "database_url": "postgresql://u:p@db.desk/d?sslmode=require"},
        {"database_ca_file": "ca.pem", "maintenance_database_url": "postgresql://u:p@db.desk/d?sslmode=prefer"},
    ],
)
def test_a_ca_file_that_verifies_nobody_is_refused(given: dict[str, str]) -> None:
    """Who set it wants the server verified: nothing is sent without, and the way out is told."""
    with pytest.raises(InvalidArgument, match="verifies nobody"):
        Settings(**given)


def test_a_ca_file_asks_nothing_of_this_machine(tmp_path: Path) -> None:
    """Sockets and loopback are no network, in an environment that serves several processes."""
    found = Settings(redis_ca_file=tmp_path, redis_url="redis://127.0.0.1/0")
    assert found.redis_url
    assert found.redis_url.get_secret_value() == "redis://127.0.0.1/0"
