"""Halts: placed over a scope that is looked at first, and released."""

from typing import Any
from uuid import UUID

from fntx_sessions.automation import halt_rows
from fntx_sessions.automation.halt_arguments import Halt, HaltArguments, ReleaseArguments, Scope
from fntx_sessions.exceptions import Forbidden, NotFound
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.halted import in_scope
from fntx_sessions.lifecycle.told import positions
from fntx_sessions.monitoring.flower.act import Act, Ended, Form, Look, Target, reason_of
from fntx_sessions.monitoring.flower.act_ended import UNKNOWN, ended_deed
from fntx_sessions.monitoring.flower.act_words import takes_two_people
from fntx_sessions.monitoring.flower.acting import Deed
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.monitoring.flower.words import moment, short
from fntx_sessions.parsing import parse
from fntx_sessions.pasting import halt_command
from fntx_sessions.security.roles import HALT, RELEASE_HALT

_RUNS, _RESTS = ("active",), ("paused", "suspended")


class PlaceHalt(Act):
    """Halt a scope. Without one in the address, the page asks for it."""

    name = "place"
    label = "Halt"
    action = HALT
    task = "fntx.halts.place"
    danger = True
    of_desk = True
    facts_template = "act_halt_facts.html"
    fields_template = "act_halt_fields.html"

    def path(self, target: Target) -> tuple[str, ...]:
        """Return its address's parts."""
        _ = target
        return "halts", "place"

    def title(self, target: Target) -> str:
        """Return what is done."""
        _ = target
        return "Halt trading"

    def look(self, desk: Desk, viewer: Viewer, target: Target, given: Form) -> Look:
        """Count what the scope holds, and say what halting it does."""
        _ = target
        if not given.get("scope"):
            return Look(facts={"scope": None})
        wanted = Scope.parse(given["scope"])
        theirs = wanted.among(viewer.actor)
        if theirs is None:  # what there is, is not for them
            facts: dict[str, Any] = {"scope": str(wanted), "found": None, "standing": None}
            return Look(refused=_forbidden(viewer, wanted), facts=facts)
        scope = halt_rows.known(desk.engine, theirs)
        found = in_scope(desk.engine, scope.kind, scope.name)
        facts = {"scope": str(scope), "found": found, "standing": _standing(desk, scope)}
        return Look(_happens(found), facts=facts)

    def may_see(self, desk: Desk, viewer: Viewer, command_id: UUID) -> bool:
        """Tell whether a halt that somebody placed is of what a viewer may see."""
        found = _halt(desk, command_id)
        if found is None:
            return True
        return Scope(kind=found.scope, name=found.scope_name).among(viewer.actor) is not None

    def arguments(self, target: Target, form: Form) -> dict[str, Any]:
        """Return the halt's arguments."""
        _ = target
        asked = {"scope": form.get("scope", ""), "reason": reason_of(form), "flatten": form.get("flatten") == "yes"}
        Scope.parse(asked["scope"])
        parse(HaltArguments, asked)
        return asked

    def ended(self, desk: Desk, target: Target, command_id: UUID, deed: Deed | None) -> Ended:
        """Return what became of it; the halt's id is the command's, unless one stood already."""
        _ = target
        if deed is not None and deed.result is not None:
            return _placed(deed.result)
        found = _halt(desk, command_id)
        if found is not None:
            return Ended("done", (_stands(found),))
        return self.remembered(target, deed) if deed else UNKNOWN

    def remembered(self, target: Target, deed: Deed) -> Ended:
        """Return what became of it; of one that may not have been sent, with what needs neither Redis nor workers."""
        _ = target
        if deed.result is not None:
            return _placed(deed.result)
        ended = ended_deed(deed)
        if not ended.again:
            return ended
        straight = halt_command(deed.arguments["scope"], flatten=deed.arguments["flatten"])
        told = f"On the desk's machine, without Redis and workers: {straight}"
        return Ended(ended.grade, (*ended.told, told), again=True)


class ReleaseHalt(Act):
    """End a halt."""

    name = "release"
    label = "Release"
    action = RELEASE_HALT
    task = "fntx.halts.release"
    danger = True
    of_desk = True
    whole_desk = True
    facts_template = "act_release_facts.html"

    def target(self, ids: tuple[str, ...]) -> Target:
        """Return the halt that the address names."""
        return Target(subject=UUID(ids[0]))

    def path(self, target: Target) -> tuple[str, ...]:
        """Return its address's parts."""
        return "halts", str(target.subject), "release"

    def title(self, target: Target) -> str:
        """Return which halt is ended."""
        return f"Release halt {short(target.subject)}"

    def look(self, desk: Desk, viewer: Viewer, target: Target, given: Form) -> Look:
        """Show the halt, and what it leaves paused."""
        _ = given
        halt = halt_rows.load(desk.engine, _subject(target))
        facts = {"halt": halt, "held": halt_rows.held(desk.engine, halt.halt_id)}
        if not halt.stands:
            return Look(refused=_over(halt), facts=facts)
        told = (
            f"{halt.where} may start, resume and open positions again, as far as no other halt stands.",
            "Nothing is resumed by it: what it paused stays paused until a person resumes it.",
        )
        return Look((*takes_two_people(self.action, viewer), *told), facts=facts)

    def arguments(self, target: Target, form: Form) -> dict[str, Any]:
        """Return the release's arguments."""
        asked = {"halt_id": str(target.subject), "reason": reason_of(form)}
        parse(ReleaseArguments, asked)
        return asked

    def ended(self, desk: Desk, target: Target, command_id: UUID, deed: Deed | None) -> Ended:
        """Return what became of it; of a halt that is over, by whom, and whether that was this release."""
        _ = command_id
        if deed is not None and deed.result is not None:
            return self.remembered(target, deed)
        halt = halt_rows.load(desk.engine, _subject(target))
        if halt.stands:
            return self.remembered(target, deed) if deed else UNKNOWN
        return _is_over(halt, deed, ()) if deed else Ended("over", (_over(halt),))

    def remembered(self, target: Target, deed: Deed) -> Ended:
        """Return what became of it as far as who sent it knows."""
        _ = target
        return _released(deed, deed.result) if deed.result is not None else ended_deed(deed)


def _subject(target: Target) -> UUID:
    assert target.subject is not None  # noqa: S101 -- the address has one
    return target.subject


def _forbidden(viewer: Viewer, scope: Scope) -> str:
    needed = "a token whose scope holds all of it"
    return str(Forbidden(viewer.actor.name, viewer.actor.role_list(), f"halt {scope}", needed))


def _standing(desk: Desk, scope: Scope) -> Halt | None:
    found = halt_rows.listed(desk.engine, released=False, limit=0)
    return next((one for one in found if (one.scope, one.scope_name) == (scope.kind, scope.name)), None)


def _halt(desk: Desk, halt_id: UUID) -> Halt | None:
    try:
        return halt_rows.load(desk.engine, halt_id)
    except NotFound:
        return None


def _happens(found: list[dict[str, Any]]) -> tuple[str, ...]:
    runs, rests = (_count(found, statuses) for statuses in (_RUNS, _RESTS))
    held = sum(int(row["positions"] or 0) for row in found)
    return (
        "Nothing in scope starts, resumes or opens a position, from this moment on, whoever asks.",
        f"{runs} that run are paused, {rests} that rest are held: no rule resumes them.",
        f"They hold {positions(held)}. Without flattening these stay, and what protects them goes on.",
        "With flattening, what runs and rests is stopped, for good, and its positions are closed at the market.",
        "It stands until a risk manager releases it. That resumes nothing.",
    )


def _count(found: list[dict[str, Any]], statuses: tuple[str, ...]) -> int:
    return sum(row["sessions"] for row in found if row["status"] in statuses)


def _placed(result: dict[str, Any]) -> Ended:
    halt, left = Halt.model_validate(result["halt"]), result["left"]
    told = [_stands(halt)]
    if result["standing"]:
        told.insert(0, "It was halted already: that halt stands, and what was left of it was seen to.")
    if left:
        told.append(f"{left} sessions could not be paused or stopped yet. They open nothing, and the desk goes on.")
    return Ended("done", tuple(told), rows=tuple(result["items"]))


def _stands(halt: Halt) -> str:
    what = ", its positions to be closed" if halt.flatten else ""
    if not halt.stands:
        return _over(halt)
    return f"{halt.where} is halted{what}, by {halt.actor} since {moment(halt.created_at)} UTC: {halt.reason}"


def _over(halt: Halt) -> str:
    return (
        f"The halt of {halt.where} is over, by {halt.released_by} at {moment(halt.released_at)} UTC: "
        f"{halt.release_reason}"
    )


def _released(deed: Deed, result: dict[str, Any]) -> Ended:
    halt, count = Halt.model_validate(result["halt"]), len(result["sessions"])
    told = f"{count} sessions stay as they are: a person resumes each." if count else "No session is held by it."
    return _is_over(halt, deed, (told,))


def _is_over(halt: Halt, deed: Deed, told: tuple[str, ...]) -> Ended:
    """Tell whose release ended a halt: asked for after somebody else's, it is answered with theirs."""
    asked = parse(ReleaseArguments, deed.arguments)
    if (halt.released_by, halt.release_reason) == (deed.by, asked.reason):
        return Ended("done", (_over(halt), *told))
    return Ended("refused", ("It was over already when this was asked for.", _over(halt), *told))


PLACE, RELEASE = PlaceHalt(), ReleaseHalt()
