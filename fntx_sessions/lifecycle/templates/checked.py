"""Whether settings of a session can be: each section whole, with its defaults, refused by path."""

from collections.abc import Collection
from typing import Any

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
    return parse(SessionConfig, data, "config").model_dump(mode="json")


def checked_risk(data: dict[str, Any]) -> dict[str, Any]:
    """Return whole risk parameters with defaults filled in; raises InvalidArgument by path."""
    return parse(RiskParameters, data, "risk_parameters").model_dump(mode="json")


def checked_strategies(names: list[str], parameters: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return strategy names and whole parameters for each; raises InvalidArgument for unknown or impossible ones."""
    _check_known(names, "enabled_strategies")
    for name in parameters:
        _check_known([name], f"strategy_parameters.{name}")
    if len(set(names)) != len(names):
        raise InvalidArgument("enabled_strategies", "names a strategy twice", "Name each once.")
    whole = {}
    for name in dict.fromkeys([*names, *parameters]):
        checked = parse(StrategyParameters, parameters.get(name, {}), f"strategy_parameters.{name}")
        if name.endswith("_spread") and checked.width is None:
            checked = checked.model_copy(update={"width": 5.0})
        whole[name] = checked.model_dump(mode="json")
    return names, whole


def _check_known(names: list[str], field: str) -> None:
    for name in names:
        if name not in STRATEGIES:
            raise InvalidArgument(field, f"unknown strategy {name!r}", f"Known: {', '.join(STRATEGIES)}.")
