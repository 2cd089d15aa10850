"""What questions about events, and their acknowledgement, take; validated at the edge."""

from typing import Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.arguments import CommandArguments, Reason
from fntx_sessions.schemas import Model, Severity, Time

TAKEN_CHARACTERS = 2000


class EventsQuery(Model):
    """fntx.events.list: events of one session or of the desk; what is not given holds for every event.

    severity: this one and worse. impact, text: parts of the impact assessment, of the description or the type; upper
    and lower case alike. acknowledged: True those that somebody saw to. id_prefix: first digits of an event's id,
    without dashes. cursor: what the page before ended with.
    """

    session_id: UUID | None = None
    event_types: list[str] | None = Field(default=None, min_length=1, max_length=100)
    categories: list[str] | None = Field(default=None, min_length=1, max_length=100)
    severity: Severity | None = None
    source_agent: str | None = Field(default=None, min_length=1, max_length=200)
    impact: str | None = Field(default=None, min_length=1, max_length=200)
    requires_action: bool | None = None
    acknowledged: bool | None = None
    text: str | None = Field(default=None, min_length=1, max_length=200)
    id_prefix: str | None = Field(default=None, pattern=r"^[0-9a-f]{4,32}$")
    since: Time | None = None
    until: Time | None = None
    order: Literal["newest", "oldest"] = "newest"
    cursor: str | None = Field(default=None, max_length=200)
    limit: int = Field(default=100, ge=1, le=1000)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise InvalidArgument("since", f"{self.since} is not before until, {self.until}", "Exchange the two.")
        return self


class AcknowledgeArguments(Model):
    """fntx.events.acknowledge: which event, and what was done about it. session_id: whose; None: found by the id."""

    event_id: UUID
    session_id: UUID | None = None
    action_taken: str = Field(default="", max_length=TAKEN_CHARACTERS)
    reason: str = Reason


class AcknowledgedArguments(CommandArguments):
    """What the machine is asked: somebody saw to this event of the session."""

    event_id: UUID
    action_taken: str = Field(default="", max_length=TAKEN_CHARACTERS)
