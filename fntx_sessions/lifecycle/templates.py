"""Templates, and how a template and its overrides become a session's settings."""

from collections.abc import Collection
from copy import deepcopy
from typing import Any

from sqlalchemy import Connection, text

from fntx_sessions.automation.rules.checking import check_rules, rules_of
from fntx_sessions.database.seeds import BUILT_IN
from fntx_sessions.exceptions import InvalidArgument, NotFound
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import (
    STRATEGIES,
    RiskParameters,
    SessionConfig,
    SessionTemplate,
    SessionType,
    StrategyParameters,
)

_LOAD = text("SELECT body, last_used, usage_count FROM templates WHERE template_name = :name")
BY_TYPE = {template.session_type: template.template_name for template in BUILT_IN}

_ALL = text("SELECT body, last_used, usage_count FROM templates ORDER BY template_name")


def load(connection: Connection, name: str) -> SessionTemplate:
    """Return the template called `name`; raises NotFound naming those there are."""
    row = connection.execute(_LOAD, {"name": name}).one_or_none()
    if row is None:
        known = ", ".join(template.template_name for template in list_templates(connection))
        raise NotFound("template", name, f"There are: {known}.")
    return _with_usage(row)


def list_templates(connection: Connection) -> list[SessionTemplate]:
    """Return all templates by name."""
    return [_with_usage(row) for row in connection.execute(_ALL)]


def _with_usage(row: Any) -> SessionTemplate:
    return SessionTemplate.model_validate(row.body | {"last_used": row.last_used, "usage_count": row.usage_count})


_SECTIONS = ("config", "risk_parameters", "enabled_strategies", "strategy_parameters")


def sections(overrides: dict[str, Any]) -> dict[str, Any]:
    """Sort flat overrides such as ``{"position_limit": 5}`` into their sections; refuses unknown keys by name."""
    sorted_out: dict[str, Any] = {}
    for key, value in overrides.items():
        if key in _SECTIONS:
            merge_into(sorted_out, {key: value})
        elif key in SessionConfig.model_fields:
            merge_into(sorted_out, {"config": {key: value}})
        elif key in RiskParameters.model_fields:
            merge_into(sorted_out, {"risk_parameters": {key: value}})
        else:
            known = ", ".join(sorted([*_SECTIONS, *SessionConfig.model_fields, *RiskParameters.model_fields]))
            raise InvalidArgument(f"overrides.{key}", "is not a known key", f"Known: {known}.")
    return sorted_out


def merge_into(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge `changes` into `base`, dict by dict; lists and plain values replace. Returns `base`."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge_into(base[key], value)
        else:
            base[key] = deepcopy(value)
    return base


def checked_config(
    data: dict[str, Any], session_type: SessionType | None = None, *, changed: Collection[str] | None = None
) -> dict[str, Any]:
    """Return a whole session config with defaults filled in; raises InvalidArgument by path.

    session_type: whose hours its rules are held against. changed: the keys that are new, so that rules that were stored
    long ago, of a plug-in that is gone perhaps, stand in nobody's way; None: all are.
    """
    check_rules(data if changed is None else rules_of(data, changed), session_type=session_type)
    return parse(SessionConfig, data, "config").model_dump(mode="json")


def checked_risk(data: dict[str, Any]) -> dict[str, Any]:
    """Return whole risk parameters with defaults filled in; raises InvalidArgument by path."""
    return parse(RiskParameters, data, "risk_parameters").model_dump(mode="json")


def checked_strategies(names: list[str], parameters: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return strategy names and whole parameters for each; raises InvalidArgument for unknown or impossible ones."""
    for name in [*names, *parameters]:
        if name not in STRATEGIES:
            raise InvalidArgument(
                "enabled_strategies", f"unknown strategy {name!r}", f"Known: {', '.join(STRATEGIES)}."
            )
    if len(set(names)) != len(names):
        raise InvalidArgument("enabled_strategies", "names a strategy twice", "Name each once.")
    whole = {}
    for name in dict.fromkeys([*names, *parameters]):
        checked = parse(StrategyParameters, parameters.get(name, {}), f"strategy_parameters.{name}")
        if name.endswith("_spread") and checked.width is None:
            checked = checked.model_copy(update={"width": 5.0})
        whole[name] = checked.model_dump(mode="json")
    return names, whole
