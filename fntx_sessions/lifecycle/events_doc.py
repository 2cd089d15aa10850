"""docs/events.md from the table of events: `python -m fntx_sessions.lifecycle.events_doc [--check] [FILE]`."""

import sys
from collections.abc import Sequence

from fntx_sessions.generated_page import DOCS, write_or_check
from fntx_sessions.lifecycle.event_types import EVENT_TYPES, EventType

PAGE = DOCS / "events.md"
_COMMAND = "python -m fntx_sessions.lifecycle.events_doc"
_HEAD = f"""# Events

What happened to a session, in a row of its own: type, category, severity, which agent told it, what it means, and
whether a person has to do something. Generated from `fntx_sessions/lifecycle/event_types.py` by
`{_COMMAND}`; edit the table, not this page.

```
fntx events                              # the desk's last ones, oldest first
fntx events --requires-action --open     # what is left to do
fntx events ID --follow --severity warning
fntx events --agent RiskManagementAgent --type limit_near --since 2h
fntx ack 3f2a9c1e --taken "called the broker, the order is cancelled"
fntx ack --type beat_late --since 20m --taken "beat is up again"      # all of one outage
```

`fntx.events.list` (every role) takes `session_id`, `event_types`, `categories`, `severity` (this one and worse),
`source_agent`, `impact`, `requires_action`, `acknowledged`, `text`, `since`, `until`, `order`, `cursor` and `limit`;
it answers `{{"events", "cursor", "now"}}`. A token that is good for some sessions alone names one of them.
`list_events` and `follow_events` of a manager ask the same.

An event that requires action stays on the list until somebody acknowledges it, also when the session went on
meanwhile: `fntx ack`, the Events page, `acknowledge_event` of a manager, or the command `fntx.events.acknowledge` with
`event_id` and `action_taken` (operators, risk managers, administrators). It is audited with its session, and happens
once: whoever comes second is told who was first, when, and what they did. Any event may be acknowledged, of any
session, until its rows have left the database.

An event is on the list once it is committed, some seconds after its time at worst; following looks back over
`FNTX_SUBSCRIBE_OVERLAP_S`, so that none is left out. Agents may tell types of their own; what these mean is theirs
to say.
"""


def render() -> str:
    """Return the page: what events are for, and a table of each category."""
    categories = sorted({one.category.split()[0] for one in EVENT_TYPES.values()})
    parts = [_HEAD]
    for category in categories:
        listed = [one for one in EVENT_TYPES.values() if one.category.split()[0] == category]
        parts += [f"## {category.capitalize()}", "", _table(listed), ""]
    return "\n".join(parts)


def _table(listed: list[EventType]) -> str:
    lines = ["| event | severity | requires action | what it says | impact |", "|---|---|---|---|---|"]
    lines += [
        f"| `{one.name}` | {', '.join(one.severities.split())} | {one.action} | {one.meaning} | {one.impact or '-'} |"
        for one in listed
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with --check answer 1 when it is not what the table says."""
    return write_or_check(PAGE, render(), "the table of events", _COMMAND, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
