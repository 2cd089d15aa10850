"""The second person's word on the pages: what waits is looked at, and confirmed or declined."""

from typing import Any
from uuid import UUID

from fntx_sessions.exceptions import FntxError, Forbidden, verb
from fntx_sessions.lifecycle.confirming.arguments import Confirmation, SettleArguments
from fntx_sessions.lifecycle.confirming.reading import get_confirmation
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.monitoring.flower.act import Act, Ended, Form, Look, Target, reason_of
from fntx_sessions.monitoring.flower.act_ended import ended_deed
from fntx_sessions.monitoring.flower.acting import Deed
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.monitoring.flower.words import moment, short
from fntx_sessions.parsing import parse
from fntx_sessions.security.four_eyes import same_person
from fntx_sessions.security.roles import VIEW, permit


class SecondWord(Act):
    """Confirm or decline one command that waits. Who may do either depends on the command, and is looked at then."""

    action = VIEW
    of_desk = True
    whole_desk = True
    facts_template = "act_confirmation_facts.html"

    def __init__(self, name: str, label: str, *, danger: bool) -> None:
        self.name, self.label, self.danger = name, label, danger
        self.task = f"fntx.confirmations.{name}"

    def target(self, ids: tuple[str, ...]) -> Target:
        """Return the command that the address names."""
        return Target(subject=UUID(ids[0]))

    def path(self, target: Target) -> tuple[str, ...]:
        """Return its address's parts."""
        return "confirmations", str(target.subject), self.name

    def title(self, target: Target) -> str:
        """Return which command is answered."""
        return f"{self.label}: command {short(target.subject)}"

    def look(self, desk: Desk, viewer: Viewer, target: Target, given: Form) -> Look:
        """Show the command, and what this word would do; or why this viewer's is not taken."""
        _ = given
        found = _waiting(desk, target)
        refused = self._refused(viewer, found)
        return Look(() if refused else self._happens(found), refused, facts={"confirmation": found})

    def _refused(self, viewer: Viewer, found: Confirmation) -> str | None:
        if found.state != "waiting":
            return _settled(found)
        own = same_person(viewer.actor.name, found.asked_by)
        if own and self.name == "confirm":
            return f"You asked for it yourself: it takes somebody else with the role {found.needed}."
        try:
            if not own:
                permit(viewer.actor, found.action, found.session_id)
        except Forbidden as error:
            return str(error)
        return None

    def _happens(self, found: Confirmation) -> tuple[str, ...]:
        if self.name == "decline":
            return ("It is not done. Who asked is told so, and why, when they ask again.",)
        return (
            f"It is done at once, in the name of {found.asked_by}: {'; '.join(found.words)}.",
            "The audit names you both. What was changed since it was asked is not done; it may be refused.",
        )

    def arguments(self, target: Target, form: Form) -> dict[str, Any]:
        """Return the word's arguments."""
        asked = {"confirmation": str(target.subject), "reason": reason_of(form)}
        parse(SettleArguments, asked)
        return asked

    def ended(self, desk: Desk, target: Target, command_id: UUID, deed: Deed | None) -> Ended:
        """Return what became of it, by Postgres where the command is settled, else by who sent it."""
        _ = command_id
        if deed is not None and (deed.result is not None or deed.problem is not None or deed.under_way):
            return self.remembered(target, deed)
        found = _waiting(desk, target)
        return Ended("not done" if found.state == "waiting" else "over", (_settled(found),))

    def remembered(self, target: Target, deed: Deed) -> Ended:
        """Return what became of it as far as who sent it knows."""
        _ = target
        return ended_deed(deed) if deed.result is None else _done(deed.result)


def _waiting(desk: Desk, target: Target) -> Confirmation:
    assert target.subject is not None  # noqa: S101 -- the address has one
    return get_confirmation(desk.engine, target.subject)


def _settled(found: Confirmation) -> str:
    if found.state == "waiting":
        return f"It waits until {moment(found.expires_at)} UTC."
    if found.state == "expired":
        return f"Its time was up at {moment(found.expires_at)} UTC: it is not done."
    word = "confirmed" if found.state == "confirmed" else "declined"
    why = f": {found.settled_reason}" if found.settled_reason else ""
    return f"{found.settled_by} {word} it at {moment(found.settled_at)} UTC{why}"


def _done(result: dict[str, Any]) -> Ended:
    found = Confirmation.model_validate({name: value for name, value in result.items() if name != "answer"})
    answer = result["answer"] or {}
    told = [_settled(found)]
    if answer.get("error"):
        return Ended("refused", (*told, str(FntxError.from_dict(answer["error"]))))
    if answer:
        told.append(f"{verb(found.action)} is {answer['state']}.")
    return Ended("done", tuple(told))


CONFIRM, DECLINE = SecondWord("confirm", "Confirm", danger=True), SecondWord("decline", "Decline", danger=False)
