"""What a person can do on the pages: shown before it is done, and then sent as a command."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.monitoring.flower.acting import Deed
from fntx_sessions.monitoring.flower.who import Viewer

REASON_CHARACTERS = 2000
Form = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """What is acted on. subject: the approval, event or halt, where it is one of those."""

    session_id: UUID | None = None
    subject: UUID | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """How things stand before something is done. happens: what it will do, a sentence each.

    refused: why it would not be done now. version: the session's, where the command is to be conditional on it; seen:
    the session's, whatever the command is, to tell later what came between. facts: for the act's own template.
    """

    happens: tuple[str, ...] = ()
    refused: str | None = None
    version: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    seen: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of something done.

    grade: `done`, `over`, `refused`, `under way`, `waits`, `unknown`, `not done` or `not known`. told: a sentence each.
    rows: what became of several sessions, as facts of the template.
    """

    grade: str
    told: tuple[str, ...] = ()
    again: bool = False
    rows: tuple[dict[str, Any], ...] = ()


class Act:
    """One thing to do. action: what a role has to allow; task: what is sent.

    facts_template, fields_template: what is known of the subject, and what the form asks besides a reason.
    """

    name: str
    label: str
    action: str
    task: str
    danger: bool = False
    of_desk: bool = False
    whole_desk: bool = False
    facts_template: str
    fields_template: str = "act_no_fields.html"

    def target(self, ids: tuple[str, ...]) -> Target:
        """Return what the address names."""
        return Target(*map(UUID, ids))

    def path(self, target: Target) -> tuple[str, ...]:
        """Return what `link` makes its address of."""
        raise NotImplementedError

    def title(self, target: Target) -> str:
        """Return what is done to what, as its page is called."""
        raise NotImplementedError

    def look(self, desk: Desk, viewer: Viewer, target: Target, given: Form) -> Look:
        """Return how things stand; runs in a thread. given: the address's question.

        Raises NotFound and InvalidArgument for what the address names, Retryable where a store is away.
        """
        raise NotImplementedError

    def choices(self, desk: Desk, target: Target, given: Form) -> dict[str, Any]:
        """Return what the form's own fields need; asked once a form, in a thread."""
        _ = desk, target, given
        return {}

    def arguments(self, target: Target, form: Form) -> dict[str, Any]:
        """Return the command's arguments as the form says; raises InvalidArgument naming the field."""
        raise NotImplementedError

    def ended(self, desk: Desk, target: Target, command_id: UUID, deed: Deed | None) -> Ended:
        """Return what became of it, as Postgres or the deed knows; runs in a thread."""
        raise NotImplementedError

    def may_see(self, desk: Desk, viewer: Viewer, command_id: UUID) -> bool:
        """Tell whether a viewer may see what became of a command that is not known to be theirs; in a thread."""
        _ = desk, viewer, command_id
        return True

    def remembered(self, target: Target, deed: Deed) -> Ended:
        """Return what became of it as the deed alone knows, where Postgres is not asked or does not answer."""
        raise NotImplementedError


def reason_of(form: Form) -> str:
    """Return the form's reason; raises InvalidArgument where it says nothing, or too much."""
    reason: str = form.get("reason", "").strip()
    if not any(map(str.isalnum, reason)):
        raise InvalidArgument("reason", "says nothing", "Say why: it is kept with your name, and others read it.")
    if len(reason) > REASON_CHARACTERS:
        raise InvalidArgument("reason", f"is longer than {REASON_CHARACTERS} characters", "Say it shorter.")
    return reason
