"""What came of a command, in words."""

from typing import Any
from uuid import UUID

from rich.text import Text

from fntx_sessions.cli.exits import sentence
from fntx_sessions.cli.output import SHORT_ID
from fntx_sessions.cli.watching.acts import Act
from fntx_sessions.exceptions import FntxError, OutcomeUnknown
from fntx_sessions.pasting import halt_command
from fntx_sessions.printable import printable

Row = dict[str, Any]


def came_of_it(outcome: Row) -> Text:
    """Return what a command did."""
    extra: Row = outcome.get("extra") or {}
    told = [f"Done: the session is {outcome['status']}, at version {outcome['version']}."]
    if outcome["state"] == "pending":
        told = [f"Begun: the session is {outcome['status']}; it goes on by itself."]
    told += [f"{extra['trade_id']} is {extra['approval_state']}."] if "approval_state" in extra else []
    told += [f"Checkpoint {str(extra['checkpoint_id'])[:SHORT_ID]}."] if extra.get("checkpoint_id") else []
    told += [f"Still in flight: {', '.join(extra['in_flight'])}."] if extra.get("in_flight") else []
    told += [f"Mind: {warning}" for warning in outcome.get("warnings") or []]
    return Text(printable("\n".join([*told, "Enter or Escape leaves."])), style="bold green")


def not_done(act: Act, session_id: UUID, error: FntxError) -> Text:
    """Return what to do where nobody answered: ask again, which acts once, or halt where that ends risk."""
    known = "It may have been done" if isinstance(error, OutcomeUnknown) else "Nothing was done"
    told = [sentence(error), f"{known}. Enter asks again, under the same id: it acts once."]
    if act.ends_risk:
        command = halt_command(f"session:{session_id}", flatten=True)
        told.append(f"Where positions cannot wait, this needs neither Redis nor workers: {command}")
    return Text(printable("\n".join(told)), style="bold yellow")
