"""The one door to a session row: lock, check, write, audit, outbox, commit.

A command is one short transaction of two round trips. The first inserts the command row (its id is the idempotency
key), locks the session row and reads the facts, each with a snapshot of its own, so that what committed while we waited
for the lock is seen. The second writes everything and commits. Nothing slow happens between them: a decision is a pure
function of the locked row.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from uuid import UUID

import orjson
from sqlalchemy import Connection, Engine, TextClause
from sqlalchemy.exc import DBAPIError

from fntx_sessions import figures, traces
from fntx_sessions.database.engine import statements
from fntx_sessions.database.prepared import Prepared, is_outdated
from fntx_sessions.exceptions import (
    Busy,
    CommandConflict,
    IllegalTransition,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    Rejected,
    VersionConflict,
)
from fntx_sessions.lifecycle import transitions
from fntx_sessions.lifecycle.change import Ask, Change, Decision, Outcome, Row
from fntx_sessions.lifecycle.confirming.about import session_must_be_as_asked
from fntx_sessions.lifecycle.halting import ORDERED
from fntx_sessions.lifecycle.machine_sql import (
    REFUSE,
    REPEAT,
    SEND_LOCK,
    SEND_LOCK_ASKED,
    SEND_LOCK_EVENT,
    SEND_WRITE_ALL_COMMIT,
    SEND_WRITE_COMMIT,
    SHARE,
    WRITE,
    WRITE_ACKNOWLEDGE_COMMIT,
    WRITE_ASKED_COMMIT,
    WRITE_BOOK_COMMIT,
    WRITE_SHRED_COMMIT,
    work_for,
)
from fntx_sessions.lifecycle.records import (
    Sealing,
    asked_rows,
    audit,
    audit_overtaken,
    audit_refusal,
    events_of,
    outbox_of,
    outcome_of,
    seldom_values,
    session_values,
    to_json,
    transition_of,
)
from fntx_sessions.lifecycle.withdrawing import ABOUT_PEOPLE, with_withdrawals
from fntx_sessions.schemas import SessionStatus, Trigger
from fntx_sessions.security.audit import args_hash
from fntx_sessions.security.scope import refuse_outside
from fntx_sessions.settings import get_settings
from fntx_sessions.state.chain_key import chain_key
from fntx_sessions.state.payloads import ARGUMENTS, DESK, OUTCOME, Payloads
from fntx_sessions.testing import failpoint

_ATTEMPTS = 3  # each lost to another session that took the account at that very moment


@contextmanager
def door(engine: Engine) -> Iterator[Connection]:
    """Open a connection whose BEGIN and COMMIT travel with the first and the last statement; roll back on error."""
    with statements(engine) as connection:
        try:
            yield connection
        except BaseException:
            if not connection.invalidated:
                connection.exec_driver_sql("ROLLBACK")
            raise


@contextmanager
def committing(ask: Ask) -> Iterator[None]:
    """Run the statement that commits; raises OutcomeUnknown where the connection is lost under way.

    Nobody can say then whether the commit came through: asking again with the same id finds out.
    """
    began = monotonic()
    try:
        yield
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise OutcomeUnknown(str(ask.command_id), ask.trigger.value, round(monotonic() - began, 1)) from error


def run(engine: Engine, ask: Ask, decide: Decision, *, finishing: bool = False, relaying: bool = False) -> Outcome:
    """Do one command and return its outcome; a refusal is an outcome too, committed with its reason.

    finishing: take up a command that was left pending (its row is there); without it, a pending command answers with
    its pending outcome. relaying: the caller relays what follows at once; where nothing older waits, the commit claims
    that, and the outcome holds it.

    Raises Busy or Unavailable when nothing was written and the same call may work later; Forbidden for what is stored
    of a session out of scope.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _run_once(engine, ask, decide, finishing=finishing, relaying=relaying)
        except PreconditionFailed:
            # A unique index said no at the write: somebody took the account while we decided. Look again: whoever
            # it was has committed, and the decision finds and names them.
            continue
        except DBAPIError as error:
            if not is_outdated(error):
                raise
    raise Busy(f"the account of session {ask.session_id}", get_settings().db_lock_timeout_ms)


def _run_once(engine: Engine, ask: Ask, decide: Decision, *, finishing: bool, relaying: bool) -> Outcome:
    hashed, chain, payloads = args_hash(ask.canonical()), chain_key(engine), Payloads(engine)
    with transaction_span(ask), door(engine) as connection:
        row = _lock(connection, ask, hashed)
        payloads.learn(row)
        # Nobody else can claim it before we commit: rows come to the outbox under the session's lock alone.
        row["claimed"] = [] if relaying and row["relay_free"] else None
        repeated = _repeated(row, ask, hashed, payloads, finishing=finishing)
        if repeated is not None:
            connection.exec_driver_sql("ROLLBACK")
            return repeated
        return _decide_and_write(connection, row, ask, decide, Sealing(payloads, ask, row, hashed, chain))


def transaction_span(ask: Ask) -> AbstractContextManager[None]:
    """Return the span of a command's one transaction."""
    return traces.span("transaction", trigger=ask.trigger, command_id=ask.command_id, session_id=ask.session_id)


def _lock(connection: Connection, ask: Ask, hashed: bytes) -> Row:
    bound = {
        "command_id": ask.command_id,
        "session_id": ask.session_id,
        "trigger": ask.trigger.value,
        "actor": ask.actor.name,
        "args_hash": hashed,
        "expected_version": ask.expected_version,
        "begins": ask.trigger in ORDERED,
        "event_id": ask.arguments.get("event_id"),
    }
    row = dict(_lock_for(ask.trigger).run(connection, bound).mappings().one())
    asked = row.pop("asked") or ()
    row["approvals"] = [one for one in asked if one["kind"] == "approval"]
    row["hand_orders"] = [one for one in asked if one["kind"] == "order"]
    row["event"] = next((one for one in asked if one["kind"] == "event"), None)
    failpoint("command.locked")
    return row


def _lock_for(trigger: Trigger) -> Prepared:
    if trigger is Trigger.ACKNOWLEDGE:
        return SEND_LOCK_EVENT
    return SEND_LOCK_ASKED if trigger in ABOUT_PEOPLE else SEND_LOCK


def _repeated(row: Row, ask: Ask, hashed: bytes, payloads: Payloads, *, finishing: bool) -> Outcome | None:
    """Return the stored outcome of a command that was here before, or None for a fresh one."""
    state = row["command_state"]
    if state == "running":
        return None
    if bytes(row["command_args_hash"]) != hashed and not (finishing and _is_taken_up(row, ask, payloads)):
        conflict = CommandConflict(str(ask.command_id), row["command_trigger"])
        return Outcome(ask.command_id, ask.session_id, ask.trigger, "refused", error=conflict.to_dict())
    if finishing and state == "pending":
        return None
    if row["session_id"] is not None:
        refuse_outside(ask.actor, ask.trigger.value, ask.session_id, row["template_name"], row["tags"])
    return _stored(row, ask, payloads)


def _stored(row: Row, ask: Ask, payloads: Payloads) -> Outcome:
    found = payloads.open(row["command_session_id"], OUTCOME, ask.command_id, row["command_outcome"])
    return Outcome.from_dict(found, repeated=True)


def _is_taken_up(row: Row, ask: Ask, payloads: Payloads) -> bool:
    """Tell whether the ask was rebuilt from its command's row, where neither reason nor expected version stand."""
    arguments = payloads.open(row["command_session_id"], ARGUMENTS, ask.command_id, row["command_arguments"])
    stored = (row["command_trigger"], row["command_session_id"], arguments)
    return stored == (ask.trigger.value, ask.session_id, orjson.loads(to_json(ask.arguments)))


def _decide_and_write(connection: Connection, row: Row, ask: Ask, decide: Decision, sealing: Sealing) -> Outcome:
    try:
        check(row, ask)
        session_must_be_as_asked(connection, sealing.payloads, row, ask)
        changes = with_withdrawals(row, ask, decide(row, ask))
        for change in changes:
            check_table(row, ask, change.trigger or ask.trigger, change)
    except Rejected as error:
        return _refuse(connection, row, ask, error, sealing)
    if not changes and row["command_state"] == "pending":
        connection.exec_driver_sql("ROLLBACK")
        return _stored(row, ask, sealing.payloads)
    outcome, moves = None, list[tuple[str, str, str]]()
    for change in changes:
        last, before = change is changes[-1], row["status"]
        outcome = _write(connection, row, ask, change, sealing, commit=last)
        if change.to_status is not None:
            moves.append(((change.trigger or ask.trigger).value, before, change.to_status.value))
    if outcome is None:
        msg = "a decision must return at least one change"
        raise RuntimeError(msg)
    failpoint("command.committed")
    for move in moves:
        figures.TRANSITIONS.note(1, *move)
    return outcome


def check(row: Row, ask: Ask) -> None:
    """Check that the session is there, at the expected version, and that the table knows the trigger here."""
    if row["session_id"] is None:
        raise NotFound("session", str(ask.session_id), "See `fntx ls`.")
    refuse_outside(ask.actor, ask.trigger.value, ask.session_id, row["template_name"], row["tags"])
    # A command that waits was checked when it began to, and has raised the version itself since.
    fresh = row["command_state"] == "running"
    if fresh and ask.expected_version is not None and ask.expected_version != row["version"]:
        by = row["version_actor"] or row["status_actor"]
        raise VersionConflict(str(ask.session_id), ask.expected_version, row["version"], by)


def check_table(row: Row, ask: Ask, trigger: Trigger, change: Change) -> None:
    """Raise IllegalTransition for a change that the table does not know, after those that were checked before it."""
    if change.to_status is None:
        return
    status = SessionStatus(row.get("planned_status") or row["status"])
    if transitions.target(trigger, status) is not change.to_status:
        raise illegal(row, ask)
    row["planned_status"] = change.to_status.value


def illegal(row: Row, ask: Ask) -> IllegalTransition:
    """Return the refusal that names the status found, who set it, why, and what is possible now."""
    allowed = ", ".join(transitions.allowed_from(SessionStatus(row["status"]))) or "nothing, it has ended"
    reason = row["status_reason"] or "no reason given"
    return IllegalTransition(
        str(ask.session_id), ask.trigger.value, row["status"], row["status_actor"], reason, allowed
    )


def _write(connection: Connection, row: Row, ask: Ask, change: Change, sealing: Sealing, *, commit: bool) -> Outcome:
    before = dict(row)
    _apply(row, ask, change)
    outbox = outbox_of(row, ask, change)
    if row["claimed"] is not None:
        row["claimed"] += [{"session_id": ask.session_id, "version": row["version"], **entry} for entry in outbox]
    outcome = outcome_of(row, ask, change)
    entries = [audit(row, before, ask, change.state, sealing.args_hash, sealing.chain)]
    overtaken = _overtaken(before, row, ask)
    if overtaken is not None:
        entries.append(audit_overtaken(row, ask, overtaken, sealing.chain))
    bound = session_values(row) | {
        "command_id": ask.command_id,
        "command_state": change.state,
        "arguments": sealing.arguments(),
        "outcome": sealing.outcome(outcome),
        "transitions": to_json(transition_of(before, row, ask, change)),
        "audit": to_json(entries),
        "outbox": to_json(outbox),
        "relay_claimed": bool(row["claimed"]),
        "events": to_json(sealing.events(events_of(row, change))),
    }
    bound |= work_for(row, change)
    if not commit or change.rare or overtaken or not change.usual:
        bound |= seldom_values(row, ask, change, overtaken, sealing)
    if change.booked:
        bound["booked"] = to_json(list(change.booked))
    if change.asked:
        bound |= asked_rows(sealing, change.asked)
    bound |= {f"seen_{name}": value for name, value in (change.acknowledges or {}).items()}
    failpoint("command.before_commit")
    with committing(ask):
        _send_write(connection, change, bound, commit=commit)
    return outcome


def _send_write(connection: Connection, change: Change, bound: Row, *, commit: bool) -> None:
    if not commit or change.rare:
        connection.execute(_rare(change, commit=commit), bound)
    else:
        send = SEND_WRITE_ALL_COMMIT if "config" in bound else SEND_WRITE_COMMIT
        send.run(connection, bound, within=True)


def _rare(change: Change, *, commit: bool) -> TextClause:
    if not commit:
        return WRITE
    if change.asked:
        return WRITE_ASKED_COMMIT
    if change.acknowledges:
        return WRITE_ACKNOWLEDGE_COMMIT
    return WRITE_BOOK_COMMIT if change.booked else WRITE_SHRED_COMMIT


def _overtaken(before: Row, row: Row, ask: Ask) -> Outcome | None:
    """Return the refusal of the command that waited on this row and that this change leaves nothing to wait for."""
    waited, waits = before["pending"], row["pending"]
    if waited is None or waited["trigger"] == Trigger.FINALIZE or waited["command_id"] == str(ask.command_id):
        return None
    if waits is not None and waits["command_id"] == waited["command_id"]:
        return None
    error = PreconditionFailed(
        str(ask.session_id), waited["trigger"], "nothing overtakes it while it waits",
        f"{ask.trigger.value} by {ask.actor.name} came first", "Look at the session, then decide.",
    )  # fmt: skip
    return Outcome(
        UUID(waited["command_id"]), ask.session_id, Trigger(waited["trigger"]), "refused",
        SessionStatus(row["status"]), row["version"], row["epoch"], row["now"], error=error.to_dict(),
    )  # fmt: skip


def _apply(row: Row, ask: Ask, change: Change) -> None:
    """Move the in-memory row to what will be written."""
    row["version"] += 1
    if change.new_epoch:
        row["epoch"] += 1
    if change.to_status is not None:
        row["status"] = change.to_status.value
        row["status_since"] = row["now"]
        row["status_actor"] = ask.actor.name
        row["status_reason"] = change.reason if change.reason is not None else ask.reason
    row.update(change.fields)


def _refuse(connection: Connection, row: Row, ask: Ask, error: Rejected, sealing: Sealing) -> Outcome:
    status = row.get("status")
    outcome = Outcome(
        ask.command_id, ask.session_id, ask.trigger, "refused",
        SessionStatus(status) if status else None, row["version"], row["epoch"], row["now"], error=error.to_dict(),
    )  # fmt: skip
    entries = [] if row["session_id"] is None else [audit_refusal(row, ask, error, sealing)]
    bound = {
        "command_id": ask.command_id,
        "session_id": ask.session_id,
        "arguments": sealing.arguments(),
        "outcome": sealing.outcome(outcome),
        "audit": to_json(entries),
        "audit_seq": row["audit_seq"],
        "audit_head": row["audit_head"],
    }
    with committing(ask):
        connection.execute(REFUSE, bound)
    return outcome


def rehearse(engine: Engine, ask: Ask, decide: Decision) -> Rejected | None:
    """Return what a command would be refused with now, None when it would be done; nothing stays of it.

    Raises Busy and Unavailable.
    """
    with door(engine) as connection:
        row = _lock(connection, ask, args_hash(ask.canonical()))
        try:
            check(row, ask)
            for change in decide(row, ask):
                check_table(row, ask, change.trigger or ask.trigger, change)
        except Rejected as error:
            return error
        finally:
            connection.exec_driver_sql("ROLLBACK")
    return None


def stored_outcome(engine: Engine, command_id: UUID) -> Outcome | None:
    """Return what became of a command, or None when no such command was ever committed."""
    with statements(engine) as connection:
        found = connection.execute(REPEAT, {"command_id": command_id}).one_or_none()
    if found is None:
        return None
    plain = Payloads(engine).open(found.session_id or DESK, OUTCOME, command_id, found.outcome)
    return Outcome.from_dict(plain, repeated=True)


def share(connection: Connection, session_id: UUID, *, opening: bool = True) -> Row | None:
    """Lock the session row FOR SHARE within the caller's transaction, for the order gate; None: no such session.

    opening: order it with halts too, and put those that stand among the facts.
    """
    row = connection.execute(SHARE, {"session_id": session_id, "opening": opening}).mappings().one_or_none()
    return None if row is None else dict(row)
