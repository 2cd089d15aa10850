"""A session's records: its transitions, the commands it was given with what came of them, and its audit's chain."""

from collections.abc import Mapping
from typing import Any

from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.audit import Verified, audit_page, verify_whole
from fntx_sessions.lifecycle.reads.cursors import Cursor
from fntx_sessions.lifecycle.reads.recorded import list_commands, list_transitions
from fntx_sessions.lifecycle.reads.rows import Row
from fntx_sessions.monitoring.flower.asking import number
from fntx_sessions.monitoring.flower.lately import Lately
from fntx_sessions.monitoring.flower.page import Asked, Draw
from fntx_sessions.monitoring.flower.session_page import SessionPage
from fntx_sessions.monitoring.flower.tables import table
from fntx_sessions.monitoring.flower.views import Part, Parts

_WHOLE = "whole"
# What an outcome says of its own beside what the table has columns for.
_TOLD = ("command_id", "session_id", "trigger", "state", "status", "version", "epoch", "at", "error", "warnings")


class History(SessionPage):
    """What was asked, by whom, what came of it, and that nobody changed the record since."""

    template = "history.html"
    here = "history"

    def __init__(self) -> None:
        self._chains: Lately[Verified] = Lately()

    def body(self, desk: Desk, asked: Asked, draw: Draw, head: Row) -> Parts:
        """Draw each record, the newest first, a page at a time."""
        return {
            "transitions": _transitions(desk, asked, draw, head),
            "commands": _commands(desk, asked, draw, head),
            "audit": self._audit(desk, asked, draw, head),
        }

    def _audit(self, desk: Desk, asked: Asked, draw: Draw, head: Row) -> Part:
        session_id, before = head["session_id"], number(asked, "audit")
        page = audit_page(desk.engine, session_id, desk.settings.pages_rows, before)
        whole = None
        if asked.get("chain") == _WHOLE:
            kept_s = desk.settings.pages_look_kept_s
            whole = self._chains.get(session_id, lambda: verify_whole(desk.engine, session_id), kept_s)
        ids = [f"audit-{row['seq']}" for row in page.rows]
        return table(draw, "history_audit.html", ids, head=head, page=page, whole=whole, first=before is None)


def _transitions(desk: Desk, asked: Asked, draw: Draw, head: Row) -> Part:
    before = number(asked, "transitions")
    rows, older = list_transitions(desk.engine, head["session_id"], desk.settings.pages_rows, before)
    ids = [f"transition-{row['transition_id']}" for row in rows]
    facts = {"head": head, "rows": rows, "older": older, "first": before is None, "unmet": _unmet}
    return table(draw, "history_transitions.html", ids, **facts)


def _unmet(row: Row) -> list[str]:
    """Return the conditions of a transition that did not hold, before it or after it."""
    return [name for when in ("pre", "post") for name, held in row[f"{when}_conditions_met"].items() if not held]


def _commands(desk: Desk, asked: Asked, draw: Draw, head: Row) -> Part:
    before = asked.get("commands")
    rows, older = list_commands(
        desk.engine, head["session_id"], desk.settings.pages_rows, Cursor.of("commands", before)
    )
    ids = [f"command-{row['command_id']}" for row in rows]
    facts = {"head": head, "rows": rows, "older": older, "first": not before, "came_of_it": _came_of_it}
    return table(draw, "history_commands.html", ids, **facts)


def _came_of_it(row: Row) -> str:
    """Return what became of a command in words; empty where nothing is known yet."""
    outcome: Mapping[str, Any] = row["outcome"]
    if "unreadable" in outcome:
        return f"cannot be read: {outcome['unreadable']}"
    error = outcome.get("error") or {}
    told = [error["message"]] if error.get("message") else []
    if row["state"] != "refused" and outcome.get("status"):
        told.append(f"{outcome['status']}, version {outcome.get('version')}, epoch {outcome.get('epoch')}")
    return "; ".join((*told, *outcome.get("warnings", ())))
