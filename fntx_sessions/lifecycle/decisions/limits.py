"""What is told of edits: which limits they move, from what to what, so that a day's record needs no guess."""

from typing import Any

from fntx_sessions.lifecycle.change import Ask, Row

CONFIG_CHANGED = "config_changed"
_LATCH = "loss limit latch"
# What of a session's config bounds what it may lose or hold, or says what is done when a bound is reached.
_CONFIG_LIMITS = (
    "max_position_hold_time",
    "allow_overnight_positions",
    "close_positions_on_stop",
    "on_breach",
    "auto_stop_conditions",
)


def limit_changes(row: Row, edits: dict[str, Any]) -> dict[str, list[Any]]:
    """Return {limit: [before, after]} of the limits that edits of the row change."""
    risk, config = edits.get("risk_parameters", {}), edits.get("config", {})
    changes = {name: [row["risk_parameters"].get(name), after] for name, after in risk.items()}
    changes |= {name: [row["config"].get(name), config[name]] for name in _CONFIG_LIMITS if name in config}
    return {name: change for name, change in changes.items() if change[0] != change[1]}


def moves(limits: dict[str, list[Any]]) -> list[str]:
    """Return what `limit_changes` found, in words."""
    return [f"{name} {_said(before)} -> {_said(after)}" for name, (before, after) in limits.items()]


def edits_event(row: Row, ask: Ask, edits: dict[str, Any], *, clears: bool = False) -> dict[str, Any]:
    """Return the event that says what was changed by whom and why; `limits` of its data as `limit_changes`."""
    limits = limit_changes(row, edits)
    moved = "".join(f"; {move}" for move in moves(limits))
    why = ask.reason or "no reason given"
    return {
        "event_type": CONFIG_CHANGED,
        "event_category": "lifecycle",
        "severity": "warning" if clears else "info",
        "description": f"{', '.join(changed(edits, clears=clears))} changed by {ask.actor.name}: {why}{moved}"[:4000],
        "data": {"command_id": str(ask.command_id), "actor": ask.actor.name, "why": why, "limits": limits,
                 "latch_cleared": clears},
    }  # fmt: skip


def changed(edits: dict[str, Any], *, clears: bool = False) -> list[str]:
    """Return what is changed, in words."""
    return sorted([*edits, *([_LATCH] if clears else [])])


def _said(value: Any) -> str:
    return f"{len(value)} rules" if isinstance(value, list) else "none" if value is None else str(value)
