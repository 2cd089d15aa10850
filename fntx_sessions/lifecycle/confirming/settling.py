"""The second person's word: yes or no, once; and the end of what nobody spoke for in time."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import Forbidden, NotFound, PreconditionFailed, verb
from fntx_sessions.lifecycle import desk_audit
from fntx_sessions.lifecycle.confirming import rows
from fntx_sessions.lifecycle.confirming.arguments import SettleArguments
from fntx_sessions.lifecycle.confirming.keeping import ended, target
from fntx_sessions.lifecycle.desk_audit import Deed
from fntx_sessions.schemas import Severity
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.four_eyes import same_person
from fntx_sessions.security.roles import permit, seconds
from fntx_sessions.state.event_rows import StateEvent, add_events
from fntx_sessions.testing import failpoint

Row = dict[str, Any]
CONFIRM, DECLINE, EXPIRE = "confirm", "decline", "expire"
_WORDS = {"confirmed": "confirmed", "rejected": "declined", "expired": "confirmed in time"}
log = structlog.get_logger(__name__)


def confirm(engine: Engine, actor: Actor, arguments: SettleArguments) -> Row:
    """Settle what waits as confirmed by `actor`, and return its row; confirmed before, as it is.

    Raises NotFound, Forbidden (who asked themselves, or may not do it themselves), and NotConfirmed where it was
    declined or its time is up.
    """

    def decide(connection: Connection, row: Row) -> None:
        _must_be_second(actor, row)
        if row["state"] == "confirmed":
            return
        if (error := ended(row)) is not None:
            raise error
        _settle(connection, actor, row, "confirmed", CONFIRM, arguments.reason)

    return _decided(engine, arguments.confirmation, decide)


def decline(engine: Engine, actor: Actor, arguments: SettleArguments) -> Row:
    """Settle what waits as declined, or taken back by who asked, and return its row; declined before, as it is.

    Raises NotFound, Forbidden for who may not do it themselves, PreconditionFailed once it is confirmed, NotConfirmed
    where its time is up.
    """

    def decide(connection: Connection, row: Row) -> None:
        if not same_person(actor.name, row["asked_by"]):
            permit(actor, row["action"], row["session_id"])
        if row["state"] == "rejected":
            return
        if row["state"] == "confirmed":
            raise PreconditionFailed(
                str(row["session_id"] or "of no one session"), DECLINE, "it waits",
                f"{row['settled_by']} confirmed it before", "Look at what it came to: `fntx confirmations ls --all`.",
            )  # fmt: skip
        if (error := ended(row)) is not None:
            raise error
        _settle(connection, actor, row, "rejected", DECLINE, arguments.reason)

    return _decided(engine, arguments.confirmation, decide)


def expire(engine: Engine, host_actor: Actor, limit: int) -> int:
    """End what nobody confirmed in time, up to `limit` of them; return how many.

    One at a time: each holds the end of the desk's chain, which all deeds wait for, for no longer than its own row.
    """
    for ended_so_far in range(limit):
        with transaction(engine) as connection:
            found = rows.overdue(connection, 1)
            for row in found:
                _settle(connection, host_actor, row, "expired", EXPIRE, "nobody confirmed it in time")
        if not found:
            return ended_so_far
    return limit


def _decided(engine: Engine, command_id: UUID, decide: Callable[[Connection, Row], None]) -> Row:
    with transaction(engine) as connection:
        row = rows.find(connection, command_id, lock=True)
        if row is None:
            raise NotFound("confirmation", str(command_id), "See `fntx confirmations ls --all`.")
        decide(connection, row)
        failpoint("confirmation.before_settled")
        return rows.find(connection, command_id) or row


def _must_be_second(actor: Actor, row: Row) -> None:
    permit(actor, row["action"], row["session_id"])
    of_people = seconds(row["action"])
    if actor.roles.isdisjoint(of_people) or same_person(actor.name, row["asked_by"]):
        asked, needed = f"confirm what {row['asked_by']} asked for", " or ".join(sorted(of_people))
        raise Forbidden(actor.name, actor.role_list(), asked, f"somebody else with the role {needed}")


def _tell(connection: Connection, actor: Actor, row: Row, state: str) -> None:
    if row["session_id"] is None:
        return
    by = "nobody" if state == "expired" else actor.name
    told = f"{verb(row['action'])}, asked for by {row['asked_by']}: {_WORDS[state]} by {by}"
    severity = Severity.INFO if state == "confirmed" else Severity.WARNING
    once = str(row["command_id"])
    add_events(connection, [StateEvent(row["session_id"], "second_person_said", once, told, severity)])


def _settle(connection: Connection, actor: Actor, row: Row, state: str, action: str, reason: str) -> None:
    rows.settle(connection, row["command_id"], state, actor.name, actor.role_list(), reason)
    _tell(connection, actor, row, state)
    about = f"{row['action']}: {target(row['task'], row['session_id'])} asked for by {row['asked_by']}"
    deed = Deed(action, "done", about, reason, row["command_id"], bytes(row["args_hash"]))
    desk_audit.record_in(connection, actor, deed)
    log.warning("second_person", deed=action, of=row["action"], asked_by=row["asked_by"], by=actor.name)
