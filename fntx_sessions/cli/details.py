"""One session on a page: status, what it may lose and where that is said, what it holds, who runs it."""

from datetime import date
from typing import Any

from fntx_sessions.cli import output
from fntx_sessions.cli.curves import Curve, told
from fntx_sessions.cli.measures import PAPER, measures
from fntx_sessions.cli.output import age, moment, money, plain
from fntx_sessions.lifecycle.told import measures as recovered
from fntx_sessions.lifecycle.told import positions, sentence

LOSS_LIMIT_NOTE = "where trading stops, not the most that can be lost"
_MULTIPLIER = 100
_NOT_KNOWN = "what is left is not known"
Session = dict[str, Any]


def show(session: Session, curve: Curve | None = None) -> None:
    """Print a session; curve: how it came to its results, None where nobody knows."""
    output.facts(_standing(session), f"[bold]{session['session_id']}[/bold]  {output.status(session['status'])}")
    if session.get("shredded_at"):
        return
    output.facts(limits(session), "\n[bold]Limits[/bold]")
    _positions(session)
    _agents(session)
    if session.get("metrics"):
        output.facts(told(curve) | measures(session["metrics"]), "\n[bold]Results[/bold]")


def show_metrics(metrics: dict[str, Any], curve: Curve | None = None) -> None:
    """Print a session's measures, and its curve where it is known."""
    output.facts(
        told(curve) | measures(metrics), f"[bold]{metrics['session_id']}[/bold]  {output.status(metrics['status'])}"
    )


def _standing(session: Session) -> dict[str, Any]:
    return {
        "type": output.kind(session),
        "broker": f"[yellow]{PAPER}[/yellow]" if session["broker"] == "paper" else plain(session["broker"]),
        "template": _template(session),
        "account": plain(session["account_id"]),
        "status since": f"{moment(session['status_since'])} ({age(session['status_since'])}) by "
        f"{plain(session['status_actor'])}: {plain(session['status_reason'])}",
        "holds": ", ".join(session["holds"]) if session["status"] != "closed" else None,
        "pinned": "no retention moves or drops anything of it" if session.get("pinned") else None,
        "stop waits for": plain(session["waiting_for"]) if session.get("waiting_for") else None,
        "its agents": plain(session["held_elsewhere"]) if session.get("held_elsewhere") else None,
        "comes back": _healing(session),
        "needs a person": _alarm(session["requires_action"]),
        "nobody steps it": _unattended(session.get("unattended")),
        "started": moment(session["started_at"]),
        "ended": moment(session["ended_at"]) if session["ended_at"] else None,
        "version, epoch": f"{session['version']}, {session['epoch']}",
        "archive": _archive(session),
        "sealed weeks": _sealed(session),
        "state": _source(session.get("state_source")),
        "shredded": _shredded(session.get("shredded_at")),
        "last recovery": _recovery(session.get("recovery_data") or {}),
        "not booked, at the broker": _at_broker((session.get("recovery_data") or {}).get("at_broker") or []),
        "strategies": ", ".join(session["enabled_strategies"]) or output.NONE,
        "feed": plain((session["config"].get("feed") or {}).get("kind")),
    }


def _template(session: Session) -> str:
    name, version = session["template_name"], session["template_version"]
    return plain(name) if version is None else f"{plain(name)} version {version}"


def _healing(session: Session) -> str | None:
    mark = (session.get("recovery_data") or {}).get("healing")
    if session["status"] != "suspended" or not mark or session["requires_action"]:
        return None
    return f"by itself, once {', '.join(mark['causes'])} is mended: `fntx health ID` says what it waits for"


def elsewhere(session: Session, verb: str) -> str | None:
    """Return where the rows of a list (events, trades, ...) are that the database has not got; None: it has them all.

    Only events leave the database before a session is archived: its measures are made of the others.
    """
    if _gone(session):
        return _gone(session)
    return f"older ones: {_sealed(session)}" if verb in ("events", "history") and session.get("sealed_weeks") else None


def _archive(session: Session) -> str | None:
    found = session.get("archive")
    if found is None:
        return None
    gone = _gone(session)
    return f"{plain(found['object'])}, {moment(found['archived_at'])}{f'; {gone}' if gone else ''}"


def _gone(session: Session) -> str | None:
    gone = (session.get("archive") or {}).get("rows_dropped_at")
    if not gone:
        return None
    way = f"`fntx archive restore {session['session_id']}` brings them back"
    return f"its rows left the database on {moment(gone)}: {way}"


def _sealed(session: Session) -> str | None:
    found = session.get("sealed_weeks")
    if found is None:
        return None
    span = f"{_week(found['first_week'])} to {_week(found['last_week'])}"
    named = f"`fntx archive show {session['session_id']}`"
    return f"{span}, {found['rows']} rows; events of these weeks may be in the cold store only: {named} lists them"


def _week(monday: str) -> str:
    year, number, _ = date.fromisoformat(str(monday)).isocalendar()
    return f"{year}w{number:02}"


def _shredded(at: str | None) -> str | None:
    if at is None:
        return None
    return f"{moment(at)}: its state, trades and results are gone for good, no figure of them is left"


def _source(found: dict[str, Any] | None) -> str | None:
    if found is None:
        return None
    problems = f" [yellow]({plain('; '.join(found['problems']))})[/yellow]" if found["problems"] else ""
    if found["tier"] is None:
        return f"[red]could not be read[/red]{problems}"
    old = "no agent has reported" if found["age_s"] is None else f"{found['age_s']:.1f} s old"
    saved = f", saved {age(found['saved_at'])} ago" if found["saved_at"] else ", not saved yet"
    return f"{plain(found['tier'])}, epoch {found['epoch']} revision {found['revision']}, {old}{saved}{problems}"


def _recovery(found: dict[str, Any]) -> str | None:
    if not found.get("finished_at"):
        return _recovery(found["last"]) if "last" in found else None
    failed = f"; the one of {moment(found['failed_at'])} came to nothing" if "failed_at" in found else ""
    return f"{moment(found['finished_at'])}: {plain(recovered(found))}{failed}"


def _at_broker(found: list[dict[str, Any]]) -> str | None:
    told = "; ".join(map(sentence, found))
    return f"[yellow]{plain(told)}: cancel it there, then `fntx recover ID`[/yellow]" if told else None


def _unattended(found: dict[str, Any] | None) -> str | None:
    if found is None:
        return None
    since = f" since {moment(found['since'])}" if found["since"] else ""
    return _alarm(
        f"{positions(found['positions'])}; no agents worker lives{since}: start one (`fntx up`; `fntx doctor` says "
        "which hangs); a guard runs its exits meanwhile, where a worker of sweeps lives"
    )


def _alarm(text: str | None) -> str | None:
    return f"[bold red]{plain(text)}[/bold red]" if text else None


def limits(session: Session) -> dict[str, Any]:
    """Return what stops trading and what closes a trade, in dollars where something is open."""
    risk = session["risk_parameters"]
    trading = session.get("trading_state") or {}
    loss, contracts = trading.get("max_daily_loss_remaining"), trading.get("position_limit_remaining")
    loss_left = f"{_NOT_KNOWN} today" if loss is None else f"{money(loss)} left today"
    left = _NOT_KNOWN if contracts is None else f"{contracts} left"
    stop, keep = risk["stop_loss_multiplier"], risk["take_profit_multiplier"]
    return {
        "daily loss limit": f"{risk['max_daily_risk']:.1%} of equity; {loss_left} ({LOSS_LIMIT_NOTE})",
        "position limit": f"{risk['position_limit']} contracts; {left}",
        "stop loss": f"closes at {stop:g} x credit: loses {stop - 1:g} x credit{_in_dollars(session, stop)}",
        "take profit": f"closes at {1 - keep:g} x credit: keeps {keep:.0%}{_in_dollars(session, 1 - keep)}",
    }


def _in_dollars(session: Session, factor: float) -> str:
    """Return, for each open short, what closing it costs at `factor` x its credit; an example where none is open."""
    held = (session.get("trading_state") or {}).get("open_positions") or []
    shorts = [one for one in held if one["quantity"] < 0 and one["right"] != "stock"]
    if not shorts:
        return f"; a contract sold for $100 is bought back at ${_MULTIPLIER * factor:,.2f}"
    listed = [
        f"{one['symbol']} ${one['average_price'] * factor * _MULTIPLIER * -one['quantity']:,.2f}" for one in shorts
    ]
    return "; buys back " + ", ".join(listed)


def _positions(session: Session) -> None:
    trading = session.get("trading_state") or {}
    if trading.get("open_positions"):
        output.console().print("\n[bold]Positions[/bold]")
        output.table(trading["open_positions"], POSITION_COLUMNS, "")
    if trading.get("pending_orders"):
        output.console().print("\n[bold]Orders[/bold]")
        output.table(trading["pending_orders"], ORDER_COLUMNS, "")


def _agents(session: Session) -> None:
    known = session.get("agent_states") or {}
    rows = [{"agent": name, **known.get(name, {})} for name in session["roster"]]
    output.console().print("\n[bold]Agents[/bold]")
    output.table(rows, AGENT_COLUMNS, "none")


POSITION_COLUMNS = {
    "symbol": lambda row: plain(row["symbol"]),
    "quantity": lambda row: str(row["quantity"]),
    "price": lambda row: f"${row['average_price']:,.2f}",
    "mark": lambda row: output.NONE if row["mark"] is None else f"${row['mark']:,.2f}",
    "unrealised": lambda row: money(row["unrealized_pnl"]),
    "opened (UTC)": lambda row: moment(row["opened_at"]),
}
ORDER_COLUMNS = {
    "order": lambda row: plain(row["client_order_id"]),
    "side": lambda row: plain(row["side"]),
    "symbol": lambda row: plain(row["symbol"]),
    "quantity": lambda row: str(row["quantity"]),
    "limit": lambda row: output.NONE if row["limit_price"] is None else f"${row['limit_price']:,.2f}",
    "why": lambda row: plain(row["reason"]),
    "status": lambda row: plain(row["status"]),
}
AGENT_COLUMNS = {
    "agent": lambda row: plain(row["agent"]),
    "status": lambda row: plain(row.get("status")),
    "last seen": lambda row: age(row.get("last_update")),
    "actions": lambda row: str(row.get("actions_taken", 0)),
    "decisions": lambda row: str(row.get("decisions_made", 0)),
    "errors": lambda row: str(row.get("errors_encountered", 0)),
}
