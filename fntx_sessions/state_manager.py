"""SessionStateManager: the desk other services ask at about the state a session has kept."""

from typing import Any, Unpack
from uuid import UUID

from fntx_sessions.caller.fresh import learn_everywhere
from fntx_sessions.caller.ids import as_id
from fntx_sessions.caller.manager import Asking, Manager
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.schemas import SessionCheckpoint, SessionRecoveryPlan, SessionStatus, TradingSession

Id = UUID | str
# A session as a manager hands it out, or its id.
Session = TradingSession | Id


class SessionStateManager(Manager):
    """Asks for checkpoints, recoveries and validations without blocking the loop.

    Whatever takes a session takes its id too. The `status`, `version` and `epoch` of a session that was given, or that
    a manager of this process handed out, follow the outcomes. Commands are asked, and raise, as
    `SessionLifecycleManager`'s are.
    """

    async def create_checkpoint(
        self,
        session: Session,
        note: str | None = None,
        checkpoint_type: str = "manual",
        *,
        reason: str = "",
        **asking: Unpack[Asking],
    ) -> SessionCheckpoint:
        """Keep the state of this moment, all agents of one revision; returned once it is stored and was read back."""
        arguments = {"note": note, "checkpoint_type": checkpoint_type, "reason": reason}
        outcome = await self._command("checkpoint", session, arguments, asking)
        return await self.get_checkpoint(session, outcome.extra["checkpoint_id"], states=False)

    async def list_checkpoints(self, session: Session, limit: int = 10) -> list[SessionCheckpoint]:
        """Return the last `limit` checkpoints, newest first, without their states."""
        found = await self._query("fntx.sessions.checkpoints", {"session_id": await self._id(session), "limit": limit})
        return [SessionCheckpoint.model_validate(one) for one in found]

    async def get_checkpoint(self, session: Session, checkpoint_id: Id, *, states: bool = True) -> SessionCheckpoint:
        """Return one checkpoint with its states, read and verified; states False: its facts alone.

        Raises NotFound, and IntegrityError naming what is damaged.
        """
        arguments = {**await self._one(session, checkpoint_id), "states": states}
        return SessionCheckpoint.model_validate(await self._query("fntx.sessions.get_checkpoint", arguments))

    async def verify_checkpoint(self, session: Session, checkpoint_id: Id) -> SessionCheckpoint:
        """Read a checkpoint whole, wherever it lies, and return it; its `verified` says whether it is sound.

        A damaged one is written again from a sound copy in another tier (`read_from`), with an event; where there is
        none it stays unverified, with an event that says what is wrong.
        """
        found = await self._query("fntx.sessions.verify", await self._one(session, checkpoint_id))
        return SessionCheckpoint.model_validate(found["checkpoint"])

    async def restore_from_checkpoint(
        self,
        session: Session,
        checkpoint_id: Id,
        accept_identity: str | None = None,
        *,
        reason: str = "",
        **asking: Unpack[Asking],
    ) -> bool:
        """Recover a session from this checkpoint and no other; True once it is PAUSED with that memory.

        accept_identity: restore it although it was made under this other identity, its first 8 or more digits.
        """
        arguments = {
            "checkpoint_id": as_id(checkpoint_id, "checkpoint_id"),
            "accept_identity": accept_identity,
            "reason": reason,
        }
        return (await self._command("recover", session, arguments, asking)).state == "done"

    async def validate_session_state(self, session: Session) -> dict[str, Any]:
        """Return ``{"valid": bool, "errors": [...], "warnings": [...]}`` of the state there is now, by path."""
        found: dict[str, Any] = await self._query("fntx.sessions.validate", {"session_id": await self._id(session)})
        return found

    async def create_recovery_plan(
        self, session: Session, checkpoint_id: Id | None = None, *, accept_identity: str | None = None
    ) -> SessionRecoveryPlan:
        """Return what a recovery would try, in its order; nothing is changed. checkpoint_id: that one and no other."""
        named = None if checkpoint_id is None else as_id(checkpoint_id, "checkpoint_id")
        arguments = {"session_id": await self._id(session), "checkpoint_id": named, "accept_identity": accept_identity}
        plan = SessionRecoveryPlan.model_validate(await self._query("fntx.sessions.plan", arguments))
        return plan.model_copy(update={"named_checkpoint_id": named})

    async def execute_recovery_plan(
        self,
        plan: SessionRecoveryPlan,
        accept_identity: str | None = None,
        *,
        reason: str = "",
        **asking: Unpack[Asking],
    ) -> bool:
        """Recover as planned, falling back on the next candidate where a check fails; True once it is PAUSED.

        Raises VersionConflict when the session has moved on since the plan was made: plan again.
        """
        if not isinstance(plan, SessionRecoveryPlan):
            fix = "Pass what create_recovery_plan returned."
            raise InvalidArgument("plan", f"{str(plan)[:60]!r} is not a plan", fix)
        # Out of ERROR only what a person names is taken: they saw the plan.
        named = plan.checkpoint_id if plan.status is SessionStatus.ERROR else plan.named_checkpoint_id
        arguments = {"checkpoint_id": named, "accept_identity": accept_identity, "reason": reason}
        asked: Asking = {"expected_version": plan.version, **asking}
        return (await self._command("recover", plan.session_id, arguments, asked)).state == "done"

    async def prune(
        self,
        session: Session,
        keep: int | None = None,
        older_than_s: float | None = None,
        *,
        reason: str = "",
        **asking: Unpack[Asking],
    ) -> list[UUID]:
        """Delete all but the newest `keep` checkpoints, only those older than `older_than_s`; return which went.

        Never a pinned one, the newest verified one, or the final one of a session that is not archived yet.
        """
        arguments = {"keep": keep, "older_than_s": older_than_s, "reason": reason}
        outcome = await self._command("prune", session, arguments, asking)
        return [UUID(one) for one in outcome.extra["pruned"]]

    async def pin(
        self, session: Session, checkpoint_id: Id | None = None, *, reason: str = "", **asking: Unpack[Asking]
    ) -> Outcome:
        """Hold a session, or one checkpoint of it, against every retention and pruning."""
        return await self._pin(session, checkpoint_id, asking, pinned=True, reason=reason)

    async def unpin(
        self, session: Session, checkpoint_id: Id | None = None, *, reason: str = "", **asking: Unpack[Asking]
    ) -> Outcome:
        """Let go of what was pinned."""
        return await self._pin(session, checkpoint_id, asking, pinned=False, reason=reason)

    async def _pin(self, session: Session, checkpoint_id: Id | None, asking: Asking, **arguments: Any) -> Outcome:
        named = None if checkpoint_id is None else as_id(checkpoint_id, "checkpoint_id")
        return await self._command("pin", session, {**arguments, "checkpoint_id": named}, asking)

    async def _command(self, verb: str, session: Session, arguments: dict[str, Any], asking: Asking) -> Outcome:
        outcome = await self._outcome(
            f"fntx.sessions.{verb}", {"session_id": await self._id(session), **arguments}, asking
        )
        learn_everywhere(outcome, session if isinstance(session, TradingSession) else None)
        return outcome.raise_for_refusal()

    async def _one(self, session: Session, checkpoint_id: Id) -> dict[str, UUID]:
        return {"session_id": await self._id(session), "checkpoint_id": as_id(checkpoint_id, "checkpoint_id")}
