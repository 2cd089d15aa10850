"""A fork: a new session with another's settings, roster and memory. Orders, positions and money are never copied.

What of the loss limit is used is: by account and trade date.
"""

from dataclasses import replace
from typing import Any
from uuid import UUID

from redis import Redis
from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import IntegrityError, NotFound, PreconditionFailed, Shredded
from fntx_sessions.lifecycle import commands, creation, machine, templates
from fntx_sessions.lifecycle.arguments import ForkArguments
from fntx_sessions.lifecycle.beforehand import unkeepable
from fntx_sessions.lifecycle.carrying import carry_loss
from fntx_sessions.lifecycle.change import Ask, Outcome, Row
from fntx_sessions.lifecycle.confirming import about
from fntx_sessions.lifecycle.feeds import check_feed
from fntx_sessions.schemas import SessionTemplate, SessionType, Trigger
from fntx_sessions.settings import Settings
from fntx_sessions.state import forks
from fntx_sessions.state.identity import identity_under

# No order of these can reach a market.
_SAFE = frozenset({SessionType.PAPER_TRADING, SessionType.BACKTEST})
_PAPER = "paper"

_PARENT = text("""
SELECT s.*,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('agent', g.agent, 'required', g.required, 'hosted', g.hosted)
      ORDER BY array_position(ARRAY(SELECT jsonb_array_elements_text(s.roster)), g.agent)), '[]')
    FROM session_agents g WHERE g.session_id = s.session_id) AS agents
FROM sessions s WHERE s.session_id = :session_id
""")


def may_be_live(arguments: ForkArguments) -> bool:
    """Tell whether orders of the fork could reach a market: that takes more than an operator."""
    return arguments.session_type not in _SAFE


def fork(engine: Engine, redis: Redis, settings: Settings, ask: Ask, arguments: ForkArguments) -> Outcome:
    """Make the session of `ask`, with its memory, in one transaction; asked twice, it answers twice and acts once.

    Raises NotFound, InvalidArgument, PreconditionFailed, IntegrityError, Shredded, Busy and Unavailable: nothing was
    made.
    """
    found = creation.answered(engine, ask)
    if found is not None:
        return found
    planned = _plan(engine, arguments)
    under = identity_under(
        planned.template.template_name,
        planned.template.version,
        planned.config,
        [item["agent"] for item in planned.agents],
    )
    heritage = forks.inherit(
        engine, redis, settings, arguments.session_id, arguments.checkpoint_id, ask.session_id, under, ask.actor.name
    )

    def bring(connection: Connection) -> None:
        heritage.store(connection)
        carry_loss(connection, arguments.session_id, ask.session_id)

    return creation.create(engine, settings, ask, replace(planned, brings=bring))


def start(engine: Engine, redis: Redis, settings: Settings, ask: Ask) -> Outcome:
    """Do start_session; a fork's memory is put into the live state first.

    Refused where that cannot be read, or where its agents reported what cannot be kept.
    """
    try:
        forks.recall(engine, redis, settings, ask.session_id)
    except (IntegrityError, Shredded) as error:
        condition, fix = "the memory it was forked with can be read", "Stop it and fork again."
        refusal = PreconditionFailed(str(ask.session_id), ask.trigger.value, condition, str(error), fix)
        return machine.run(engine, ask, commands.refuse(refusal))
    unkept = unkeepable(redis, settings, ask.session_id)
    if unkept is not None:
        return machine.run(engine, ask, commands.refuse(unkept))
    return machine.run(engine, ask, commands.start, relaying=True)


def _plan(engine: Engine, arguments: ForkArguments) -> creation.Plan:
    with transaction(engine) as connection:
        found = connection.execute(_PARENT, {"session_id": arguments.session_id}).mappings().one_or_none()
        if found is None:
            raise NotFound("session", str(arguments.session_id), "See `fntx ls`.")
        parent = dict(found)
        template = templates.load(connection, parent["template_name"] or templates.BY_TYPE[arguments.session_type])
    config = _config(parent["config"], arguments)
    check_feed(arguments.session_type, config)
    names, parameters = templates.checked_strategies(parent["enabled_strategies"], parent["strategy_parameters"])
    return creation.Plan(
        arguments.session_type,
        _as_then(template, parent),
        config,
        templates.checked_risk(parent["risk_parameters"]),
        names,
        parameters,
        parent["agents"],
        arguments.session_id,
        from_template=False,
        parent=about.of_session(Trigger.CREATE, parent, {}),
    )


def _as_then(template: SessionTemplate, parent: Row) -> SessionTemplate:
    """Return the template in the version the parent was made of: its settings are the parent's own anyway."""
    return template.model_copy(update={"version": parent["template_version"] or template.version})


def _config(config: dict[str, Any], arguments: ForkArguments) -> dict[str, Any]:
    own = {"account": arguments.account}
    if arguments.session_type in _SAFE:
        own["broker"] = _PAPER
    return templates.checked_config(config | own, changed=own)


def fork_id(command_id: UUID) -> UUID:
    """Return the id of the session that a command forks: delivered twice, it means the same session."""
    return UUID(int=command_id.int ^ _SALT)


_SALT = 0xF02C5E55
