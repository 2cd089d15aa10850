"""One command on many sessions: what is asked, and what is told of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID, uuid5

from pydantic import Field, model_validator

from fntx_sessions.lifecycle.arguments import CommandArguments
from fntx_sessions.lifecycle.commands import ARGUMENTS
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import Model, SessionStatus, SessionType, Trigger

Action = Literal["pause", "resume", "stop"]
RunState = Literal["running", "stopped", "cancelled", "finished"]
TRIGGERS: Mapping[str, Trigger] = {"pause": Trigger.PAUSE, "resume": Trigger.RESUME, "stop": Trigger.STOP}
_FIXED = frozenset({"session_id", "reason", "expected_version"})


class Selector(Model):
    """Which sessions: those that pass every filter given, or, where `everything` is said, all of them.

    Without a status closed sessions are left out, and without a type, tag or id the days of backtests are.
    """

    everything: bool = False
    status: list[SessionStatus] | None = None
    session_type: SessionType | None = None
    template_name: str | None = Field(default=None, min_length=1, max_length=200)
    tag: str | None = Field(default=None, min_length=1, max_length=200)
    account_id: str | None = Field(default=None, min_length=1, max_length=200)
    session_ids: list[UUID] | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Return the filters that were given, as JSON."""
        return self.model_dump(mode="json", exclude={"everything"}, exclude_none=True)

    def __str__(self) -> str:
        """Return it as a sentence names it: ``tag lunch; status active, paused``, or ``all``."""
        given = self.given
        ids = given.pop("session_ids", [])
        words = [f"{name} {value if isinstance(value, str) else ', '.join(value)}" for name, value in given.items()]
        return "; ".join([*words, *([f"{len(ids)} ids"] if ids else [])]) or "all"

    @model_validator(mode="after")
    def _selects(self) -> Self:
        if not any(self.given.values()) and not self.everything:
            msg = "selects nothing by itself: give a status, type, template, tag, account or ids, or say --all"
            raise ValueError(msg)
        return self


class BulkArguments(Model):
    """fntx.bulk.begin: which sessions, what is asked of each (`arguments` as of the single command), and how fast.

    wave_size None: `bulk_wave_size`. wave_pause_s None: none for a pause and a stop, which end risk, and
    `bulk_wave_pause_s` for a resume.
    """

    action: Action
    selector: Selector
    arguments: dict[str, Any] = Field(default_factory=dict)
    reason: str = Field(default="", max_length=2000)
    wave_size: int | None = Field(default=None, ge=1, le=100_000)
    wave_pause_s: float | None = Field(default=None, ge=0, le=86_400, allow_inf_nan=False)

    @property
    def trigger(self) -> Trigger:
        """Return what is asked of each session."""
        return TRIGGERS[self.action]

    def command(self, session_id: UUID) -> CommandArguments:
        """Return the single command's arguments for one session; raises InvalidArgument naming what is wrong."""
        return command_arguments(self.trigger, session_id, self.arguments, self.reason)


class BulkRequest(BulkArguments):
    """What is asked under one id; asked twice, it is there once. halt_id: the halt whose pauses or stops these are."""

    bulk_id: UUID
    halt_id: UUID | None = None


class Item(Model):
    """One session of a run, or of a preview.

    state: `waiting` (its turn has not come; in a preview: it would be done), `done`, `pending`, `refused` (as the
    command's own outcome), `failed` (could not be asked; tried again), `cancelled`. problem: the sentence that says
    why. positions: what is open, in previews alone. Of a session out of its asker's scope there is nothing else, and
    status_before is None.
    """

    session_id: UUID
    state: str
    status_before: SessionStatus | None = None
    status_after: SessionStatus | None = None
    problem: str | None = None
    wave: int = 0
    command_id: UUID | None = None
    session_type: SessionType | None = None
    template_name: str | None = None
    account_id: str | None = None
    positions: int | None = None
    finished_at: datetime | None = None


class Report(Model):
    """How far a run is. counts: items by state. items: empty where only the counts were asked for.

    resumed_at, resumed_by: when it last waited for a person and who let it go on.
    """

    bulk_id: UUID
    action: Action
    state: RunState
    actor: str
    reason: str
    selector: Selector
    counts: dict[str, int]
    waves: int
    wave_size: int
    wave_pause_s: float
    created_at: datetime
    next_wave_at: datetime | None = None
    finished_at: datetime | None = None
    cancelled_at: datetime | None = None
    cancelled_by: str | None = None
    resumed_at: datetime | None = None
    resumed_by: str | None = None
    halt_id: UUID | None = None
    items: list[Item] = Field(default_factory=list)

    @property
    def over(self) -> bool:
        """Tell whether nothing more happens by itself."""
        return self.state != "running"


def item_command_id(bulk_id: UUID, session_id: UUID) -> UUID:
    """Return the id of a run's one command on a session."""
    return uuid5(bulk_id, str(session_id))


def command_arguments(
    trigger: Trigger, session_id: UUID, arguments: Mapping[str, Any], reason: str
) -> CommandArguments:
    """Return a single command's arguments, checked as the edge checks them; raises InvalidArgument."""
    own = {name: value for name, value in arguments.items() if name not in _FIXED}
    return parse(ARGUMENTS[trigger], {**own, "session_id": str(session_id), "reason": reason}, "")
