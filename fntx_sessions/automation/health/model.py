"""What a look at a session or at the desk comes to: checks, each with a grade, a reason and what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MARKET_DATA = "market_data"  # the check whose failure a session's own agents suspend for, and health heals


class Grade(StrEnum):
    """How a check ended. DEGRADED: look soon; FAILED: something does not work."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


_ORDER = list(Grade)


@dataclass(frozen=True, slots=True)
class Check:
    """One check. value, limit: plain JSON in the unit that `reason` names, None where there is none.

    reason: the sentence; fix: what to do, empty where nothing is to be done. subject: what of several is meant, such as
    the names of agents.
    """

    name: str
    grade: Grade
    reason: str
    fix: str = ""
    value: Any = None
    limit: Any = None
    subject: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that is stored and printed."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Check":
        """Rebuild a check from `to_json`."""
        return cls(**data | {"grade": Grade(data["grade"])})


def worst(checks: Iterable[Check]) -> Grade:
    """Return the worst grade of all; OK for none."""
    return max((check.grade for check in checks), key=_ORDER.index, default=Grade.OK)


def worst_first(checks: Iterable[Check]) -> list[Check]:
    """Return the checks with the failed ones first, each grade in the order given."""
    return sorted(checks, key=lambda check: -_ORDER.index(check.grade))


def told(checks: Iterable[Check]) -> str:
    """Return what is not ok as one line, the worst first."""
    return "; ".join(f"{check.name}: {check.reason}" for check in worst_first(checks) if check.grade is not Grade.OK)
