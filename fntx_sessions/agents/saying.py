"""What agents say to people: made such that it can be stored, and bounded, as one statement stores it for a batch."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import Severity
from fntx_sessions.security.known_secrets import hide, hide_in
from fntx_sessions.settings import Settings
from fntx_sessions.state.payloads import sealable

TEXT_CHARACTERS = 2000
_NAME_CHARACTERS = 100
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_REPLACED = "\ufffd"


def storable(said: object, most: int = TEXT_CHARACTERS) -> str:
    """Return text as it can be stored and sent: no credential, no NUL, no half of a character, `most` characters."""
    return _UNSTORABLE.sub(_REPLACED, hide(str(said))[:most])


def problem_of(error: BaseException) -> str:
    """Return an exception in a line, though it cannot tell itself what it is."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - somebody else's class
        said = "(its text cannot be made)"
    return storable(f"{type(error).__name__}: {said}")


def event(at: datetime, event_type: str, category: str, severity: Severity, description: str) -> dict[str, Any]:
    """Return an event for the end of a step, to which source_agent, data and requires_action may be added."""
    return {
        "timestamp": at,
        "event_type": storable(event_type, _NAME_CHARACTERS),
        "event_category": storable(category, _NAME_CHARACTERS),
        "severity": Severity(severity).value,
        "description": storable(description),
    }


@dataclass(slots=True)
class Said:
    """How much one agent has told the events since they were last stored."""

    number: int = 0
    size: int = 0

    def add(self, data: dict[str, Any] | None, settings: Settings) -> dict[str, Any]:
        """Count an event and return its data as it is now, as JSON has it.

        Raises InvalidArgument for more than one step may tell.
        """
        found = sealable(dict(data or {}))
        self.number, self.size = self.number + 1, self.size + len(found)
        if self.number > settings.hosted_events_max:
            problem = f"are more than {settings.hosted_events_max} in one step (FNTX_HOSTED_EVENTS_MAX)"
            raise InvalidArgument("events", problem, "Tell people what they have to know.")
        if self.size > settings.hosted_events_max_bytes:
            problem = f"bring more than {settings.hosted_events_max_bytes} bytes (FNTX_HOSTED_EVENTS_MAX_BYTES)"
            raise InvalidArgument("events", problem, "Tell what matters, and where the rest is.")
        kept: dict[str, Any] = hide_in(orjson.loads(found))
        return kept
