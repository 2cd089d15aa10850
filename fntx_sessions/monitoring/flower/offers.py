"""Offers: what a viewer may do with what a page shows, each with the address of the page that does it.

An offer says what may make sense in a status and what a role allows; the page behind it looks closer and says so where
it would be refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fntx_sessions.lifecycle.confirming.arguments import Confirmation
from fntx_sessions.lifecycle.transitions import TABLE, TERMINAL
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.schemas import SessionStatus as S
from fntx_sessions.schemas import Trigger as T  # noqa: N817 - as the state table is written
from fntx_sessions.security.roles import HALT, RECOVER_FROM_ERROR, RELEASE_HALT


@dataclass(frozen=True, slots=True)
class Offer:
    """One link. path: what `link(*offer.path)` makes its address of. danger: it ends or risks something."""

    label: str
    path: tuple[str, ...]
    danger: bool = False


_ORDER: tuple[tuple[T, str, str, bool], ...] = (
    (T.START, "start", "Start", False),
    (T.RESUME, "resume", "Resume", False),
    (T.PAUSE, "pause", "Pause", False),
    (T.STOP, "stop", "Stop", True),
    (T.RECOVER, "recover", "Recover", False),
    (T.SUSPEND, "suspend", "Suspend", True),
    (T.CHECKPOINT, "checkpoint", "Checkpoint", False),
    (T.ACCEPT, "accept", "Accept differences", True),
)


def offers(viewer: Viewer, session: Mapping[str, Any]) -> list[Offer]:
    """Return what a viewer may do with a session, the usual first; nothing to those who only look.

    session: session_id and status; with started_at, recovery_data and host_lost, where known, it looks closer.
    """
    found = UUID(str(session["session_id"]))
    if not viewer.sees(found):
        return []
    return [
        Offer(label, (str(found), "act", action), danger)
        for trigger, action, label, danger in _ORDER
        if viewer.may(trigger.value) and _makes_sense(viewer, trigger, session)
    ]


def _makes_sense(viewer: Viewer, trigger: T, session: Mapping[str, Any]) -> bool:
    status = S(str(session["status"]))
    if trigger is T.CHECKPOINT:
        return status not in TERMINAL and status is not S.INITIALIZING and session.get("started_at", True) is not None
    if trigger is T.ACCEPT:
        return bool((session.get("recovery_data") or {}).get("differences"))
    if trigger is T.RECOVER and status is S.ACTIVE:
        return bool(session.get("host_lost"))
    if trigger is T.RECOVER and status is S.ERROR:
        return viewer.may(RECOVER_FROM_ERROR)
    return status in TABLE[trigger][0]


def approval_offers(viewer: Viewer, session_id: UUID | str, approval_id: UUID | str) -> list[Offer]:
    """Return what a viewer may answer to an approval that waits."""
    if not viewer.may(T.DECIDE.value) or not viewer.sees(UUID(str(session_id))):
        return []
    path = (str(session_id), "approvals", str(approval_id))
    return [Offer("Approve", (*path, "approve")), Offer("Reject", (*path, "reject"), danger=True)]


def event_offers(viewer: Viewer, session_id: UUID | str, event_id: UUID | str) -> list[Offer]:
    """Return the acknowledgement of an event that waits for one."""
    if not viewer.may(T.ACKNOWLEDGE.value) or not viewer.sees(UUID(str(session_id))):
        return []
    return [Offer("Acknowledge", (str(session_id), "events", str(event_id), "ack"))]


def second_offers(viewer: Viewer, waiting: Confirmation) -> list[Offer]:
    """Return what a viewer may say to a command that waits for a second person, whoever asked.

    All who have the same rights are shown the same page: that one's own takes somebody else, the next page says.
    """
    if waiting.state != "waiting" or viewer.scoped or not viewer.may(waiting.action):
        return []
    path = ("confirmations", str(waiting.command_id))
    return [Offer("Confirm", (*path, "confirm")), Offer("Decline", (*path, "decline"), danger=True)]


def halt_offers(viewer: Viewer, halt_id: UUID | str | None = None) -> list[Offer]:
    """Return what a viewer may do about a halt that stands; None: about placing one."""
    if halt_id is None:
        return [Offer("Halt", ("halts", "place"), danger=True)] if viewer.may(HALT) else []
    if viewer.scoped or not viewer.may(RELEASE_HALT):
        return []
    return [Offer("Release", ("halts", str(halt_id), "release"), danger=True)]
