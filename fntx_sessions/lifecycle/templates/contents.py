"""What a template says, made plain and checked as a session of it would be, every problem by its path."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import orjson

from fntx_sessions.agents.configurations import check_configuration
from fntx_sessions.automation.rules.model import KEYS
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.feeds import check_feed
from fntx_sessions.lifecycle.templates.checked import checked_config, checked_risk, checked_strategies
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import TemplateContents
from fntx_sessions.settings import Settings
from fntx_sessions.trading.brokers import check_broker

Json = dict[str, Any]
RuleLists = dict[str, list[Json]]
_CONFIGURATIONS = "agent_configurations"
# What a session calls it, and where a template has it.
_PATHS = (
    ("config.auto_", "auto_"),
    (f"config.{_CONFIGURATIONS}", _CONFIGURATIONS),
    ("config", "default_config"),
    ("risk_parameters", "default_risk_parameters"),
)


def rules_of(template: TemplateContents) -> RuleLists:
    """Return the rule sets that a session of this template begins with; default_config counts above the lists."""
    body = template.body()
    return {key: body[key] for key in KEYS.values()}


def base_config(template: TemplateContents, defaults: Mapping[str, Any] | None = None) -> Json:
    """Return the config a session of this template begins with. defaults: the desk's, over which it decides."""
    body = template.body()
    own: Json = {key: body[key] for key in (*KEYS.values(), _CONFIGURATIONS)}
    return own | dict(defaults or {}) | dict(body["default_config"])


def contents_of(data: Any, settings: Settings, where: str = "") -> TemplateContents:
    """Return what came as JSON as contents; raises InvalidArgument by path where it is not, or is too large or deep."""
    check_depth(data, settings, where or "template")
    contents = parse(TemplateContents, data, where)
    size = len(orjson.dumps(contents.model_dump(mode="json")))
    if size > settings.template_max_bytes:
        problem = f"takes {size} bytes as JSON, {settings.template_max_bytes} are allowed"
        raise InvalidArgument(where or "template", problem, "Say less, or raise FNTX_TEMPLATE_MAX_BYTES.")
    return contents


def check_depth(data: Any, settings: Settings, where: str) -> None:
    """Raise InvalidArgument where something nests deeper than a template may."""
    _check_depth(data, settings.template_depth_max, where)


def _check_depth(data: Any, left: int, where: str) -> None:
    below = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    if below and not left:
        raise InvalidArgument(where, "is nested too deep", "Write it flatter, or raise FNTX_TEMPLATE_DEPTH_MAX.")
    for key, value in below:
        _check_depth(value, left - 1, f"{where}.{key}")


def check(contents: TemplateContents, hosted: Collection[str]) -> None:
    """Raise InvalidArgument for the first problem, and say how many more, where no session could be made of this."""
    found = problems(contents, hosted)
    if found:
        field, problem, fix = found[0].args
        more = "" if len(found) == 1 else f" ({len(found) - 1} more sections have problems.)"
        raise InvalidArgument(field, problem, f"{fix}{more}")


def problems(contents: TemplateContents, hosted: Collection[str]) -> list[InvalidArgument]:
    """Return what keeps sessions from being made of this at this desk, the first of each section; empty: nothing.

    hosted: the agents this desk runs itself.
    """
    looks: tuple[Callable[[], object], ...] = (
        lambda: _check_stepped(contents),
        lambda: check_agents(contents, hosted),
        lambda: _check_configurations(contents),
        lambda: _check_config(contents),
        lambda: checked_risk(contents.default_risk_parameters),
        lambda: checked_strategies(contents.enabled_strategies, contents.strategy_parameters),
    )
    return list(_raised(looks))


def _raised(looks: tuple[Callable[[], object], ...]) -> Iterator[InvalidArgument]:
    for look in looks:
        try:
            look()
        except InvalidArgument as error:
            yield InvalidArgument(_in_a_template(str(error.args[0])), *error.args[1:])


def _in_a_template(field: str) -> str:
    for asked, here in _PATHS:
        if field == asked or field.startswith(asked if asked.endswith("_") else f"{asked}."):
            return here + field.removeprefix(asked)
    return field


def check_agents(contents: TemplateContents, hosted: Collection[str]) -> None:
    """Raise InvalidArgument for an agent that this desk does not host and that is not declared remote."""
    for section in ("required_agents", "optional_agents"):
        for place, name in enumerate(getattr(contents, section)):
            if name not in hosted and name not in contents.remote_agents:
                known = ", ".join(sorted(hosted)) or "none"
                fix = f"Hosted here: {known}. List it in remote_agents too if a service of yours runs it."
                raise InvalidArgument(f"{section}.{place}", f"{name!r} is no agent this desk knows", fix)
    for place, name in enumerate(contents.remote_agents):
        if name not in _roster(contents):
            fix = "List it in required_agents or optional_agents too."
            raise InvalidArgument(f"remote_agents.{place}", f"{name!r} is no agent of the template", fix)


def _check_stepped(contents: TemplateContents) -> None:
    if not contents.required_agents:
        fix = "Name the agents its sessions need, or begin with `--from` another template."
        raise InvalidArgument("required_agents", "names no agent: its sessions would start, and nobody step them", fix)


def _roster(contents: TemplateContents) -> list[str]:
    return [*contents.required_agents, *contents.optional_agents]


def _check_configurations(contents: TemplateContents) -> None:
    check_configurations(contents.agent_configurations, _roster(contents), _CONFIGURATIONS)


def check_configurations(given: Mapping[str, Json], roster: Collection[str], field: str) -> None:
    """Raise InvalidArgument, its path led by `field`, for what no agent of the roster, or not this one, can be told."""
    for agent, configuration in given.items():
        if agent not in roster:
            fix = f"Its agents: {', '.join(roster) or 'none'}."
            raise InvalidArgument(f"{field}.{agent}", "is no agent of the roster", fix)
        check_configuration(agent, configuration, f"{field}.{agent}")


def _check_config(contents: TemplateContents) -> None:
    if "agents" in contents.default_config:
        fix = "Name them in required_agents and optional_agents."
        raise InvalidArgument("default_config.agents", "is said in two places", fix)
    config = checked_config(base_config(contents), contents.session_type)
    check_feed(contents.session_type, config, whole=False)
    if config["broker"] is not None:
        check_broker(config["broker"])
