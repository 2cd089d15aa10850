"""docs/states.md from the state table: `python -m fntx_sessions.lifecycle.states_doc [--check] [FILE]`."""

import sys
from collections.abc import Sequence

from fntx_sessions.generated_page import DOCS, write_or_check
from fntx_sessions.lifecycle.machine_sql import GUARDED, LIVE, STEPPED
from fntx_sessions.lifecycle.transitions import OPENING_ALLOWED, REDUCE_ONLY, TABLE, allowed_from
from fntx_sessions.schemas import SessionStatus, Trigger

PAGE = DOCS / "states.md"
_COMMAND = "python -m fntx_sessions.lifecycle.states_doc"
_MEANINGS = {
    SessionStatus.INITIALIZING: "made, its agents invited; settings may still be edited",
    SessionStatus.ACTIVE: "trading",
    SessionStatus.PAUSED: "a person or a market rule stopped it; exits go on",
    SessionStatus.SUSPENDED: "a system fault stopped it; a guard runs its exits until it is recovered",
    SessionStatus.CLOSING: "stopping: orders cancelled, positions flattened or left as the stop's policy says",
    SessionStatus.CLOSED: "ended for good, its final checkpoint verified",
    SessionStatus.ERROR: "it failed and a person has to look; a guard runs its exits",
}
_HEAD = f"""# The states of a session

Generated from `fntx_sessions/lifecycle/transitions.py` by `{_COMMAND}`;
edit the table, not this page. A trigger in Postgres, made from the same table, refuses any other change of
`sessions.status`, whoever writes it.
"""
_TAIL = """
`recover_session` on an ACTIVE session whose host is lost suspends it first, in the same transaction. It leaves ERROR
only when a person names the checkpoint. `update_session` changes settings and moves no status; CLOSING and CLOSED
refuse it. What a session holds while it is stopped is governed by its holds (person, rule, halt, recovery): all must
be gone before it trades again.
"""


def render() -> str:
    """Return the page: the table, the diagram, and what each status allows."""
    parts = [_HEAD, "## What follows what", _table(), "## As a picture", _diagram(), "## What each status allows"]
    return "\n".join([*parts, _statuses(), _TAIL])


def _table() -> str:
    rows = ["", "| trigger | from | to |", "|---|---|---|"]
    for trigger, (sources, to_status) in TABLE.items():
        rows.append(f"| `{trigger}` | {_listed(sources)} | {to_status.upper()} |")
    return "\n".join([*rows, ""])


def _listed(sources: frozenset[SessionStatus | None]) -> str:
    return ", ".join(status.upper() for status in SessionStatus if status in sources) or "nothing yet"


def _diagram() -> str:
    lines = ["", "```mermaid", "stateDiagram-v2"]
    for trigger, (sources, to_status) in TABLE.items():
        found: list[SessionStatus | None] = [status for status in SessionStatus if status in sources] or [None]
        lines += [f"    {source or '[*]'} --> {to_status}: {trigger}" for source in found]
    return "\n".join([*lines, f"    {SessionStatus.CLOSED} --> [*]", "```", ""])


def _statuses() -> str:
    rows = [
        "",
        "| status | meaning | orders | saved by the clock | stepped by | commands |",
        "|---|---|---|---|---|---|",
    ]
    rows += [_status(status) for status in SessionStatus]
    return "\n".join(rows)


def _status(status: SessionStatus) -> str:
    commands = ", ".join(f"`{trigger}`" for trigger in _possible(status)) or "none"
    saved = "yes" if status in LIVE else "no"
    return f"| {status.upper()} | {_MEANINGS[status]} | {_orders(status)} | {saved} | {_stepper(status)} | {commands} |"


def _stepper(status: SessionStatus) -> str:
    if status in GUARDED:
        return "the guard"
    return "its agents" if status in STEPPED else "nobody"


def _possible(status: SessionStatus) -> list[Trigger]:
    ended = (SessionStatus.CLOSING, SessionStatus.CLOSED)
    return [*allowed_from(status), *([] if status in ended else [Trigger.UPDATE])]


def _orders(status: SessionStatus) -> str:
    if status in OPENING_ALLOWED:
        return "any"
    return "reduce-only" if status in REDUCE_ONLY else "none"


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with --check answer 1 when it is not what the table says."""
    return write_or_check(PAGE, render(), "the state table", _COMMAND, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
