"""Triggers that say no in Postgres itself: an illegal change of status, a changed audit row. SQL from the table."""

from fntx_sessions.lifecycle.transitions import status_pairs

STATUS_GUARD_FUNCTION = "fntx_guard_session_status"
# The one row that may begin as closed: of a transaction that says it restores this very session, and that brought the
# audit chain first whose head the row names. Whoever writes sessions by hand has neither.
RESTORING = "fntx.restoring"
RESTORED = f"""(
      NEW.status = 'closed' AND coalesce(current_setting('{RESTORING}', true), '') = NEW.session_id::text AND EXISTS (
        SELECT FROM audit a
        WHERE a.session_id = NEW.session_id AND a.seq = NEW.audit_seq AND a.hash = NEW.audit_head))"""


def status_guard_sql() -> list[str]:
    """Return the statements that install the guard of `sessions.status`, generated from the state table."""
    pairs = ", ".join(f"('{source}', '{to_status}')" for source, to_status in sorted(status_pairs()))
    return [
        f"""CREATE OR REPLACE FUNCTION {STATUS_GUARD_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.status <> 'initializing' AND NOT {RESTORED} THEN
      RAISE EXCEPTION 'a session begins as initializing, not as %', NEW.status USING ERRCODE = 'FX001';
    END IF;
    RETURN NEW;
  END IF;
  IF NEW.version < OLD.version OR NEW.epoch < OLD.epoch THEN
    RAISE EXCEPTION 'version and epoch of session % never go back', OLD.session_id USING ERRCODE = 'FX001';
  END IF;
  IF NEW.status IS DISTINCT FROM OLD.status THEN
    IF (OLD.status, NEW.status) NOT IN ({pairs}) THEN
      RAISE EXCEPTION 'session %: % -> % is not in the state table', OLD.session_id, OLD.status, NEW.status
        USING ERRCODE = 'FX001';
    END IF;
    IF NEW.version = OLD.version THEN
      RAISE EXCEPTION 'session %: a change of status raises the version', OLD.session_id USING ERRCODE = 'FX001';
    END IF;
  END IF;
  RETURN NEW;
END $$""",
        "DROP TRIGGER IF EXISTS guard_status ON sessions",
        f"""CREATE TRIGGER guard_status BEFORE INSERT OR UPDATE ON sessions
FOR EACH ROW EXECUTE FUNCTION {STATUS_GUARD_FUNCTION}()""",
    ]


def append_only_sql(table: str) -> list[str]:
    """Return the statements that make `table` append-only: UPDATE, DELETE and TRUNCATE are refused."""
    return [
        """CREATE OR REPLACE FUNCTION fntx_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'FX002';
END $$""",
        f"DROP TRIGGER IF EXISTS append_only ON {table}",
        f"""CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table}
FOR EACH ROW EXECUTE FUNCTION fntx_refuse_change()""",
        f"DROP TRIGGER IF EXISTS append_only_truncate ON {table}",
        f"""CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION fntx_refuse_change()""",
    ]


HISTORY_GUARD_FUNCTION = "fntx_guard_history"


def history_guard_sql(table: str = "transitions") -> list[str]:
    """Return the statements that make a partitioned table append-only, but for a transaction that names what goes.

    `fntx.forget` holds the id of a session whose archive is verified or that is shredded, or `*` while rows move
    between partitions. The row trigger is handed down to partitions, the one for TRUNCATE is not.
    """
    return [
        f"""CREATE OR REPLACE FUNCTION {HISTORY_GUARD_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND coalesce(current_setting('fntx.forget', true), '') IN (OLD.session_id::text, '*') THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION '% is append-only', TG_ARGV[0] USING ERRCODE = 'FX002';
END $$""",
        f"""CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table}
FOR EACH ROW EXECUTE FUNCTION {HISTORY_GUARD_FUNCTION}('{table}')""",
        truncate_guard_sql(table, table),
    ]


def truncate_guard_sql(table: str, partition: str) -> str:
    """Return the statement that keeps an append-only table, or one partition of it, from being emptied."""
    return f"""CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON {partition}
FOR EACH STATEMENT EXECUTE FUNCTION {HISTORY_GUARD_FUNCTION}('{table}')"""


def forget_transitions_sql() -> list[str]:
    """Return the statements that install the one way in which transitions go: those of an archived or shredded session.

    It runs as the tables' owner, whoever calls it, for roles that may not delete from `transitions` themselves.
    """
    return [
        """CREATE OR REPLACE FUNCTION fntx_forget_transitions(whose uuid) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER AS $$
DECLARE gone bigint;
BEGIN
  IF NOT EXISTS (SELECT FROM session_keys k WHERE k.session_id = whose AND k.shredded_at IS NOT NULL)
    AND NOT EXISTS (SELECT FROM archives a JOIN sessions s USING (session_id)
      WHERE a.session_id = whose AND a.verified_at IS NOT NULL AND s.status = 'closed' AND NOT s.pinned) THEN
    RAISE EXCEPTION 'transitions of session % stay: it is neither archived nor shredded', whose USING ERRCODE = 'FX002';
  END IF;
  PERFORM set_config('fntx.forget', whose::text, true);
  DELETE FROM transitions WHERE session_id = whose;
  GET DIAGNOSTICS gone = ROW_COUNT;
  PERFORM set_config('fntx.forget', '', true);
  RETURN gone;
END $$""",
        # Names are found where the tables are, and nowhere that a caller could put others before them.
        """DO $$ BEGIN
  EXECUTE format('ALTER FUNCTION fntx_forget_transitions(uuid) SET search_path = pg_catalog, %I, pg_temp',
    current_schema());
END $$""",
        "REVOKE EXECUTE ON FUNCTION fntx_forget_transitions(uuid) FROM PUBLIC",
    ]


def key_guard_sql() -> list[str]:
    """Return the statements by which a shredded session's key stays gone, and no key becomes another session's.

    Else whoever may write keys could have a session look shredded for as long as it takes to delete its transitions.
    """
    return [
        """CREATE OR REPLACE FUNCTION fntx_guard_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the key of session % stays its own, and once shredded it stays so', OLD.session_id
    USING ERRCODE = 'FX003';
END $$""",
        """CREATE TRIGGER guard_key BEFORE UPDATE ON session_keys FOR EACH ROW
WHEN (NEW.session_id <> OLD.session_id
  OR OLD.shredded_at IS NOT NULL AND (NEW.shredded_at IS NULL OR NEW.wrapped IS NOT NULL))
EXECUTE FUNCTION fntx_guard_key()""",
    ]


def revocation_guard_sql() -> list[str]:
    """Return the statements by which a revocation stays as long as what it refuses could be good."""
    return [
        """CREATE OR REPLACE FUNCTION fntx_guard_revocation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.forget_at < now() THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'revocation % stays until %', OLD.revocation_id, OLD.forget_at USING ERRCODE = 'FX004';
END $$""",
        """CREATE TRIGGER guard_revocation BEFORE DELETE ON revoked_tokens
FOR EACH ROW EXECUTE FUNCTION fntx_guard_revocation()""",
    ]


def halt_guard_sql() -> list[str]:
    """Return the statements by which a halt goes on saying who placed it, on what and why, and how it ended."""
    return [
        """CREATE OR REPLACE FUNCTION fntx_guard_halt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'halt % stays as it was placed, and ends once', OLD.halt_id USING ERRCODE = 'FX005';
END $$""",
        """CREATE TRIGGER guard_halt BEFORE UPDATE ON halts FOR EACH ROW
WHEN ((NEW.halt_id, NEW.scope, NEW.scope_name, NEW.reason, NEW.actor, NEW.created_at)
    IS DISTINCT FROM (OLD.halt_id, OLD.scope, OLD.scope_name, OLD.reason, OLD.actor, OLD.created_at)
  OR (OLD.flatten AND NOT NEW.flatten) OR OLD.released_at IS NOT NULL)
EXECUTE FUNCTION fntx_guard_halt()""",
    ]
