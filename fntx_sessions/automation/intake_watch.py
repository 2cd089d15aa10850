"""Whether what agents of other services told comes in at all: an alert while records wait for too long."""

from collections.abc import Mapping, Sequence

from fntx_sessions.automation import alerts
from fntx_sessions.automation.intake_rows import Door
from fntx_sessions.automation.intake_stream import oldest_s, waiting
from fntx_sessions.automation.lag import Overdue
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Severity

RECORDS_WAIT = "records_wait"
_FIX = (
    "Their metrics lack them, and none is lost. Read the log of whoever runs the sweep intake; while that says "
    "it is well, agents tell more than it takes: `fntx agents ls ID`."
)


def tell_waiting(desk: Desk, doors: Sequence[Door]) -> None:
    """Let the alert be what is so: records wait longer than `overdue_s`. Raises Unavailable."""
    found = waiting(desk, doors)
    late = {door: age_s for door, age_s in _ages(desk, list(found)).items() if age_s > desk.settings.overdue_s}
    alerts.settle(desk.engine, [RECORDS_WAIT], [_alert(late)] if late else [])


def _ages(desk: Desk, doors: Sequence[Door]) -> Mapping[Door, float]:
    return oldest_s(desk, doors) if doors else {}


def _alert(late: Mapping[Door, float]) -> alerts.Found:
    worst = max(late, key=lambda door: late[door])
    told = f"records of agents of other services: {Overdue(len(late), late[worst])}: {worst.session_id}. {_FIX}"
    return alerts.Found(RECORDS_WAIT, "intake", Severity.ERROR, told)
