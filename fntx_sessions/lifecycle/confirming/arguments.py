"""What questions and commands about confirmations take, and how one is shown. Field names are the JSON keys."""

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from fntx_sessions.lifecycle.arguments import Reason
from fntx_sessions.schemas import Model
from fntx_sessions.values import Time

State = Literal["waiting", "confirmed", "rejected", "expired"]


class ConfirmationsQuery(Model):
    """fntx.confirmations.list: those that wait, newest first.

    everything: those that are over, too. confirmation: the one under this command's id, in whatever state.
    """

    session_id: UUID | None = None
    confirmation: UUID | None = None
    everything: bool = False
    limit: int = Field(default=100, ge=1, le=1000)


class SettleArguments(Model):
    """fntx.confirmations.confirm and .decline. confirmation: the id of the command that waits."""

    confirmation: UUID
    reason: str = Reason


class Confirmation(Model):
    """What somebody asked for that takes two people.

    action: by its name in the table of roles; words: all that it comes to, what matters most first; told: the same in
    one line, which says how much of it was cut; needed: the roles of which the second person has one. arguments: as
    they were asked, None where they cannot be read any more. expires_in_s: negative once
    its time is up. settled_by: who confirmed or declined. done_at: when what was confirmed had been done, or refused.
    """

    command_id: UUID
    task: str
    action: str
    told: str
    words: list[str]
    session_id: UUID | None
    arguments: dict[str, Any] | None
    asked_by: str
    asked_roles: str
    reason: str
    asked_at: Time
    expires_at: Time
    expires_in_s: float
    state: State
    needed: str
    settled_by: str | None = None
    settled_reason: str | None = None
    settled_at: Time | None = None
    done_at: Time | None = None
