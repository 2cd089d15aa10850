"""How overrides and edits are laid over what a template says."""

from copy import deepcopy
from typing import Any

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import RiskParameters, SessionConfig

_SECTIONS = ("config", "risk_parameters", "enabled_strategies", "strategy_parameters")


def sections(overrides: dict[str, Any]) -> dict[str, Any]:
    """Sort flat overrides such as ``{"position_limit": 5}`` into their sections; refuses unknown keys by name."""
    sorted_out: dict[str, Any] = {}
    for key, value in overrides.items():
        if key in _SECTIONS:
            merge_into(sorted_out, {key: value})
        elif key in SessionConfig.model_fields:
            _once(overrides, "config", key)
            merge_into(sorted_out, {"config": {key: value}})
        elif key in RiskParameters.model_fields:
            _once(overrides, "risk_parameters", key)
            merge_into(sorted_out, {"risk_parameters": {key: value}})
        else:
            known = ", ".join(sorted([*_SECTIONS, *SessionConfig.model_fields, *RiskParameters.model_fields]))
            raise InvalidArgument(f"overrides.{key}", "is not a known key", f"Known: {known}.")
    return sorted_out


def _once(overrides: dict[str, Any], section: str, key: str) -> None:
    said = overrides.get(section)
    if isinstance(said, dict) and key in said:
        problem = f"is said a second time, in {section}"
        raise InvalidArgument(f"overrides.{key}", problem, "Say it in one place.")


def merge_into(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge `changes` into `base`, dict by dict; lists and plain values replace. Returns `base`."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge_into(base[key], value)
        else:
            base[key] = deepcopy(value)
    return base


def patched(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes`, dict by dict; lists and plain values replace, None takes a key away."""
    found = dict(base)
    for key, value in changes.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict):
            below = found.get(key)
            found[key] = patched(below if isinstance(below, dict) else {}, value)
        else:
            found[key] = value
    return found
