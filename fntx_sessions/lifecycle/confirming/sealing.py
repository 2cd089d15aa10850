"""What of a confirmation is sealed as one: what was asked, and what that was about."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fntx_sessions.state.payloads import DESK, Payloads

_KIND = "confirmation"


@dataclass(frozen=True, slots=True)
class Asked:
    """A command's arguments, and what it was about as they were given; `about` None: nothing that could change."""

    arguments: dict[str, Any]
    about: dict[str, Any] | None


def sealed(payloads: Payloads, owner: UUID, command_id: UUID, asked: Asked) -> bytes:
    """Return the sealed bytes of what was asked."""
    return payloads.seal(owner, _KIND, command_id, {"asked": asked.arguments, "about": asked.about})


def opened(payloads: Payloads, row: Mapping[str, Any]) -> Asked:
    """Return what a kept command was asked with, and about what; raises Shredded and IntegrityError."""
    found = payloads.open(row["session_id"] or DESK, _KIND, row["command_id"], row["arguments"])
    # What was kept by a version before this one are the arguments alone.
    return Asked(found.get("asked", found), found.get("about"))
