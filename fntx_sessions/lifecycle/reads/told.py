"""What agents of other services told in words: the sealed part of a report, opened."""

from typing import Any

from fntx_sessions.exceptions import IntegrityError, Shredded
from fntx_sessions.lifecycle.reads.rows import Row
from fntx_sessions.state.payloads import REPORT, Payloads, report_name


def told_data(payloads: Payloads, row: Row) -> dict[str, Any]:
    """Return the words of a row of `agent_reports`; what does not open is said so in its place."""
    name = report_name(row["agent"], row["kind"], row["report_id"])
    try:
        found: dict[str, Any] = payloads.open(row["session_id"], REPORT, name, row["data"])
    except (IntegrityError, Shredded) as error:
        return {"unreadable": str(error)}
    return found
