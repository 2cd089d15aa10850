"""What each command takes, validated at the edge. Field names are the JSON keys of the tasks."""

from typing import Any, Literal, Self
from uuid import UUID

from pydantic import Field, field_validator, model_validator

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import Hold, Model, SessionType

MANUAL = "manual"
Reason = Field(default="", max_length=2000)


class CreateArguments(Model):
    """create_session: a type, and what differs from its template's defaults."""

    session_type: SessionType
    session_id: UUID | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    risk_parameters: dict[str, Any] = Field(default_factory=dict)
    enabled_strategies: list[str] | None = None
    strategy_parameters: dict[str, Any] = Field(default_factory=dict)
    parent_session_id: UUID | None = None
    reason: str = Reason


class CreateFromTemplateArguments(Model):
    """create_session_from_template: a template's name and typed overrides, flat or by section."""

    template_name: str = Field(min_length=1, max_length=200)
    session_id: UUID | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)
    reason: str = Reason


class CommandArguments(Model):
    """What every command on a session takes."""

    session_id: UUID
    reason: str = Reason
    expected_version: int | None = Field(default=None, ge=1)

    @property
    def target(self) -> str | None:
        """Return what it does to what of the session, for the audit; None: the command's name tells."""
        return None


class Edits(Model):
    """New values for what may be edited; None leaves a section as it is, a dict replaces the keys it names."""

    config: dict[str, Any] | None = None
    risk_parameters: dict[str, Any] | None = None
    enabled_strategies: list[str] | None = None
    strategy_parameters: dict[str, Any] | None = None


class StartArguments(CommandArguments, Edits):
    """start_session, with the edits its holder made since creation."""


class UpdateArguments(CommandArguments, Edits):
    """update_session: change what may be changed.

    add_hold: hold a session that does not run anyway, so that no rule resumes it. clear_latch: lift the account's
    fired loss limit; a risk manager's alone.
    """

    add_hold: Hold | None = None
    clear_latch: bool = False


class HoldArguments(CommandArguments):
    """pause_session and resume_session: whose hold it is."""

    hold: Hold = Hold.PERSON


class SuspendArguments(CommandArguments):
    """health_check_failed: heal_after_s: health recovers it by itself after so many seconds; None: a person does.

    causes: the checks that failed, as health names them. to_do: what a person has to do before it goes on; empty:
    nothing but recover it.
    """

    heal_after_s: float | None = Field(default=None, ge=0, le=86_400, allow_inf_nan=False)
    causes: list[str] = Field(default_factory=list, max_length=20)
    to_do: str = Field(default="", max_length=2000)


class StopArguments(CommandArguments):
    """stop_session: close_positions None takes the session's own close_positions_on_stop."""

    close_positions: bool | None = None
    leave_positions_with: str | None = Field(default=None, max_length=200)
    stop_deadline_s: float | None = Field(default=None, gt=0, le=86_400, allow_inf_nan=False)


class RecoverArguments(CommandArguments):
    """recover_session: checkpoint_id None takes the newest state that verifies.

    accept_identity: restore a checkpoint that was made under this identity, its first 8 or more digits, although the
    session's is another now.
    """

    checkpoint_id: UUID | None = None
    accept_identity: str | None = Field(default=None, pattern=r"^[0-9a-f]{8,64}$")


class FinalizeArguments(CommandArguments):
    """finalization_complete: the verified final checkpoint, None for a session that never started."""

    checkpoint_id: UUID | None = None


class FailArguments(CommandArguments):
    """exception: what could not be handled."""

    error: str = Field(default="", max_length=4000)


class ForkArguments(Model):
    """fork: a new session that begins with another one's memory.

    checkpoint_id: of which moment; None: of this one. account: None gives it a paper account of its own. session_type:
    anything but Paper and Backtest needs a risk manager.
    """

    session_id: UUID
    checkpoint_id: UUID | None = None
    account: str | None = Field(default=None, min_length=1, max_length=200)
    session_type: SessionType = SessionType.PAPER_TRADING
    reason: str = Reason


class CheckpointArguments(CommandArguments):
    """create_checkpoint: keep the state of this moment. checkpoint_type: callers give `manual` alone."""

    note: str | None = Field(default=None, max_length=2000)
    checkpoint_type: str = MANUAL

    @field_validator("checkpoint_type")
    @classmethod
    def _is_the_callers(cls, value: str) -> str:
        if value != MANUAL:
            fix = f"Leave it out or give {MANUAL!r}: the desk itself gives the others. Say in `note` what it is for."
            raise InvalidArgument("checkpoint_type", f"{value[:40]!r} is not a type that callers give", fix)
        return value


class PinArguments(CommandArguments):
    """pin_session: hold it, or one checkpoint of it, against retention and pruning; pinned False lets go."""

    pinned: bool = True
    checkpoint_id: UUID | None = None

    @property
    def target(self) -> str:
        """Return what is held, or let go of: taking off what protects from retention is no pin."""
        what = f"checkpoint {self.checkpoint_id}" if self.checkpoint_id else "session"
        return f"{'pin' if self.pinned else 'unpin'} {what}"


class PruneArguments(CommandArguments):
    """prune_checkpoints: delete all but the newest `keep`, only those older than `older_than_s`; one or both."""

    keep: int | None = Field(default=None, ge=1, le=100_000)
    older_than_s: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.keep is None and self.older_than_s is None:
            fix = "Give keep, older_than_s, or both."
            raise InvalidArgument("prune", "would take everything", fix)
        return self


class CheckpointQuery(Model):
    """A question about one checkpoint of a session. states: read its content too."""

    session_id: UUID
    checkpoint_id: UUID
    states: bool = True


class QueryArguments(Model):
    """A question about one session."""

    session_id: UUID
    limit: int = Field(default=100, ge=1, le=1000)


class PlanArguments(Model):
    """A recovery plan: of which session; checkpoint_id and accept_identity as a recovery would be given them."""

    session_id: UUID
    checkpoint_id: UUID | None = None
    accept_identity: str | None = Field(default=None, pattern=r"^[0-9a-f]{8,64}$")


class ListArguments(Model):
    """list: filters that all must hold."""

    status: list[str] | None = None
    session_type: SessionType | None = None
    template_name: str | None = None
    account_id: str | None = None
    tag: str | None = None
    parent_session_id: UUID | None = None
    include_children: bool = False
    id_prefix: str | None = Field(default=None, pattern=r"^[0-9a-f]{1,32}$")
    limit: int = Field(default=100, ge=1, le=1000)
    order: Literal["newest", "oldest"] = "newest"
