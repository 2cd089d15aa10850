"""What takes the place of a trigger or of the declared rights is seen by `fntx doctor`, and ours put back."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from owning import as_owner, house, owner_engine
from owning import run_as as do
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import migrate
from fntx_sessions.database.guarded import gaps, restore
from fntx_sessions.stack.addresses import DATABASE
from fntx_sessions.stack.check import Check
from fntx_sessions.stack.doctor import _database
from fntx_sessions.stack.doctor_rights import diagnose_rights
from fntx_sessions.stack.status import read_database

__all__ = ["house"]
OTHER = (
    "CREATE TRIGGER guard_key BEFORE UPDATE ON session_keys FOR EACH ROW WHEN (false) EXECUTE FUNCTION fntx_guard_key()"
)
NONE = "CREATE TRIGGER append_only BEFORE DELETE ON {} FOR EACH ROW EXECUTE FUNCTION fntx_refuse_change()"


@pytest.fixture
def owner(house: Engine) -> Iterator[Engine]:
    with owner_engine(house) as made:
        yield made


@pytest.fixture
def evil(owner: Engine) -> Iterator[None]:
    do(owner, "DROP ROLE IF EXISTS fntx_evil; CREATE ROLE fntx_evil LOGIN")
    yield
    do(owner, "DROP OWNED BY fntx_evil CASCADE; DROP ROLE fntx_evil")


def seen(url: str) -> Check:
    return {check.name: check for check in diagnose_rights(url)}["database guards"]


def test_what_migrations_install_is_what_is_declared(owner: Engine) -> None:
    """On every table and week: whoever changes a guard changes it here, and by a migration."""
    with owner.connect() as connection:
        assert gaps(connection) == []


@pytest.mark.parametrize(
    ("statement", "told"),
    [("ALTER TABLE audit DISABLE TRIGGER USER", "the guard append_only of audit is off"),
     ("ALTER TABLE audit ENABLE REPLICA TRIGGER append_only", "the guard append_only of audit is off"),
     ("ALTER TABLE transitions_default DISABLE TRIGGER append_only",
      "the guard append_only of transitions_default is off"),
     ("DROP TRIGGER append_only_truncate ON transitions_past",
      "the guard append_only_truncate of transitions_past is gone"),
     ("DROP TRIGGER append_only ON audit", "the guard append_only of audit is gone"),
     ("DROP TRIGGER guard_status ON sessions", "the guard guard_status of sessions is gone"),
     ("ALTER TABLE session_keys DISABLE TRIGGER guard_key; DROP TRIGGER guard_revocation ON revoked_tokens",
      "the guard guard_key of session_keys is off"),
     (f"DROP TRIGGER guard_key ON session_keys; {OTHER}", "the guard guard_key of session_keys is another"),
     ("ALTER FUNCTION fntx_forget_transitions RESET search_path",
      "the function fntx_forget_transitions() is another"),
     ("DROP TRIGGER append_only ON transitions", "the guard append_only of transitions is gone"),
     (f"DROP TRIGGER append_only ON transitions; {NONE.format('transitions')}",
      "the guard append_only of transitions is another"),
     (f"DROP TRIGGER append_only ON transitions; {NONE.format('transitions_past')}",
      "the guard append_only of transitions is gone"),
     ("DROP FUNCTION fntx_guard_history CASCADE", "the function fntx_guard_history() is gone"),
     ("DROP FUNCTION fntx_guard_halt CASCADE", "the function fntx_guard_halt() is gone"),
     ("CREATE OR REPLACE FUNCTION fntx_refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
      "the function fntx_refuse_change() is another")],
)  # fmt: skip
def test_a_guard_that_is_off_gone_or_another_is_told_and_put_back(
    database_url: str, owner: Engine, statement: str, told: str
) -> None:
    """A failed check that says which; the next migration, which has nothing else to do, puts it back."""
    do(owner, statement)
    found = seen(database_url)
    assert (found.result, told in found.meaning, "fntx migrate" in found.fix) == ("fail", True, True), found
    migrate(as_owner(database_url))
    assert seen(database_url).result == "ok"


@pytest.mark.parametrize(
    ("statement", "told", "mend"),
    [("CREATE RULE r AS ON UPDATE TO audit DO INSTEAD NOTHING", "audit has a rule r", "DROP RULE r ON audit"),
     ("CREATE TRIGGER t BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION fntx_refuse_change()",
      "audit has a trigger t of nobody's", "DROP TRIGGER t ON audit"),
     ("GRANT UPDATE, DELETE ON audit TO fntx_evil", "fntx_evil has DELETE, UPDATE on audit",
      "REVOKE ALL ON audit FROM fntx_evil"),
     ("GRANT DELETE ON transitions_default TO fntx_evil", "fntx_evil has DELETE on transitions_default",
      "REVOKE ALL ON transitions_default FROM fntx_evil"),
     ("GRANT UPDATE (reason) ON audit TO fntx_evil", "fntx_evil has UPDATE on audit",
      "REVOKE ALL ON audit FROM fntx_evil")],
)  # fmt: skip
def test_what_was_added_beside_the_guards_is_told(
    database_url: str, owner: Engine, evil: None, statement: str, told: str, mend: str
) -> None:
    """With the statement that takes it away: no migration throws away what somebody else made."""
    do(owner, statement)
    found = seen(database_url)
    assert (found.result, told in found.meaning, mend in found.fix) == ("fail", True, True), found
    migrate(as_owner(database_url))
    assert seen(database_url) == found
    do(owner, mend)
    assert seen(database_url).result == "ok"


def test_a_guard_that_this_user_may_not_put_back_is_left(database_url: str, owner: Engine, evil: None) -> None:
    """A migration goes on with the others and ends; the doctor tells of it still."""
    do(owner, "ALTER TABLE audit DISABLE TRIGGER append_only; ALTER TABLE halts DISABLE TRIGGER guard_halt")
    do(owner, "ALTER TABLE halts OWNER TO fntx_evil; GRANT SELECT ON ALL TABLES IN SCHEMA public TO fntx_evil")
    with owner.connect() as connection:
        connection.execute(text("SET ROLE fntx_evil"))
        assert restore(connection) == ["the guard guard_halt of halts is off"]
        assert "the guard append_only of audit is off" in {gap.told for gap in gaps(connection)}
    do(owner, "ALTER TABLE halts OWNER TO CURRENT_USER")


def test_who_may_only_read_history_is_no_finding(database_url: str, owner: Engine, evil: None) -> None:
    """Reports of other people's making may be given SELECT."""
    do(owner, "GRANT SELECT ON audit, transitions TO fntx_evil")
    assert seen(database_url).result == "ok"


def test_triggers_that_do_not_fire_for_the_house_are_told(database_url: str, owner: Engine) -> None:
    """`session_replication_role` may be set for a role or a database, from outside."""
    name = owner.url.database
    do(owner, f'ALTER DATABASE "{name}" SET session_replication_role = replica')
    assert "triggers do not fire" in seen(database_url).meaning


def test_pending_migrations_hide_neither_the_audit_nor_the_guards(database_url: str, owner: Engine) -> None:
    """A stack whose package is newer than its tables is looked at all the same, and told that it is behind."""
    do(owner, "UPDATE alembic_version SET version_num = '0036'; ALTER TABLE audit DISABLE TRIGGER USER")
    stack = SimpleNamespace(environment=lambda: {DATABASE: database_url})
    status = SimpleNamespace(database=read_database(database_url), running=False)
    found = {check.name: check for check in _database(stack, status)}  # type: ignore[arg-type]
    assert found["migrations"].result == "fail"
    assert {"audit", "database login", "database roles", "database guards"} <= found.keys()
    assert "migrations are behind" in found["database guards"].meaning
    assert found["database roles"].result == "ok"


def test_a_newer_database_is_told_as_newer_and_nothing_of_it_is_to_be_dropped(database_url: str, owner: Engine) -> None:
    """What an older package does not know may be a guard: it names no statement that takes it away."""
    do(owner, "UPDATE alembic_version SET version_num = '9042'")
    do(owner, "CREATE TRIGGER t BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION fntx_refuse_change()")
    stack = SimpleNamespace(environment=lambda: {DATABASE: database_url})
    status = SimpleNamespace(database=read_database(database_url), running=False)
    found = {check.name: check for check in _database(stack, status)}  # type: ignore[arg-type]
    assert "the database is newer" in found["migrations"].meaning
    assert "fntx up" not in found["migrations"].fix
    guards = found["database guards"]
    assert ("newer than this fntx" in guards.meaning, "behind" in guards.meaning) == (True, False)
    assert not any(word in guards.fix for word in ("DROP", "REVOKE", "migrate;"))
