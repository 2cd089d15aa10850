"""`fntx order place|close|change|cancel|ls`: a person's own orders, through the session's executor and its limits."""

from typing import Annotated, Any
from uuid import UUID

import typer

from fntx_sessions.caller.ids import whole_or_prefix
from fntx_sessions.cli import output
from fntx_sessions.cli.approvals import one_of
from fntx_sessions.cli.asking import Answer, line
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.output import SHORT_ID, age, plain
from fntx_sessions.cli.sessions import CommandId, Version
from fntx_sessions.exceptions import InvalidArgument

HELP = """Orders by hand: the session's executor places, changes and cancels them at its next step.

Openings pass the risk manager and the order gate as any other. What closes a trade works in a paused session too.
"""
Session = Annotated[str, typer.Argument(metavar="ID", help="A session's id or its first characters (4 or more).")]
Order = Annotated[str, typer.Argument(metavar="ORDER", help="An order's id or its first characters (4 or more).")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept with the order and with the command.")]
Limit = Annotated[float, typer.Option("--limit", "-l", help="Dollars a share of one package, in whole cents.")]
Legs = Annotated[
    list[str] | None,
    typer.Option("--leg", metavar="SIDE:RIGHT:STRIKE[:EXPIRY]", help="sell:put:450 or buy:call:460:2026-03-20."),
]
_LOOKED_THROUGH = 1000
_LEG_PARTS = (3, 4)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    group = typer.Typer(name="order", help=HELP, no_args_is_help=True)
    for command in (place, close, change, cancel):
        group.command()(command)
    group.command("ls")(list_orders)
    app.add_typer(group)


def place(
    session: Session,
    limit: Limit,
    legs: Legs = None,
    quantity: Annotated[int, typer.Option("--quantity", "-q", help="How many packages.")] = 1,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Open a trade: sell a package for at least the limit (operators, administrators).

    Its risk is judged at the limit or at what the market pays now, whichever may lose more.
    """
    order = {"legs": [_leg(one) for one in legs or []], "quantity": quantity}
    _place(session, order | {"limit": limit, "reason": reason}, version, command_id, as_json=as_json)


def close(
    session: Session,
    trade: Annotated[str, typer.Argument(metavar="TRADE", help="Its trade id, as `fntx trades ID --json` has it.")],
    limit: Limit,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Close a trade whole for at most the limit; needs no approval, and works in a paused session."""
    order = {"trade_id": trade, "limit": limit, "reason": reason}
    _place(session, order, version, command_id, as_json=as_json)


def change(
    order: Order, limit: Limit, reason: Reason = "", command_id: CommandId = None, as_json: AsJson = False
) -> None:
    """Give an order another limit: it is cancelled, and placed anew once it can't trade any more."""
    arguments = {"order_id": str(_id(order)), "limit": limit, "reason": reason}
    _ask("change", arguments, command_id, as_json=as_json)


def cancel(order: Order, reason: Reason = "", command_id: CommandId = None, as_json: AsJson = False) -> None:
    """Cancel an order by hand."""
    _ask("cancel", {"order_id": str(_id(order)), "reason": reason}, command_id, as_json=as_json)


def list_orders(
    session: Annotated[str | None, typer.Argument(metavar="[ID]", help="Of one session alone.")] = None,
    open_only: Annotated[bool, typer.Option("--open", help="Those that wait or work alone.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List orders by hand, newest first: who asked for what, and what became of it (every role)."""
    found = _listed(line().session_id(session) if session else None, open_only=open_only, limit=limit)
    if as_json:
        output.emit(found)
    else:
        output.table(found, COLUMNS, "no orders by hand")


def _place(session: str, order: Answer, version: int | None, command_id: UUID | None, *, as_json: bool) -> None:
    asked = {"session_id": str(line().session_id(session))} | ({} if version is None else {"expected_version": version})
    _ask("place", order | asked, command_id, as_json=as_json)


def _ask(verb: str, arguments: Answer, command_id: UUID | None, *, as_json: bool) -> None:
    outcome = line().outcome(f"orders.{verb}", arguments, command_id)
    if as_json:
        output.emit(outcome)
        return
    told, session = outcome["extra"], outcome["session_id"][:SHORT_ID]
    after = "" if told["order_state"] == "done" else f"; what becomes of it: fntx order ls {session}"
    output.console().print(f"order {told['order_id'][:SHORT_ID]} is {told['order_state']}{after}", soft_wrap=True)


def _leg(given: str) -> Answer:
    parts = given.split(":")
    if len(parts) not in _LEG_PARTS:
        raise InvalidArgument(
            "--leg", f"{given[:50]!r} is no leg", "Write SIDE:RIGHT:STRIKE[:EXPIRY], as sell:put:450."
        )
    named = dict(zip(("side", "right", "strike", "expiry"), parts, strict=False))
    return named | {"strike": _number(named["strike"])}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidArgument("--leg", f"{text[:50]!r} is no strike", "Give dollars, as 450.") from None


def _listed(session_id: UUID | None, *, open_only: bool, limit: int) -> list[Answer]:
    asked: Answer = {"session_id": session_id} if session_id else {}
    found: list[Answer] = line().query("orders.list", limit=limit, open_only=open_only, **asked)
    return found


def _id(given: str) -> UUID:
    found = whole_or_prefix(given, "order")
    if isinstance(found, UUID):
        return found
    return one_of(given, found, _listed(None, open_only=False, limit=_LOOKED_THROUGH), "order_id")


def _what(row: dict[str, Any]) -> str:
    order = row["order"]
    if row["opening"]:
        legs = ", ".join(f"{leg['side']} {leg['right']} {leg['strike']}" for leg in order.get("legs", []))
        return f"open {order.get('quantity', 1)} x {legs}"
    return f"close {order.get('trade_id')}"


COLUMNS = {
    "id": lambda row: row["order_id"][:SHORT_ID],
    "session": lambda row: row["session_id"][:SHORT_ID],
    "action": lambda row: row["action"],
    "state": lambda row: row["state"],
    "what": lambda row: plain(_what(row)),
    "limit": lambda row: f"${float(row['order']['limit']):.2f}" if "limit" in row["order"] else "",
    "by": lambda row: plain(row["actor"]),
    "age": lambda row: age(row["created_at"]),
    "of": lambda row: row["changes"][:SHORT_ID] if row["changes"] else "",
    "why": lambda row: plain("; ".join(filter(None, (row["reason"], row["result"])))),
}
