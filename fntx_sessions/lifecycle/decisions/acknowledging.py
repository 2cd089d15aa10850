"""acknowledge_event: somebody saw to an event, or says that there is nothing to be done. Once; the first one stands."""

from typing import Any
from uuid import UUID

from fntx_sessions.exceptions import NotFound, PreconditionFailed
from fntx_sessions.lifecycle.change import Ask, Change, Row


def acknowledge(row: Row, ask: Ask) -> list[Change]:
    """Acknowledge one event of the session, in whatever status that is; raises NotFound and PreconditionFailed."""
    event = row["event"]
    if event is None:
        fix = "See `fntx events`; of a session whose rows are archived, its archive alone has them."
        raise NotFound("event", ask.arguments["event_id"], fix)
    if event["acknowledged_at"] is not None:
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "nobody has acknowledged the event",
            f"{event['acknowledged_by']} did so at {event['acknowledged_at'][:19]} UTC: {_done(event)}",
            "Nothing is left to do here.",
        )  # fmt: skip
    taken = ask.arguments.get("action_taken") or None
    seen_to = {"event_id": UUID(event["event_id"]), "timestamp": event["timestamp"], "action_taken": taken}
    told = {name: event[name] for name in ("event_id", "event_type", "description")}
    return [Change(acknowledges=seen_to, extra=told | {"action_taken": taken})]


def _done(event: dict[str, Any]) -> str:
    return event["action_taken"] or "without saying what was done"
