"""A session as one picture: what a person needs at a glance first, what happened last at the end."""

from collections.abc import Callable
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fntx_sessions.cli import output
from fntx_sessions.cli.curves import told as curve_told
from fntx_sessions.cli.details import AGENT_COLUMNS, POSITION_COLUMNS, limits
from fntx_sessions.cli.measures import measures
from fntx_sessions.cli.output import age, money, plain, severity, status

Row = dict[str, Any]
Columns = dict[str, Callable[[Row], str]]
_EVENTS = 12
_WIDE = 100
_NOT_NARROW = frozenset({"opened (UTC)", "decisions"})
_RESULTS = ("net P&L", "max drawdown", "trades", "exposure", "if SPY jumped")


def whole(found: Row, width: int, curve_width: int) -> Group:
    """Return a session, with what waits for a word and its curve, as it is shown in `width` columns."""
    session = found["session"]
    parts: list[RenderableType] = [_head(session), _facts(_standing(session))]
    if session.get("shredded_at"):
        return Group(*parts)
    results = measures(session["metrics"]) if session.get("metrics") else {}
    shown = {name: results[name] for name in _RESULTS if results.get(name)}
    parts.append(_facts(curve_told(found["curve"], curve_width) | shown))
    trading = session.get("trading_state") or {}
    parts += _listed("Waiting for a word (a, x)", found["approvals"], _APPROVALS, width)
    parts += _listed("Positions", trading.get("open_positions") or [], POSITION_COLUMNS, width)
    parts += _listed("Orders", trading.get("pending_orders") or [], _ORDERS, width)
    parts += _listed("Agents", _agents(session), AGENT_COLUMNS, width)
    parts += _listed("Last events, newest first", session["events"][::-1][:_EVENTS], _EVENT, width)
    parts += [Text("\nLimits", style="bold underline"), _facts(limits(session))]
    return Group(*parts)


def _head(session: Row) -> Text:
    named = f"[bold]{session['session_id']}[/bold]  {status(session['status'])}  {output.kind(session)}"
    return Text.from_markup(f"{named}  {plain(session['template_name'])}")


def _standing(session: Row) -> dict[str, Any]:
    alarm = session["requires_action"]
    return {
        "since": f"{output.moment(session['status_since'])} ({age(session['status_since'])}) by "
        f"{plain(session['status_actor'])}: {plain(session['status_reason'])}",
        "needs a person": f"[bold red]{plain(alarm)}[/bold red]" if alarm else None,
        "to do": output.to_do(session) or None if not alarm else None,
        "holds": plain(", ".join(session["holds"])) if session["holds"] and session["status"] != "closed" else None,
        "under way": plain((session.get("pending") or {}).get("trigger")) if session.get("pending") else None,
        "stop waits for": plain(session["waiting_for"]) if session.get("waiting_for") else None,
        "its agents": plain(session["held_elsewhere"]) if session.get("held_elsewhere") else None,
        "account": plain(session["account_id"]),
    }


def _facts(pairs: dict[str, Any]) -> Table:
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs.items():
        if value is not None:
            grid.add_row(name, Text.from_markup(str(value)))
    return grid


def _listed(title: str, rows: list[Row], columns: Columns, width: int) -> list[RenderableType]:
    if not rows:
        return []
    grid = Table(box=None, pad_edge=False, header_style="bold")
    shown = {name: draw for name, draw in columns.items() if width >= _WIDE or name not in _NOT_NARROW}
    for name in shown:
        grid.add_column(name, no_wrap=name not in _WORDS, overflow="fold")
    for row in rows:
        grid.add_row(*(Text.from_markup(draw(row)) for draw in shown.values()))
    return [Text(f"\n{title}", style="bold underline"), grid]


def _agents(session: Row) -> list[Row]:
    known = session.get("agent_states") or {}
    return [{"agent": name, **known.get(name, {})} for name in session["roster"]]


def _seen_to(row: Row) -> str:
    if row.get("acknowledged_at"):
        return f"seen to by {plain(row['acknowledged_by'])}"
    return "[bold red]to do (k)[/bold red]" if row["requires_action"] else ""


_WORDS = frozenset({"why", "what", "agent", "to do"})
_APPROVALS: Columns = {
    "id": lambda row: row["approval_id"][: output.SHORT_ID],
    "what": lambda row: plain(row["strategy"] or row["trade_id"]),
    "credit": lambda row: money(row["credit_usd"]),
    "risk": lambda row: money(-float(row["risk_usd"])),
    "left": lambda row: f"{max(0.0, row['expires_in_s']):.0f}s",
    "price now": lambda row: output.NONE if row["price_now"] is None else f"${float(row['price_now']):.2f}",
}
_ORDERS: Columns = {
    "side": lambda row: plain(row["side"]),
    "quantity": lambda row: str(row["quantity"]),
    "symbol": lambda row: plain(row["symbol"]),
    "limit": lambda row: output.NONE if row["limit_price"] is None else f"${row['limit_price']:,.2f}",
    "status": lambda row: plain(row["status"]),
    "why": lambda row: plain(row["reason"]),
}
_EVENT: Columns = {
    "UTC": lambda row: output.moment(row["timestamp"])[11:],
    "severity": lambda row: severity(row["severity"]),
    "what": lambda row: plain(row["description"]),
    "to do": _seen_to,
}
