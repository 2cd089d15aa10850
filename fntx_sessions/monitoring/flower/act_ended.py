"""What became of a command on a session, in words: done, refused, under way, or not known and how to ask again."""

from typing import Any
from uuid import UUID

from sqlalchemy import text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import FntxError, NeedsSecond, NotConfirmed, NotFound, OutcomeUnknown, Retryable, verb
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.history import get_outcome
from fntx_sessions.lifecycle.told import measures
from fntx_sessions.monitoring.flower.act import Act, Ended, Target
from fntx_sessions.monitoring.flower.acting import Deed
from fntx_sessions.monitoring.flower.words import moment, short
from fntx_sessions.schemas import Trigger

_SINCE = text("""
SELECT timestamp, actor, action, reason, version_after FROM audit
WHERE session_id = :session_id AND version_after > :version AND outcome IN ('done', 'pending')
  AND command_id <> :command_id
ORDER BY seq LIMIT 20
""")


UNKNOWN = Ended(
    "not known",
    (
        "Nobody here knows this command, and nothing of it was written: it did not happen, or it did not yet.",
        "Look at the session itself before you ask anew.",
    ),
)
# What can be said without Postgres of a command that this process did not send.
UNSEEN = Ended(
    "not known",
    ("Flower itself does not know this command; what became of it is seen here once Postgres answers.",),
)
_OTHERS = Ended(
    "refused",
    ("Its id is that of another command, which stands as it was. What is asked for here was not done.",),
)


class CommandAct(Act):
    """An act on one session, whose outcome Postgres keeps under the command's id."""

    def ended(self, desk: Desk, target: Target, command_id: UUID, deed: Deed | None) -> Ended:
        """Return what became of it, by Postgres where it knows, else by who sent it."""
        try:
            found = _stored(desk, command_id)
        except (NeedsSecond, NotConfirmed) as error:
            return _of_problem(error)
        if found is not None:
            return self._told(target, found)
        return self.remembered(target, deed) if deed else UNKNOWN

    def remembered(self, target: Target, deed: Deed) -> Ended:
        """Return what became of it as far as who sent it knows."""
        return self._told(target, deed.outcome) if deed.outcome else ended_deed(deed)

    def answers(self, target: Target, found: Outcome) -> bool:
        """Tell whether an outcome is one of this act on this target: an id may have been another command's."""
        return found.session_id == target.session_id and found.trigger.value == self.action

    def _told(self, target: Target, found: Outcome) -> Ended:
        return _of_outcome(found) if self.answers(target, found) else _OTHERS


def _stored(desk: Desk, command_id: UUID) -> Outcome | None:
    try:
        return get_outcome(desk.engine, command_id)
    except NotFound:
        return None


def ended_deed(deed: Deed) -> Ended:
    """Return what is known of a command that has no outcome: on its way, refused at the door, or not known."""
    if deed.under_way:
        return Ended("under way", (f"Sent at {moment(deed.asked_at)} UTC. No worker has answered yet.",))
    return _of_problem(deed.problem)


def _of_problem(problem: FntxError | None) -> Ended:
    if problem is None or isinstance(problem, OutcomeUnknown):
        told = "Nobody answered: it may have been done, or may be yet. Ask again: however often, it acts once."
        return Ended("unknown", (told, str(problem)) if problem else (told,), again=True)
    if isinstance(problem, NeedsSecond):
        return Ended("waits", (str(problem),))
    if isinstance(problem, Retryable):
        told = "Nothing was done. You may ask again: however often, it acts once."
        return Ended("not done", (str(problem), told), again=True)
    return Ended("refused", (str(problem),))


def _of_outcome(found: Outcome) -> Ended:
    if found.error is not None:
        return Ended("refused", (str(FntxError.from_dict(found.error)),))
    if found.state == "pending":
        return Ended("under way", tuple(filter(None, (_waits(found), *found.warnings))))
    return Ended("done", tuple(filter(None, (_done(found), *_more(found), *found.warnings))))


def _waits(found: Outcome) -> str:
    waiting = ", ".join(found.extra.get("waiting_for", ()))
    if waiting:
        return f"It waits for {waiting}, until {moment(found.extra.get('deadline'))} UTC at most."
    return f"It has begun; a worker goes on with it ({verb(found.trigger)})."


def _done(found: Outcome) -> str:
    status = f"The session is {found.status}" if found.status else "It is done"
    return f"{status}, at version {found.version}, since {moment(found.at)} UTC."


def _more(found: Outcome) -> list[str]:
    """Return what an answer says beside the status."""
    extra: dict[str, Any] = found.extra
    if found.trigger is Trigger.RECOVER:
        return [f"{measures(extra)}."]
    if found.trigger is Trigger.CHECKPOINT:
        size = f", {extra['size_bytes']:,} bytes, read back and verified" if "size_bytes" in extra else ""
        return [f"Checkpoint {short(extra.get('checkpoint_id'))}{size}."]
    if "approval_state" in extra:
        return [f"{extra.get('trade_id')} is {extra['approval_state']}."]
    in_flight = extra.get("in_flight")
    if in_flight is None:
        return []
    return [f"In flight: {', '.join(in_flight)}." if in_flight else "Nothing is in flight."]


def since_then(desk: Desk, session_id: UUID, version: int, command_id: UUID) -> list[dict[str, Any]]:
    """Return what others changed since somebody looked at `version`, oldest first: who, what, when and why."""
    bound = {"session_id": session_id, "version": version, "command_id": command_id}
    with transaction(desk.engine) as connection:
        return rows(connection.execute(_SINCE, bound))
