"""Where a session's rules stand between evaluations: what the engine remembers, and what was said and asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from fntx_sessions.automation.rules.model import Action, Memory


@dataclass(frozen=True, slots=True)
class Asked:
    """An action that was asked for and has not come about. again_at: session clock; tries: so far, in a row."""

    action: Action
    outcome: str
    again_at: datetime
    tries: int


@dataclass(frozen=True, slots=True)
class Standing:
    """One session's row of rule_states.

    seen: stands for the last decision, so that only what differs is stored again. told: key -> trade date of what was
    said of its limits. sequence: of the last decision.
    """

    memory: Memory = field(default_factory=Memory)
    seen: str = ""
    told: Mapping[str, str] = field(default_factory=dict)
    asked: Asked | None = None
    missing: bool = False
    sequence: int = 0

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Return the standing of a row that joins rule_states; a fresh one where there is none."""
        state = row["state"] or {}
        return cls(
            Memory(state.get("rules", {})),
            state.get("seen", ""),
            state.get("told", {}),
            _asked(state.get("asked"), row),
            row["missing_since"] is not None,
            row["decision_seq"],
        )

    def to_state(self) -> dict[str, Any]:
        """Return the JSON of the column `state`; when to ask again and how often was asked have columns."""
        asked = None if self.asked is None else {"action": self.asked.action, "outcome": self.asked.outcome}
        return {"rules": self.memory.rules, "seen": self.seen, "told": self.told, "asked": asked}


def _asked(asked: Mapping[str, Any] | None, row: Mapping[str, Any]) -> Asked | None:
    if asked is None or row["retry_at"] is None:
        return None
    return Asked(Action(asked["action"]), asked["outcome"], row["retry_at"], row["retries"])
