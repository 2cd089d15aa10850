"""create_session: the one command that has no row to lock yet."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from fntx_sessions import figures, traces
from fntx_sessions.agents.registry import known_agents
from fntx_sessions.exceptions import CommandConflict, Forbidden, InvalidArgument, Rejected
from fntx_sessions.lifecycle import templates
from fntx_sessions.lifecycle.arguments import CreateArguments, CreateFromTemplateArguments
from fntx_sessions.lifecycle.by_itself import must_be_two_to_make
from fntx_sessions.lifecycle.change import Ask, Outcome, Row
from fntx_sessions.lifecycle.confirming import about
from fntx_sessions.lifecycle.creation_sql import CLAIM, INSERT, INSERT_COMMIT, REFUSE
from fntx_sessions.lifecycle.feeds import check_feed, unrecorded
from fntx_sessions.lifecycle.machine import committing, door, transaction_span
from fntx_sessions.lifecycle.records import audit_entry, to_json
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import AgentName, Model, SessionStatus, SessionTemplate, SessionType
from fntx_sessions.security import scope
from fntx_sessions.security.audit import args_hash, chain_hash
from fntx_sessions.security.roles import outside
from fntx_sessions.settings import Settings
from fntx_sessions.state.chain_key import ChainKey, chain_key
from fntx_sessions.state.payloads import ARGUMENTS, DESK, OUTCOME, Payloads
from fntx_sessions.testing import failpoint
from fntx_sessions.trading.brokers import check_broker
from fntx_sessions.trading.metrics import INVENTED_NOTICE, PAPER_NOTICE

_CONFIGURATIONS = "agent_configurations"
# The share of two names that is the same from which on one may be meant for the other.
_ALIKE = 0.85


@dataclass(frozen=True, slots=True)
class Plan:
    """A new session, fully resolved and checked, before it touches the database."""

    session_type: SessionType
    template: SessionTemplate
    config: dict[str, Any]
    risk_parameters: dict[str, Any]
    enabled_strategies: list[str]
    strategy_parameters: dict[str, Any]
    agents: list[dict[str, Any]]
    parent_session_id: UUID | None
    from_template: bool
    # What else is written in the same transaction: a fork's memory.
    brings: Callable[[Connection], None] | None = None
    # What it is made of, where that is no template: a fork's parent as it was read.
    parent: about.Facts | None = None


def desk_defaults(settings: Settings) -> dict[str, Any]:
    """Return the config keys whose defaults are settings of the desk; a template or a caller may say otherwise."""
    return {
        "save_interval_s": settings.save_interval_s,
        "checkpoint_interval_s": settings.checkpoint_interval_s,
        "step_interval_s": settings.step_interval_s,
        "wait_ready_s": settings.start_wait_ready_s,
        "stop_deadline_s": settings.stop_deadline_s,
    }


def plan(
    template: SessionTemplate,
    arguments: CreateArguments,
    hosted: frozenset[str],
    *,
    named: bool,
    defaults: dict[str, Any] | None = None,
) -> Plan:
    """Resolve a template and what was asked into checked settings; raises InvalidArgument naming the field.

    hosted: the agents our own workers run. named: the caller chose the template. defaults: config of the desk, over
    which the template and the caller decide.
    """
    base = templates.base_config(template, defaults)
    config = templates.checked_config(_merged(base, arguments.config), arguments.session_type)
    names = template.enabled_strategies if arguments.enabled_strategies is None else arguments.enabled_strategies
    names, parameters = templates.checked_strategies(
        names, _merged(template.strategy_parameters, arguments.strategy_parameters)
    )
    check_feed(arguments.session_type, config)
    if config["broker"] is not None:
        check_broker(config["broker"])
    agents = _agents(template, config, hosted)
    _configure(config, [item["agent"] for item in agents], arguments.config.get(_CONFIGURATIONS) or {})
    return Plan(
        arguments.session_type,
        template,
        config,
        templates.checked_risk(_merged(template.default_risk_parameters, arguments.risk_parameters)),
        names,
        parameters,
        agents,
        arguments.parent_session_id,
        named,
    )


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    copied = {key: dict(value) if isinstance(value, dict) else value for key, value in base.items()}
    return templates.merge_into(copied, changes)


def _agents(template: SessionTemplate, config: dict[str, Any], hosted: frozenset[str]) -> list[dict[str, Any]]:
    required = config["agents"] or template.required_agents
    if not required:
        problem = f"are none, and template {template.template_name!r} names none: nobody would step the session"
        raise InvalidArgument("config.agents", problem, "Name them, or the template's required_agents.")
    optional = [] if config["agents"] else template.optional_agents
    parse(_Roster, {"agents": required}, "config")
    twice = sorted(name for name in set(required) if required.count(name) > 1)
    if twice and config["agents"]:
        raise InvalidArgument("config.agents", f"names {', '.join(twice)} twice", "Name each agent once.")
    return [
        {"agent": name, "required": name in required, "hosted": name in hosted}
        for name in dict.fromkeys([*required, *optional])
    ]


class _Roster(Model):
    """What the agents of a new session may be called."""

    agents: list[AgentName]


def _configure(config: dict[str, Any], roster: list[str], asked: dict[str, Any]) -> None:
    """Leave only what its own agents are told; what was asked for others is refused, what their template had goes."""
    given = {agent: told for agent, told in config[_CONFIGURATIONS].items() if agent in roster or agent in asked}
    templates.check_configurations(given, roster, f"config.{_CONFIGURATIONS}")
    config[_CONFIGURATIONS] = given


def from_template(template: SessionTemplate, arguments: CreateFromTemplateArguments) -> CreateArguments:
    """Return the create_session arguments that a template and its overrides stand for."""
    asked = {"session_type": template.session_type, "session_id": arguments.session_id, "reason": arguments.reason}
    return parse(CreateArguments, asked | templates.sections(arguments.overrides), "overrides")


def create(engine: Engine, settings: Settings, ask: Ask, planned: Plan) -> Outcome:
    """Write a planned session in one transaction and return the outcome; asked twice, it answers twice, acts once."""
    try:
        return _create_once(engine, settings, ask, planned)
    except IntegrityError as error:
        if "pk_sessions" not in str(error.orig):
            raise
        # Another command took the id between our look and our write; it has committed, and is found and named now.
        return _create_once(engine, settings, ask, planned)


def answered(engine: Engine, ask: Ask) -> Outcome | None:
    """Return the outcome of a creation that was asked before under this id; None: it is a fresh one."""
    bound = _claim_values(ask, hashed := args_hash(ask.canonical())) | {"account_id": "", "parent": None}
    with door(engine) as connection:
        claimed = dict(connection.execute(CLAIM, bound).mappings().one())
        found = _repeated(claimed, ask, hashed, Payloads(engine))
        connection.exec_driver_sql("ROLLBACK")
    return found


def _create_once(engine: Engine, settings: Settings, ask: Ask, planned: Plan) -> Outcome:
    hashed, chain = args_hash(ask.canonical()), chain_key(engine)
    broker = planned.config["broker"] or settings.broker
    account_id = planned.config["account"] or _own_account(ask)
    bound = _claim_values(ask, hashed) | {"account_id": account_id, "parent": planned.parent_session_id}
    payloads = Payloads(engine)
    with transaction_span(ask), door(engine) as connection:
        claimed = dict(connection.execute(CLAIM, bound).mappings().one())
        repeated = _repeated(claimed, ask, hashed, payloads)
        if repeated is not None:
            connection.exec_driver_sql("ROLLBACK")
            return repeated
        _check_scope(claimed, ask, planned, account_id)
        error = _obstacle(claimed, ask, planned, broker) or unrecorded(connection, planned.config)
        if error is not None:
            return _refuse(connection, ask, error, payloads)
        must_be_two_to_make(ask.actor, planned.session_type, planned.config)
        _must_be_as_asked(connection, payloads, ask, planned)
        warnings = _warnings(planned, claimed, account_id, broker)
        bound |= claimed | {"broker": broker}
        return _insert(connection, settings, ask, planned, bound, warnings, payloads, chain)


def _must_be_as_asked(connection: Connection, payloads: Payloads, ask: Ask, planned: Plan) -> None:
    if not ask.actor.confirmed_by:
        return
    if planned.parent is not None:
        now, deeds = planned.parent, about.OF_SESSIONS
    else:
        template = planned.template
        now, deeds = about.of_template(template.template_name, template.version, template), about.OF_TEMPLATES
    about.must_be_as_asked(connection, payloads, ask.actor, ask.command_id, now, deeds)


def _claim_values(ask: Ask, hashed: bytes) -> dict[str, Any]:
    return {
        "command_id": ask.command_id,
        "session_id": ask.session_id,
        "trigger": ask.trigger.value,
        "actor": ask.actor.name,
        "args_hash": hashed,
        **scope.bound(ask.actor),
    }


def _own_account(ask: Ask) -> str:
    return f"paper:{ask.session_id}"


def _repeated(claimed: Row, ask: Ask, hashed: bytes, payloads: Payloads) -> Outcome | None:
    if claimed["state"] == "running":
        return None
    if bytes(claimed["args_hash"]) != hashed:
        conflict = CommandConflict(str(ask.command_id), claimed["trigger"])
        return Outcome(ask.command_id, ask.session_id, ask.trigger, "refused", error=conflict.to_dict())
    return Outcome.from_dict(payloads.open(ask.session_id, OUTCOME, ask.command_id, claimed["outcome"]), repeated=True)


def _check_scope(claimed: Row, ask: Ask, planned: Plan, account_id: str) -> None:
    """Raise Forbidden for an account or a parent that a token's scope holds nothing of, be it there or not.

    A new session's own account is nobody else's; the one its template names is for all sessions of that.
    """
    if not ask.actor.scoped:
        return
    own = claimed["account_kind"] is None and account_id == _own_account(ask)
    if not (own or claimed["account_theirs"] or account_id == templates.base_config(planned.template).get("account")):
        needed = "a token whose scope holds a session on that account"
        raise Forbidden(ask.actor.name, ask.actor.role_list(), f"{ask.trigger} on account {account_id}", needed)
    if not claimed["parent_known"]:
        raise outside(ask.actor, f"{ask.trigger} under session {planned.parent_session_id}")


def _obstacle(claimed: Row, ask: Ask, planned: Plan, broker: str) -> Rejected | None:
    if claimed["taken"]:
        return InvalidArgument("session_id", f"{ask.session_id} is taken", "Leave it out to get a new one.")
    if not claimed["parent_known"]:
        return InvalidArgument(
            "parent_session_id", f"there is no session {planned.parent_session_id}", "See `fntx ls`."
        )
    if claimed["account_kind"] not in (None, broker):
        kind = claimed["account_kind"]
        return InvalidArgument(
            "config.account",
            f"is an account of the broker {kind!r}, the session trades on {broker!r}",
            "Choose another.",
        )
    return None


def _refuse(connection: Connection, ask: Ask, error: Rejected, payloads: Payloads) -> Outcome:
    outcome = Outcome(ask.command_id, ask.session_id, ask.trigger, "refused", error=error.to_dict())
    with committing(ask):
        connection.execute(REFUSE, {"command_id": ask.command_id, **_sealed(payloads, DESK, ask, outcome)})
    return outcome


def _sealed(payloads: Payloads, owner: UUID, ask: Ask, outcome: Outcome) -> dict[str, bytes | None]:
    return {
        "arguments": payloads.seal_some(owner, ARGUMENTS, ask.command_id, ask.arguments),
        "outcome": payloads.seal(owner, OUTCOME, ask.command_id, outcome.to_dict()),
    }


def _warnings(planned: Plan, claimed: Row, account_id: str, broker: str) -> tuple[str, ...]:
    warnings = []
    if planned.config["account"] is not None and claimed["account_kind"] is None:
        warnings.append(f"account {account_id} is new; it was made as an exclusive {broker} account")
    if planned.session_type in (SessionType.REGULAR, SessionType.EXTENDED_HOURS):
        warnings += [PAPER_NOTICE] if broker == "paper" else []
        warnings += [INVENTED_NOTICE] if planned.config["feed"]["kind"] == "synthetic" else []
    return (*warnings, *_misspelled(planned))


def _misspelled(planned: Plan) -> Iterator[str]:
    """Say which agents look like one of ours: as written, the session waits for a service to join as them."""
    known = known_agents()
    for item in planned.agents:
        alike = [] if item["agent"] in known else get_close_matches(item["agent"], known, 1, _ALIKE)
        if alike:
            yield f"agent {item['agent']} is none this desk hosts: a service has to join as it; or is {alike[0]} meant?"


def _insert(
    connection: Connection,
    settings: Settings,
    ask: Ask,
    planned: Plan,
    bound: Row,
    warnings: tuple[str, ...],
    payloads: Payloads,
    chain: ChainKey,
) -> Outcome:
    now: datetime = bound["now"]
    outcome = Outcome(
        ask.command_id, ask.session_id, ask.trigger, "done", SessionStatus.INITIALIZING, 1, 0, now, warnings
    )
    entry = audit_entry({"audit_seq": 1, "now": now, "version": 1}, ask, "done", bound["args_hash"], None, chain.key_id)
    values = (
        bound
        | _settings_values(planned)
        | {
            "equity": settings.paper_equity_usd,
            "now": now,
            "reason": ask.reason,
            "roles": ask.actor.role_list(),
            **{name: entry[name] for name in ("host", "task", "token_id", "confirmed_by", "key_id")},
            "audit_head": chain_hash(None, entry, chain.rows),
            "transition_id": uuid4(),
            "warnings": to_json(list(warnings)),
            "events": to_json(_events(warnings)),
            "event": to_json(lifecycle_event("session_created", None, "initializing", 0, ask.reason)),
            "trace": traces.current(),
        }
        | _sealed(payloads, ask.session_id, ask, outcome)
    )
    failpoint("create.before_commit")
    if planned.brings is None:
        with committing(ask):
            connection.execute(INSERT_COMMIT, values)
    else:
        connection.execute(INSERT, values)
        planned.brings(connection)
        with committing(ask):
            connection.exec_driver_sql("COMMIT")
    failpoint("create.committed")
    figures.TRANSITIONS.note(1, ask.trigger.value, "none", SessionStatus.INITIALIZING.value)
    return outcome


def _settings_values(planned: Plan) -> dict[str, Any]:
    config = planned.config
    return {
        "session_type": planned.session_type.value,
        "template_name": planned.template.template_name,
        "template_version": planned.template.version,
        "template_used": planned.template.template_name if planned.from_template else None,
        "config": to_json(config),
        "risk_parameters": to_json(planned.risk_parameters),
        "enabled_strategies": to_json(planned.enabled_strategies),
        "strategy_parameters": to_json(planned.strategy_parameters),
        "roster": to_json([item["agent"] for item in planned.agents]),
        "agents": to_json(planned.agents),
        "hosted": any(item["hosted"] for item in planned.agents),
        "ruled": bool(config["auto_start_conditions"]),
        "save_interval_s": config["save_interval_s"],
        "checkpoint_interval_s": config["checkpoint_interval_s"],
        "step_interval_s": config["step_interval_s"],
        "tags": config["tags"],
    }


def _events(warnings: tuple[str, ...]) -> list[dict[str, str]]:
    created = {"event_type": "session_created", "severity": "info", "description": "session created"}
    told = [{"event_type": "warning", "severity": "warning", "description": warning} for warning in warnings]
    return [{"event_category": "lifecycle", **event} for event in [created, *told]]


def lifecycle_event(name: str, from_status: str | None, to_status: str, epoch: int, reason: str) -> dict[str, Any]:
    """Return what agents are told of a change of status, in the shape of the spec's share_context example."""
    return {
        "event": name,
        "session_event": "status_changed",
        "from_status": from_status,
        "to_status": to_status,
        "epoch": epoch,
        "reason": reason,
    }
