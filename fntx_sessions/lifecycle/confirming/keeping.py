"""Keeping what takes two people until the second has spoken: sealed, once per command id, and in the desk's chain."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Engine

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import (
    CommandConflict,
    FntxError,
    IntegrityError,
    NeedsSecond,
    NotConfirmed,
    NotFound,
    Rejected,
    Shredded,
    verb,
)
from fntx_sessions.lifecycle import desk_audit
from fntx_sessions.lifecycle.confirming import rows
from fntx_sessions.lifecycle.confirming.sealing import Asked, opened, sealed
from fntx_sessions.lifecycle.desk_audit import Deed
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.audit import args_hash
from fntx_sessions.settings import Settings
from fntx_sessions.state.event_rows import StateEvent, add_events
from fntx_sessions.state.payloads import DESK, Payloads, sealable
from fntx_sessions.testing import failpoint

Row = dict[str, Any]
_ACTOR = "confirmation_actor"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A command as it was asked, with who asked, the action that takes two people, and what it is about."""

    command_id: UUID
    task: str
    action: str
    arguments: Mapping[str, Any]
    session_id: UUID | None
    actor: Actor
    about: dict[str, Any] | None = None

    @property
    def hash(self) -> bytes:
        """What tells whether the same id is used for the same thing."""
        return args_hash(orjson.dumps([self.task, self.arguments], option=orjson.OPT_SORT_KEYS, default=str))

    @property
    def reason(self) -> str:
        """Why, as far as it was said."""
        return str(self.arguments.get("reason") or "")


def keep(engine: Engine, settings: Settings, wanted: Wanted) -> Row:
    """Keep what is wanted until a second person speaks, and return its row; asked again, the row as it is now.

    Raises NotFound for a session there is not, CommandConflict where the id is another command's or somebody else's,
    and Rejected where too much of the asker's waits already.
    """
    with transaction(engine) as connection:
        found = rows.find(connection, wanted.command_id)
        owner = DESK if found else _owner(connection, wanted)
    if found is None:
        found = _kept(engine, settings, wanted, _row(engine, settings, wanted, owner))
    must_be_same(found, wanted)
    return found


def must_be_same(row: Row, wanted: Wanted) -> None:
    """Raise CommandConflict where an id was used for something else, or by somebody else."""
    if bytes(row["args_hash"]) != wanted.hash or row["asked_by"] != wanted.actor.name:
        raise CommandConflict(str(wanted.command_id), row["action"])


def _kept(engine: Engine, settings: Settings, wanted: Wanted, row: Row) -> Row:
    with transaction(engine) as connection:
        if rows.waiting_of(connection, wanted.actor.name) >= settings.four_eyes_waiting_max:
            most = f"{settings.four_eyes_waiting_max} commands of {wanted.actor.name} wait for a second person already"
            raise Rejected(f"{most}. Nothing was stored. Have some confirmed or declined: `fntx confirmations ls`.")
        if rows.hold(connection, row):
            deed = Deed(
                wanted.action,
                "pending",
                target(wanted.task, wanted.session_id),
                wanted.reason,
                wanted.command_id,
                wanted.hash,
            )
            _tell(connection, wanted)
            desk_audit.record_in(connection, wanted.actor, deed)
        failpoint("confirmation.before_keep")
        found = rows.find(connection, wanted.command_id)
    if found is None:
        msg = "a confirmation was stored and is not there"
        raise RuntimeError(msg)
    return found


def _tell(connection: Connection, wanted: Wanted) -> None:
    if wanted.session_id is not None and wanted.action != Trigger.CREATE:
        told = f"{wanted.actor.name} asked to {verb(wanted.action)}: it takes two people (`fntx confirmations ls`)"
        once = str(wanted.command_id)
        add_events(connection, [StateEvent(wanted.session_id, "second_person_needed", once, told)])


def _owner(connection: Connection, wanted: Wanted) -> UUID:
    """Return whose key seals it: the session's, but where that is to be destroyed by it, or is gone."""
    if wanted.session_id is None or wanted.action == Trigger.CREATE:
        return DESK
    there, has_key = rows.session(connection, wanted.session_id)
    if not there:
        raise NotFound("session", str(wanted.session_id), "See `fntx ls`.")
    return wanted.session_id if has_key and wanted.action != Trigger.SHRED else DESK


def _row(engine: Engine, settings: Settings, wanted: Wanted, owner: UUID) -> Row:
    payloads, ends_at = Payloads(engine), wanted.actor.ends_at
    return {
        "command_id": wanted.command_id,
        "task": wanted.task,
        "action": wanted.action,
        "session_id": wanted.session_id,
        "arguments": sealed(payloads, owner, wanted.command_id, Asked(dict(wanted.arguments), wanted.about)),
        "args_hash": wanted.hash,
        "asked_by": wanted.actor.name,
        "asked_roles": wanted.actor.role_list(),
        "asked_token_id": wanted.actor.token_id or None,
        "actor": payloads.seal(DESK, _ACTOR, wanted.command_id, _as_json(wanted.actor)),
        "reason": wanted.reason[:2000],
        "ttl_s": settings.four_eyes_ttl_s,
        "token_ends_at": None if ends_at is None else ends_at + settings.token_leeway_s,
    }


def target(task: str, session_id: UUID | None) -> str:
    """Return what the desk's chain says a confirmation is about."""
    return task if session_id is None else f"{task} {session_id}"


def arguments_of(engine: Engine, row: Row) -> dict[str, Any]:
    """Return what a kept command was asked with; raises Shredded and IntegrityError."""
    return opened(Payloads(engine), row).arguments


def shown_asked(engine: Engine, row: Row) -> Asked | None:
    """Return what was asked, and about what, for whoever looks; None where it cannot be read any more."""
    try:
        return opened(Payloads(engine), row)
    except (Shredded, IntegrityError):
        return None


def asker(engine: Engine, row: Row) -> Actor:
    """Return who asked, as verified then, and confirmed as the row says."""
    kept = Payloads(engine).open(DESK, _ACTOR, row["command_id"], row["actor"])
    known: dict[str, Any] = {one.name: kept[one.name] for one in fields(Actor) if one.name in kept}
    known |= {name: frozenset(value) for name, value in known.items() if isinstance(value, list)}
    roles = frozenset((row["settled_roles"] or "").split(",")) - {""}
    return replace(Actor(**known), confirmed_by=row["settled_by"] or "", confirmed_roles=roles)


def _as_json(actor: Actor) -> dict[str, Any]:
    known = {one.name: getattr(actor, one.name) for one in fields(actor)}
    plain = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in known.items()}
    found: dict[str, Any] = orjson.loads(sealable(plain))
    return found


def waits(row: Row, needed: str) -> NeedsSecond:
    """Return what whoever asks is told while it waits."""
    until = row["expires_at"].isoformat(timespec="seconds")
    return NeedsSecond(row["action"], row["asked_by"], needed, str(row["command_id"]), until)


def ended(row: Row) -> FntxError | None:
    """Return why it will not be done: declined, or over; None: it waits, or was confirmed."""
    if row["state"] == "rejected":
        why = f": {row['settled_reason']}" if row["settled_reason"] else ""
        return NotConfirmed(row["action"], str(row["command_id"]), f"{row['settled_by']} said no{why}")
    if row["state"] == "expired" or row["overdue"]:
        until = row["expires_at"].isoformat(timespec="seconds")
        return NotConfirmed(row["action"], str(row["command_id"]), f"nobody confirmed until {until}")
    return None
