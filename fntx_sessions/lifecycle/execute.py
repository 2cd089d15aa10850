"""What happens when a command is asked: authority, the machine, then its follow-ups at once.

Tasks, sweeps and the host all come through here; none of them decides anything itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import structlog
from redis import Redis
from sqlalchemy import Engine
from structlog.contextvars import bound_contextvars

from fntx_sessions.agents.registry import known_agents
from fntx_sessions.automation.rules.checking import check_rules
from fntx_sessions.database.engine import statements
from fntx_sessions.exceptions import Forbidden, InvalidArgument, Unavailable
from fntx_sessions.lifecycle import (
    accepting,
    checkpointing,
    commands,
    creation,
    denying,
    forking,
    machine,
    outbox,
    shredding,
    templates,
)
from fntx_sessions.lifecycle.arguments import (
    CommandArguments,
    CreateArguments,
    CreateFromTemplateArguments,
    ForkArguments,
)
from fntx_sessions.lifecycle.change import Ask, Outcome
from fntx_sessions.lifecycle.recovery.run import recover
from fntx_sessions.schemas import SessionTemplate, Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.audit import args_hash
from fntx_sessions.security.origin import asker
from fntx_sessions.security.roles import FORK_LIVE, authorize, authorize_template, permit
from fntx_sessions.security.scope import admitted
from fntx_sessions.settings import Settings

log = structlog.get_logger(__name__)

# What is more than one transaction of the machine.
_STEPWISE: dict[Trigger, Callable[[Engine, Redis, Settings, Ask], Outcome]] = {
    Trigger.RECOVER: recover,
    Trigger.START: forking.start,
    Trigger.CHECKPOINT: checkpointing.checkpoint,
    Trigger.PIN: checkpointing.pin,
    Trigger.PRUNE: checkpointing.prune,
    Trigger.SHRED: shredding.shred,
    Trigger.ACCEPT: accepting.accept,
}


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command needs at hand: the two stores and the settings of this process."""

    engine: Engine
    redis: Redis
    settings: Settings

    def parts(self) -> tuple[Engine, Redis, Settings]:
        """Return all three, for those below who take them one by one."""
        return self.engine, self.redis, self.settings


def command(desk: Desk, trigger: Trigger, actor: Actor, arguments: CommandArguments, command_id: UUID) -> Outcome:
    """Do one command on a session and return its outcome; asked again with the same id, it only answers.

    A refusal is an outcome too, stored and audited. One for lack of authority is audited and not stored: asked again it
    is judged anew, and whoever may not ask is never told what another got under that id. Raises Busy and Unavailable,
    when nothing was written.
    """
    ask = _ask(trigger, actor, arguments, command_id)
    with bound_contextvars(session_id=str(ask.session_id), command_id=str(command_id), actor=actor.name):
        return _done(desk, ask)


def permitted(desk: Desk, actor: Actor, trigger: Trigger, session_id: UUID) -> bool:
    """Tell whether a caller may ask for this at all, alone or as one of two; asked before anything is looked at for it.

    What they may not goes to `command` all the same, which refuses and audits it. Raises Busy and Unavailable.
    """
    try:
        permit(admitted(desk.engine, actor, session_id), trigger.value, session_id)
    except Forbidden:
        return False
    return True


def _done(desk: Desk, ask: Ask) -> Outcome:
    trigger = ask.trigger
    ask = replace(ask, actor=admitted(desk.engine, ask.actor, ask.session_id))
    try:
        authorize(ask.actor, trigger.value, ask.session_id)
        outcome = _decided(desk, ask)
    except Forbidden as error:
        return _denied(desk, ask, error)
    follow_up(desk, outcome)
    return outcome


def _decided(desk: Desk, ask: Ask) -> Outcome:
    try:
        check_rules(ask.arguments.get("config") or {})  # now: no plug-in is waited for under a lock
    except InvalidArgument as error:
        return machine.run(desk.engine, ask, commands.refuse(error))
    if ask.trigger in _STEPWISE:
        return _STEPWISE[ask.trigger](desk.engine, desk.redis, desk.settings, ask)
    return machine.run(desk.engine, ask, commands.DECISIONS[ask.trigger], relaying=True)


def _denied(desk: Desk, ask: Ask, error: Forbidden) -> Outcome:
    """Return the denial, audited in its session's chain; raises it where it may not be written there.

    Beyond a caller's allowance a denial costs no transaction and no lock: nothing they send can slow a stop.
    """
    asked = {"session_id": str(ask.session_id), "command_id": ask.command_id}
    deed = denying.deed_of(error, ask.trigger.value, asked)
    deed = replace(deed, target=ask.target or deed.target, args_hash=args_hash(ask.canonical()))
    if asker() is not None and not denying.may_be_written(desk.settings, desk.redis, ask.actor, deed):
        raise error
    denying.write(desk.engine, ask.actor, deed, ask.session_id)
    return Outcome(ask.command_id, ask.session_id, ask.trigger, "refused", error=error.to_dict())


def _ask(trigger: Trigger, actor: Actor, arguments: CommandArguments, command_id: UUID) -> Ask:
    own = arguments.model_dump(mode="json", exclude={"session_id", "reason", "expected_version"}, exclude_none=True)
    asked = (arguments.reason, command_id, own, arguments.expected_version, arguments.target)
    return Ask(trigger, arguments.session_id, actor, *asked)


def create(desk: Desk, actor: Actor, arguments: CreateArguments, command_id: UUID) -> Outcome:
    """Create a session of a type from that type's own template; raises as `command` does."""
    template = _template(desk, templates.BY_TYPE[arguments.session_type])
    return _create(desk, actor, arguments, command_id, template, named=False)


def create_from_template(desk: Desk, actor: Actor, arguments: CreateFromTemplateArguments, command_id: UUID) -> Outcome:
    """Create a session from a named template and overrides; raises NotFound for an unknown template."""
    template = _template(desk, arguments.template_name)
    asked = creation.from_template(template, arguments)
    return _create(desk, actor, asked, command_id, template, named=True)


def _template(desk: Desk, name: str) -> SessionTemplate:
    with statements(desk.engine) as connection:
        return templates.load(connection, name)


def _create(
    desk: Desk, actor: Actor, arguments: CreateArguments, command_id: UUID, template: SessionTemplate, *, named: bool
) -> Outcome:
    authorize_template(actor, Trigger.CREATE.value, template.template_name)
    # The id follows from the command's, so that a command delivered twice means the same session.
    session_id = arguments.session_id or UUID(int=command_id.int ^ _SESSION_SALT)
    own = arguments.model_dump(mode="json", exclude={"reason"}) | {"template": template.template_name}
    ask = Ask(Trigger.CREATE, session_id, actor, arguments.reason, command_id, own)
    try:
        planned = _plan(desk, template, arguments, named=named)
    except InvalidArgument:
        # It may have been done before its template was edited or retired: asked again, it answers alike.
        found = creation.answered(desk.engine, ask)
        if found is None:
            raise
        return found
    outcome = creation.create(desk.engine, desk.settings, ask, planned)
    follow_up(desk, outcome)
    return outcome


def _plan(desk: Desk, template: SessionTemplate, arguments: CreateArguments, *, named: bool) -> creation.Plan:
    hosted = frozenset(known_agents())
    templates.usable(template)
    if not arguments.config.get("agents"):
        templates.check_agents(template, hosted)
    return creation.plan(template, arguments, hosted, named=named, defaults=creation.desk_defaults(desk.settings))


_SESSION_SALT = 0x5E5510


def fork(desk: Desk, actor: Actor, arguments: ForkArguments, command_id: UUID) -> Outcome:
    """Make a new session with another one's settings and memory; raises as `forking.fork` does, and Forbidden."""
    # Not for a token that is good for some sessions alone: it makes another one, on any account.
    authorize(actor, FORK_LIVE if forking.may_be_live(arguments) else Trigger.CREATE.value)
    own = arguments.model_dump(mode="json", exclude={"session_id", "reason"}) | {"fork_of": str(arguments.session_id)}
    ask = Ask(Trigger.CREATE, forking.fork_id(command_id), actor, arguments.reason, command_id, own)
    outcome = forking.fork(desk.engine, desk.redis, desk.settings, ask, arguments)
    follow_up(desk, outcome)
    return outcome


def system_command(desk: Desk, trigger: Trigger, actor: Actor, arguments: CommandArguments) -> Outcome:
    """Do a command the system asks for by itself, once, under an id of its own."""
    return command(desk, trigger, actor, arguments, uuid4())


def follow_up(desk: Desk, outcome: Outcome) -> None:
    """Relay what follows the commit now rather than at the next sweep; Redis away is no reason to fail a command."""
    if outcome.state == "refused" or outcome.repeated:
        return
    try:
        if outcome.claimed:
            outbox.relay_claimed(desk.engine, desk.redis, desk.settings, outcome.claimed)
        else:
            outbox.relay_session(desk.engine, desk.redis, desk.settings, outcome.session_id)
    except Unavailable as error:
        log.warning("follow_up_delayed", session_id=str(outcome.session_id), problem=str(error))
