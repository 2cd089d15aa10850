"""shred_session: destroy an ended session's data key for good, and leave of its row what holds no word of anybody's."""

from typing import Any

from fntx_sessions.exceptions import PreconditionFailed, Shredded
from fntx_sessions.lifecycle.change import Ask, Change, Row
from fntx_sessions.lifecycle.decisions.moving import S
from fntx_sessions.session_config import SessionConfig

# What of the config is, or may hold, free text; it goes back to its default.
_TEXT = (
    "tags", "leave_positions_with", "feed",
    "auto_start_conditions", "auto_stop_conditions", "auto_pause_conditions", "auto_resume_conditions",
)  # fmt: skip


def shred(row: Row, ask: Ask) -> list[Change]:
    """Destroy the key and blank the row, in this one transaction; whatever else there is of it is erased after it.

    The epoch is raised, so that no save, checkpoint or import under way is stored any more.
    """
    if row["shredded_at"] is not None:
        raise Shredded(str(ask.session_id), str(row["shredded_at"]))
    if S(row["status"]) is not S.CLOSED:
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "it is closed", f"it is {row['status']}",
            "Stop it first: `fntx stop ID`, and wait until it is closed.",
        )  # fmt: skip
    if row["pinned"]:
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "it is not pinned",
            "it is pinned: somebody holds it against being deleted", "Let go of it first: `fntx unpin ID`.",
        )  # fmt: skip
    return [Change(new_epoch=True, shreds=True, fields=_blanked(row, ask), extra={"erasing": True})]


def _blanked(row: Row, ask: Ask) -> dict[str, Any]:
    defaults = SessionConfig().model_dump(mode="json")
    config = row["config"] | {name: defaults[name] for name in _TEXT if name in row["config"]}
    return {
        "config": config | {"tags": []},
        "status_actor": ask.actor.name,
        "status_reason": "shredded",
        "requires_action": None,
        "pending": None,
        "recovery_data": {},
        "strategy_parameters": {},
    }
