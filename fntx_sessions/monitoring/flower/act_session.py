"""The commands on one session that the pages send."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from fntx_sessions.exceptions import FntxError, InvalidArgument, Retryable
from fntx_sessions.lifecycle import commands
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.checkpoints import get_checkpoints
from fntx_sessions.lifecycle.reads.head import session_head
from fntx_sessions.lifecycle.reads.sessions import get_session
from fntx_sessions.lifecycle.recovery.plan import create_recovery_plan
from fntx_sessions.lifecycle.rehearsing import rehearse
from fntx_sessions.monitoring.flower import act_words
from fntx_sessions.monitoring.flower.act import Ended, Form, Look, Target, reason_of
from fntx_sessions.monitoring.flower.act_ended import CommandAct
from fntx_sessions.monitoring.flower.acting import Deed
from fntx_sessions.monitoring.flower.asking import whole
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.monitoring.flower.words import short
from fntx_sessions.parsing import parse
from fntx_sessions.pasting import halt_command
from fntx_sessions.schemas import SessionStatus, Trigger

_CHECKPOINTS = 50
Says = Callable[[act_words.Seen], list[str]]


class SessionAct(CommandAct):
    """One command. says: what it will do; conditional: refused where the session moved on since it was shown.

    ends_risk: where nobody takes it, a halt is named that does so too.

    What ends risk is not conditional: it means the same whatever came between, and must not wait for another look.
    """

    facts_template = "act_session_facts.html"

    def __init__(
        self,
        name: str,
        trigger: Trigger,
        label: str,
        says: Says,
        *,
        danger: bool = False,
        conditional: bool = False,
        ends_risk: bool = False,
    ) -> None:
        self.name, self.label, self.danger = name, label, danger
        self.action, self.task = trigger.value, f"fntx.sessions.{name}"
        self._trigger, self._says, self._conditional = trigger, says, conditional
        self._ends_risk = ends_risk

    def path(self, target: Target) -> tuple[str, ...]:
        """Return its address's parts."""
        return str(target.session_id), "act", self.name

    def title(self, target: Target) -> str:
        """Return what is done to which session."""
        return f"{self.label}: session {short(target.session_id)}"

    def remembered(self, target: Target, deed: Deed) -> Ended:
        """Return what became of it; of one that ends risk and may not have been sent, with what needs no Redis."""
        ended = super().remembered(target, deed)
        if not (ended.again and self._ends_risk):
            return ended
        halt = halt_command(f"session:{_session(target)}", flatten=True)
        told = f"Where positions are open and cannot wait, on the desk's machine, without Redis and workers: {halt}"
        return replace(ended, told=(*ended.told, told))

    def look(self, desk: Desk, viewer: Viewer, target: Target, given: Form) -> Look:
        """Rehearse the command, and say what it will do."""
        session_id = _session(target)
        ask = self._ask(viewer, session_id, given)
        found = rehearse(desk.engine, ask)
        session = get_session(*desk.parts(), session_id)
        seen = act_words.Seen(found, session, chosen=bool(ask.arguments))
        told = [] if found.refused else [*self._says(seen), act_words.withdrawn(found.last), *found.last.warnings]
        told.insert(0, act_words.two_people(found.second))
        return Look(
            tuple(filter(None, told)),
            str(found.refused) if found.refused else None,
            found.row["version"] if self._conditional else None,
            {"session": session, "row": found.row},
            found.row["version"],
        )

    def _ask(self, viewer: Viewer, session_id: UUID, given: Form) -> Ask:
        return Ask(self._trigger, session_id, viewer.actor, "seen", uuid4(), self._rehearsed(session_id, given))

    def _rehearsed(self, session_id: UUID, given: Form) -> dict[str, Any]:
        """Return the command's own arguments as far as they are chosen, to rehearse it with."""
        _ = session_id, given
        return {}

    def arguments(self, target: Target, form: Form) -> dict[str, Any]:
        """Return the command's arguments, validated as the worker will."""
        asked = {"session_id": str(_session(target)), "reason": reason_of(form), **self._own(form)}
        if self._conditional and form.get("version"):
            asked["expected_version"] = _whole(form["version"])
        parse(commands.ARGUMENTS[self._trigger], asked)
        return asked

    def _own(self, form: Form) -> dict[str, Any]:
        _ = form
        return {}


class Stop(SessionAct):
    """A stop, with its policy: the one that is chosen, or the session's own."""

    fields_template = "act_stop_fields.html"

    def choices(self, desk: Desk, target: Target, given: Form) -> dict[str, Any]:
        """Return the session's own policy."""
        _ = given
        config = session_head(desk.engine, _session(target))["config"]
        return {"close": bool(config["close_positions_on_stop"]), "heir": config["leave_positions_with"] or ""}

    def _rehearsed(self, session_id: UUID, given: Form) -> dict[str, Any]:
        _ = session_id
        if given.get("policy") not in ("close", "leave"):
            return {}
        heir = given.get("leave_positions_with", "").strip() or None
        return {"close_positions": given["policy"] == "close", "leave_positions_with": heir}

    def _own(self, form: Form) -> dict[str, Any]:
        policy = form.get("policy")
        if policy not in ("close", "leave"):
            raise InvalidArgument("policy", "is not chosen", "Choose whether positions are closed or left.")
        heir = form.get("leave_positions_with", "").strip()
        if policy == "close":
            return {"close_positions": True}
        if not heir:
            raise InvalidArgument("leave_positions_with", "is missing", "Name who looks after the positions.")
        return {"close_positions": False, "leave_positions_with": heir}


class Recover(SessionAct):
    """A recovery, from the best that verifies or from a checkpoint that is named."""

    fields_template = "act_recover_fields.html"

    def choices(self, desk: Desk, target: Target, given: Form) -> dict[str, Any]:
        """Return the current plan and the checkpoints to choose from; it reads and proves them."""
        _ = given
        session_id = _session(target)
        kept = get_checkpoints(desk.engine, session_id, _CHECKPOINTS)
        must_name = session_head(desk.engine, session_id)["status"] == SessionStatus.ERROR
        try:
            plan, problem = create_recovery_plan(*desk.parts(), session_id), None
        except Retryable:
            raise
        except FntxError as error:
            plan, problem = None, str(error)
        return {"plan": plan, "plan_problem": problem, "checkpoints": kept, "must_name": must_name}

    def _rehearsed(self, session_id: UUID, given: Form) -> dict[str, Any]:
        # Which one, the form asks: here it is enough that one will be named.
        return {"checkpoint_id": given.get("checkpoint_id") or str(session_id)}

    def _own(self, form: Form) -> dict[str, Any]:
        given = {name: form.get(name, "").strip() for name in ("checkpoint_id", "accept_identity")}
        return {name: value for name, value in given.items() if value}


class Checkpoint(SessionAct):
    """A checkpoint by hand, with a note."""

    fields_template = "act_checkpoint_fields.html"

    def _own(self, form: Form) -> dict[str, Any]:
        note = form.get("note", "").strip()
        return {"note": note} if note else {}


def _session(target: Target) -> UUID:
    assert target.session_id is not None  # noqa: S101 -- the address has one
    return target.session_id


def _whole(given: str) -> int:
    found = whole(given)
    if found is None:
        raise InvalidArgument("version", f"{given[:40]!r} is no version", "Go back to the session, and begin anew.")
    return found


SESSION_ACTS: dict[str, SessionAct] = {
    act.name: act
    for act in (
        SessionAct("start", Trigger.START, "Start", act_words.start, conditional=True),
        SessionAct("pause", Trigger.PAUSE, "Pause", act_words.pause, ends_risk=True),
        SessionAct("resume", Trigger.RESUME, "Resume", act_words.resume, conditional=True),
        SessionAct("suspend", Trigger.SUSPEND, "Suspend", act_words.suspend, danger=True, ends_risk=True),
        Stop("stop", Trigger.STOP, "Stop", act_words.stop, danger=True, ends_risk=True),
        Recover("recover", Trigger.RECOVER, "Recover", act_words.recover, conditional=True),
        Checkpoint("checkpoint", Trigger.CHECKPOINT, "Checkpoint", act_words.checkpoint),
        SessionAct("accept", Trigger.ACCEPT, "Accept differences", act_words.accept, danger=True, conditional=True),
    )
}
