"""What works when pause and stop do not: where nobody takes them, `fntx halt` is named, ready to be pasted."""

from collections.abc import Iterator
from contextlib import contextmanager

from fntx_sessions.cli import output
from fntx_sessions.cli.choosing import Chosen
from fntx_sessions.exceptions import OutcomeUnknown, Unavailable
from fntx_sessions.pasting import halt_command

_ENDS_RISK = frozenset({"pause", "suspend", "stop"})
_ANY = "session:ID"


@contextmanager
def or_halt(action: str, scope: str) -> Iterator[None]:
    """Name, where the block's command ends risk and nobody takes it, the halt of `scope` that closes positions."""
    try:
        yield
    except Unavailable as error:
        what, detail, fix = error.args
        # A halt needs Postgres, too.
        if action not in _ENDS_RISK or what == "Postgres":
            raise
        raise Unavailable(what, detail, f"{fix} {_hint(scope)}") from error
    except OutcomeUnknown:
        if action in _ENDS_RISK:
            output.note(_hint(scope))
        raise


def _hint(scope: str) -> str:
    others = " (or account:NAME, template:NAME, all)" if scope == _ANY else ""
    command = halt_command(scope, flatten=True)
    return f"Where positions are open and cannot wait, this needs neither Redis nor workers: {command}{others}"


def scope_of(chosen: Chosen, ids: list[str] | None) -> str:
    """Return the scope of a halt that reaches all who are chosen; one to be filled in where no scope does."""
    if ids and len(ids) == 1 and ids != ["-"]:
        return f"session:{ids[0]}"
    if chosen.account_id:
        return f"account:{chosen.account_id}"
    if chosen.template_name:
        return f"template:{chosen.template_name}"
    narrowed = ids or chosen.tag or chosen.status or chosen.session_type
    return _ANY if narrowed or not chosen.everything else "all"
