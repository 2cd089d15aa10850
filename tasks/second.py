"""Commands that take two people: kept when the first asks, done in the first one's name once the second has agreed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import structlog
from celery.exceptions import SoftTimeLimitExceeded

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import (
    Fatal,
    NeedsSecond,
    NotConfirmed,
    NotFound,
    Rejected,
    Retryable,
    StackError,
    Unauthenticated,
)
from fntx_sessions.lifecycle import desk_audit
from fntx_sessions.lifecycle.arguments import CreateArguments, CreateFromTemplateArguments
from fntx_sessions.lifecycle.confirming import keeping, reading, rows, settling
from fntx_sessions.lifecycle.confirming.arguments import SettleArguments
from fntx_sessions.lifecycle.denying import outcome_of
from fntx_sessions.lifecycle.desk_audit import Deed
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.origin import origin, set_origin
from fntx_sessions.security.scope import admitted
from fntx_sessions.security.still_good import must_be_still_good
from fntx_sessions.settings import get_settings
from fntx_sessions.testing import failpoint
from tasks.about import About
from tasks.desk import desk
from tasks.handlers import Call, Handler

Answer = dict[str, Any]
Row = dict[str, Any]
log = structlog.get_logger(__name__)
# Of what was confirmed and whose confirmer died: when the sweep begins with it, and how long one has for it.
_HEAD_START_S, _LEASE_S = 30.0, 60.0
_AT_ONCE = 20
_FORGOTTEN_AT_ONCE = 500

# Every command by its task's name.
_commands: dict[str, Handler] = {}
# Of those that may wait: what they are about as they are asked.
_about: dict[str, About] = {}


def register(name: str, handler: Handler, about: About | None) -> None:
    """Know a command, so that it can be done once it is confirmed, and of what is as it was asked."""
    _commands[name] = handler
    if about is not None:
        _about[name] = about


def run(name: str, handler: Handler, actor: Actor, call: Call, keywords: Mapping[str, Any]) -> Answer:
    """Run a command; one that takes two people is kept, or done where the second has agreed.

    Raises NeedsSecond while it waits, and NotConfirmed where it was declined or its time is up.
    """
    if not get_settings().four_eyes:
        # Only a desk on which anything takes two people pays for the look.
        found: Answer = handler.run(actor, call)
        return found
    wanted = _wanted(name, actor, call, keywords)
    kept = _kept(wanted)
    if kept is not None:
        return _of_two(kept)
    try:
        found = handler.run(actor, call)
    except NeedsSecond as error:
        if wanted is None:
            msg = f"{name} takes two people, but has no command id to wait under"
            raise RuntimeError(msg) from error
        at, about = desk(), _about.get(name)
        facts = about(actor, call.arguments) if about else None
        return _of_two(keeping.keep(at.engine, at.settings, replace(wanted, action=str(error.args[0]), about=facts)))
    return found


def _wanted(name: str, actor: Actor, call: Call, keywords: Mapping[str, Any]) -> keeping.Wanted | None:
    if call.command_id is None:
        return None
    own = {key: value for key, value in keywords.items() if key != "command_id"}
    # One that is yet to be made has no key to seal with, and nothing to be told of.
    about = None if isinstance(call.arguments, CreateArguments | CreateFromTemplateArguments) else call.session_id
    return keeping.Wanted(call.command_id, name, "", own, about, actor)


def _kept(wanted: keeping.Wanted | None) -> Row | None:
    """Return the row of a command that was kept before: under its id nothing else is done, whoever asks."""
    if wanted is None:
        return None
    with transaction(desk().engine) as connection:
        row = rows.find(connection, wanted.command_id)
    if row is not None:
        keeping.must_be_same(row, wanted)
    return row


def _of_two(row: Row) -> Answer:
    if row["state"] == "confirmed":
        return carry_out(row)
    raise keeping.ended(row) or keeping.waits(row, reading.needed(row["action"]))


def confirm(actor: Actor, arguments: SettleArguments) -> Answer:
    """Confirm what waits, and do it; returns it as it is shown, with what the command answered as `answer`."""
    at = desk()
    found = _found(arguments.confirmation)
    if found["state"] == "waiting":
        _must_still_ask(found)
    row = settling.confirm(at.engine, admitted(at.engine, actor, found["session_id"]), arguments)
    failpoint("confirmation.confirmed")
    answer = carry_out(row)
    return _shown(arguments.confirmation) | {"answer": answer}


def _must_still_ask(row: Row) -> None:
    at = desk()
    try:
        must_be_still_good(keeping.asker(at.engine, row), at.settings)
    except Unauthenticated as error:
        told = f"{row['asked_by']}, who asked, may ask for nothing by now: {error.args[0]}"
        raise NotConfirmed(row["action"], str(row["command_id"]), told) from error


def decline(actor: Actor, arguments: SettleArguments) -> Answer:
    """Decline what waits; returns it as it is shown, with None as `answer`."""
    engine = desk().engine
    found = _found(arguments.confirmation)
    settling.decline(engine, admitted(engine, actor, found["session_id"]), arguments)
    return _shown(arguments.confirmation) | {"answer": None}


def _found(command_id: UUID) -> Row:
    with transaction(desk().engine) as connection:
        row = rows.find(connection, command_id)
    if row is None:
        raise NotFound("confirmation", str(command_id), "See `fntx confirmations ls --all`.")
    return row


def carry_out(row: Row) -> Answer:
    """Do what was confirmed, under its own id in the name of who asked, and return what it answers; done, it answers.

    What it is refused with is its answer. Raises what may work later: it stays to be done then.
    """
    engine, here = desk().engine, origin()
    set_origin(here.host, row["task"])
    try:
        answer = _attempted(row)
    finally:
        set_origin(here.host, here.task)
    with transaction(engine) as connection:
        rows.done(connection, row["command_id"])
    return answer


def _attempted(row: Row) -> Answer:
    engine = desk().engine
    actor = keeping.asker(engine, row)
    try:
        return _done(row, actor)
    except (Retryable, SoftTimeLimitExceeded, NeedsSecond):
        raise
    except (Rejected, Fatal) as error:
        outcome, told = outcome_of(error), error.to_dict()
    except Exception as error:
        log.exception("confirmed_command_failed", command_id=str(row["command_id"]))
        outcome, told = (
            "failed",
            Fatal(f"{row['task']} failed for a reason of its own: {type(error).__name__}").to_dict(),
        )
    if row["done_at"] is None:
        target, why = keeping.target(row["task"], row["session_id"]), told["message"]
        deed = Deed(row["action"], outcome, target, why, row["command_id"], bytes(row["args_hash"]))
        desk_audit.record(engine, actor, deed)
    state = "error" if outcome == "failed" else "refused"
    session_id = str(row["session_id"]) if row["session_id"] else None
    return {"command_id": str(row["command_id"]), "session_id": session_id, "state": state, "error": told}


def _done(row: Row, actor: Actor) -> Answer:
    handler = _commands.get(row["task"])
    if handler is None:
        raise StackError(f"{row['task']} is not known to this worker", "Let all workers run the same version.")
    arguments = keeping.arguments_of(desk().engine, row)
    limit = get_settings().command_max_argument_bytes
    answer: Answer = handler.run(actor, handler.parse((), arguments, str(row["command_id"]), limit))
    return answer


def bring_up_to_now(actor: Actor) -> None:
    """End what nobody confirmed in time, do what was confirmed by somebody whose worker died, forget what is over."""
    at = desk()
    settling.expire(at.engine, actor, _AT_ONCE)
    with transaction(at.engine) as connection:
        left = rows.claim(connection, _HEAD_START_S, _LEASE_S, _AT_ONCE)
    for command_id in left:
        _take_up(command_id)
    with transaction(at.engine) as connection:
        rows.forget(connection, at.settings.four_eyes_keep_s, _FORGOTTEN_AT_ONCE)


def _take_up(command_id: UUID) -> None:
    with transaction(desk().engine) as connection:
        row = rows.find(connection, command_id)
    if row is None:
        return
    try:
        carry_out(row)
    except Retryable as error:
        log.warning("confirmed_command_waits", command_id=str(command_id), problem=str(error))


def _shown(command_id: UUID) -> Answer:
    return reading.get_confirmation(desk().engine, command_id).model_dump(mode="json")
