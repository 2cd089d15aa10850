"""`fntx approvals ls|approve|reject`: openings that wait for a person."""

from typing import Annotated, Any
from uuid import UUID

import typer

from fntx_sessions.caller.ids import whole_or_prefix
from fntx_sessions.cli import output
from fntx_sessions.cli.asking import Answer, line
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.output import SHORT_ID, age, money, plain
from fntx_sessions.cli.sessions import CommandId
from fntx_sessions.exceptions import InvalidArgument, NotFound

HELP = """Openings that wait for a person: those of sessions with require_confirmation, and all of Manual Override.

What closes a position waits for nobody. An approval ends with its time, when its price runs away, and when its session
is paused, stopped or recovered.
"""
Id = Annotated[str, typer.Argument(metavar="APPROVAL", help="An approval's id or its first characters (4 or more).")]
Reason = Annotated[
    str, typer.Option("--reason", "-r", help="Why; kept with it and with the command, and told to its agent.")
]
_LOOKED_THROUGH = 1000
_WHY_LENGTH = 300
# Reasons that other columns show, or that explain one of them; `--json` has all.
_ELSEWHERE = frozenset({"credit_usd", "limit_usd", "remaining_usd", "session_time"})
_EVERY = ["waiting", "approved", "rejected", "expired", "stale", "executed", "refused", "withdrawn"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    group = typer.Typer(name="approvals", help=HELP, no_args_is_help=True)
    group.command("ls")(list_approvals)
    group.command()(approve)
    group.command()(reject)
    app.add_typer(group)


def list_approvals(
    session: Annotated[str | None, typer.Argument(metavar="[ID]", help="Of one session alone.")] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Those that are over, too.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List what waits: what and why, risk, what it leaves of the loss limit, age, and the price since (every role)."""
    found = _listed(line().session_id(session) if session else None, everything=everything, limit=limit)
    if as_json:
        output.emit(found)
    else:
        output.table(found, COLUMNS, "nothing waits for a person")


def approve(approval: Id, reason: Reason = "", command_id: CommandId = None, as_json: AsJson = False) -> None:
    """Let an opening through; its executor sends it at its next step, once, if the price still holds."""
    _decide("approve", approval, reason, command_id, as_json=as_json)


def reject(approval: Id, reason: Reason = "", command_id: CommandId = None, as_json: AsJson = False) -> None:
    """Say no to an opening; that trade is not asked for again."""
    _decide("reject", approval, reason, command_id, as_json=as_json)


def _decide(verb: str, given: str, reason: str, command_id: UUID | None, *, as_json: bool) -> None:
    arguments = {"approval_id": str(_id(given)), "reason": reason}
    outcome = line().outcome(f"approvals.{verb}", arguments, command_id)
    if as_json:
        output.emit(outcome)
        return
    told = outcome["extra"]
    for warning in outcome.get("warnings") or []:
        output.note(f"  warning: {warning}")
    output.console().print(f"{plain(told['trade_id'])} is {told['approval_state']}", soft_wrap=True)


def _listed(session_id: UUID | None, *, everything: bool, limit: int) -> list[Answer]:
    asked: Answer = {"session_id": session_id} if session_id else {}
    found: list[Answer] = line().query("approvals.list", limit=limit, states=_EVERY if everything else None, **asked)
    return found


def _id(given: str) -> UUID:
    found = whole_or_prefix(given, "approval")
    if isinstance(found, UUID):
        return found
    return one_of(given, found, _listed(None, everything=True, limit=_LOOKED_THROUGH), "approval_id")


def one_of(given: str, digits: str, rows: list[Answer], column: str) -> UUID:
    """Return the one id that begins with `digits`; raises NotFound for none, InvalidArgument for several."""
    fits = [row[column] for row in rows if row[column].replace("-", "").startswith(digits)]
    kind = column.removesuffix("_id")
    if not fits:
        raise NotFound(kind, given, "See `fntx approvals ls --all` and `fntx order ls`.")
    if len(fits) > 1:
        raise InvalidArgument(kind, f"{given!r} fits several: {', '.join(fits[:3])}", "Give more of it.")
    return UUID(fits[0])


def _legs(row: dict[str, Any]) -> str:
    return ", ".join(" ".join(filter(None, _leg(leg))) for leg in row["legs"])


def _leg(leg: dict[str, Any]) -> list[str]:
    strike = "" if leg["strike"] is None else f"{float(leg['strike']):g}"
    return [leg["side"], str(leg["quantity"]), leg["right"], strike, leg["expiry"] or ""]


def _left(row: dict[str, Any]) -> str:
    if row["closed_at"]:
        return ""
    left = row["expires_in_s"]
    return f"{left:.0f}s" if left > 0 else "[yellow]over[/yellow]"


def _price(row: dict[str, Any]) -> str:
    """Return what the package would trade at now, and how far that is from its limit, up or down."""
    if row["closed_at"]:
        return ""
    if row["price_now"] is None:
        return "unknown"
    if row["drift"] is None:
        return f"${row['price_now']:.2f}"
    far = abs(row["drift"])
    style = "red" if far > row["drift_max"] else "yellow" if far else "green"
    return f"${row['price_now']:.2f} [{style}]{row['drift']:+.0%}[/{style}], {row['drift_max']:.0%} may be"


def _with_now(then: str, now: str | None) -> str:
    return then if now in (None, then) else f"{then}, now {now}"


def _risk(row: dict[str, Any]) -> str:
    now = row["risk_now_usd"]
    return _with_now(money(-row["risk_usd"]), None if now is None else money(-now))


def _delta(row: dict[str, Any]) -> str:
    then, now = ("unknown" if row[name] is None else f"{row[name]:.2f}" for name in ("delta", "delta_now"))
    return _with_now(then, None if row["delta_now"] is None else now)


def _why(row: dict[str, Any]) -> str:
    """Return what the agent gave as its reasons, the sentence first, and who decided, and what became of it."""
    said = {name: value for name, value in row["reasons"].items() if name not in _ELSEWHERE}
    sentence = [str(said.pop("why"))] if said.get("why") else []
    told = sentence + [f"{name} {value}" for name, value in said.items() if value is not None]
    return "; ".join(filter(None, (plain(", ".join(told)[:_WHY_LENGTH]), _decided(row))))


def _decided(row: dict[str, Any]) -> str:
    by = f"{row['decided_by']}: {row['reason'] or 'no reason given'}" if row["decided_by"] else ""
    return plain("; ".join(filter(None, (by, row["result"])))) if by or row["result"] else ""


COLUMNS = {
    "id": lambda row: row["approval_id"][:SHORT_ID],
    "session": lambda row: row["session_id"][:SHORT_ID],
    "state": lambda row: row["state"],
    "trade": lambda row: plain(row["trade_id"]),
    "what": lambda row: plain(_legs(row)),
    "credit": lambda row: money(row["credit_usd"]),
    "risk": _risk,
    "delta": _delta,
    "limit left": lambda row: "unknown" if row["remaining_after_usd"] is None else money(row["remaining_after_usd"]),
    "age": lambda row: age(row["created_at"]),
    "left": _left,
    "price now": _price,
    "why": _why,
}
