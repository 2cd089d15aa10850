"""Whether settings of a session can be: each section whole, with its defaults, refused by path."""

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel

from fntx_sessions.automation.rules.checking import check_rules, rules_of
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import STRATEGIES, RiskParameters, SessionConfig, SessionType, StrategyParameters


def checked_config(
    data: dict[str, Any], session_type: SessionType | None = None, *, changed: Collection[str] | None = None
) -> dict[str, Any]:
    """Return a whole session config with defaults filled in; raises InvalidArgument by path.

    session_type: whose hours its rules are held against. changed: the keys that are new, so that rules that were stored
    long ago, of a plug-in that is gone perhaps, stand in nobody's way; None: all are.
    """
    check_rules(data if changed is None else rules_of(data, changed), session_type=session_type)
    return _whole(SessionConfig, data, "config")


def checked_risk(data: dict[str, Any]) -> dict[str, Any]:
    """Return whole risk parameters with defaults filled in; raises InvalidArgument by path."""
    return _whole(RiskParameters, data, "risk_parameters")


def _whole(model: type[BaseModel], data: dict[str, Any], where: str) -> dict[str, Any]:
    whole = parse(model, data, where).model_dump(mode="json")
    _refuse_other_kinds(data, whole, where)
    return whole


def _refuse_other_kinds(given: dict[str, Any], whole: dict[str, Any], where: str) -> None:
    """Refuse true for a number, which would be taken for 1, and text for a number or for true."""
    for key, value in given.items():
        if isinstance(value, bool) and not isinstance(whole[key], bool):
            raise InvalidArgument(f"{where}.{key}", f"is {str(value).lower()}, and means a number", "Give the number.")
        if isinstance(value, str) and isinstance(whole[key], int | float):
            kind = "true or false" if isinstance(whole[key], bool) else "number"
            raise InvalidArgument(f"{where}.{key}", f"is text, and means a {kind}", "Give it without quotes.")
        if isinstance(value, dict) and isinstance(whole[key], dict):
            _refuse_other_kinds(value, whole[key], f"{where}.{key}")


def checked_strategies(names: list[str], parameters: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return strategy names and whole parameters for each; raises InvalidArgument for unknown or impossible ones."""
    _check_known(names, "enabled_strategies")
    for name in parameters:
        _check_known([name], f"strategy_parameters.{name}")
    if len(set(names)) != len(names):
        raise InvalidArgument("enabled_strategies", "names a strategy twice", "Name each once.")
    whole = {}
    for name in dict.fromkeys([*names, *parameters]):
        checked = _whole(StrategyParameters, parameters.get(name, {}), f"strategy_parameters.{name}")
        if name.endswith("_spread") and checked["width"] is None:
            checked["width"] = 5.0
        whole[name] = checked
    return names, whole


def _check_known(names: list[str], field: str) -> None:
    for name in names:
        if name not in STRATEGIES:
            raise InvalidArgument(field, f"unknown strategy {name!r}", f"Known: {', '.join(STRATEGIES)}.")
