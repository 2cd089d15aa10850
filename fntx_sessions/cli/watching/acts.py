"""What can be done from a live screen: its key, the task that does it, and what it is done to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fntx_sessions.cli.output import SHORT_ID, money, plain

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Of:
    """What an act is about, where that is not the session itself: how it is listed, named, and said in a line."""

    kind: str
    task: str
    arguments: Row
    rows: Callable[[Any], list[Row]]
    id_name: str
    told: Callable[[Row], str]


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to do. why: the argument its reason is sent as; ends_risk: a halt does it where no worker answers."""

    name: str
    key: str
    label: str
    task: str
    of: Of | None = None
    why: str = "reason"
    ends_risk: bool = False


def _approval(row: Row) -> str:
    what = plain(row["strategy"] or row["trade_id"])
    return f"{row['approval_id'][:SHORT_ID]}  {what}  risk {money(-float(row['risk_usd']))}"


def _event(row: Row) -> str:
    return f"{row['event_id'][:SHORT_ID]}  {plain(row['severity'])}  {plain(row['description'])}"


APPROVAL = Of("approval", "approvals.list", {"limit": 100}, list, "approval_id", _approval)
EVENT = Of(
    "event",
    "events.list",
    {"requires_action": True, "acknowledged": False, "limit": 100},
    lambda page: list(page["events"]),
    "event_id",
    _event,
)
ACTS = (
    Act("pause", "p", "Pause", "sessions.pause", ends_risk=True),
    Act("resume", "r", "Resume", "sessions.resume"),
    Act("stop", "s", "Stop", "sessions.stop", ends_risk=True),
    Act("checkpoint", "c", "Checkpoint", "sessions.checkpoint"),
    Act("recover", "v", "Recover", "sessions.recover"),
    Act("start", "t", "Start", "sessions.start"),
    Act("approve", "a", "Approve", "approvals.approve", APPROVAL),
    Act("reject", "x", "Reject", "approvals.reject", APPROVAL),
    Act("ack", "k", "Ack", "events.acknowledge", EVENT, why="action_taken"),
)
BY_NAME = {act.name: act for act in ACTS}
