"""What a command on a session will do, in sentences: the status, the orders, the positions in dollars, who goes on."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from fntx_sessions.exceptions import Forbidden, NeedsSecond
from fntx_sessions.lifecycle.change import Change, Row
from fntx_sessions.lifecycle.rehearsing import Rehearsal
from fntx_sessions.lifecycle.told import positions as positions_told
from fntx_sessions.lifecycle.told import sentence
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.monitoring.flower.words import dollars
from fntx_sessions.schemas import Position, TradingSession
from fntx_sessions.security.roles import authorize
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.orders import SHARES_PER_CONTRACT

_NAMED = 5
_TWO = "It takes two people: it waits until somebody else with the role {needed} confirms it, and only then:"


@dataclass(frozen=True, slots=True)
class Seen:
    """What sentences are made of: what would be decided, the session as it is; chosen: by whom asks, not by it."""

    rehearsal: Rehearsal
    session: TradingSession
    chosen: bool = False

    @property
    def policy(self) -> dict[str, Any]:
        """What a stop does with positions: close_positions, leave_positions_with."""
        decided: dict[str, Any] = self.rehearsal.last.fields["pending"]
        return decided

    @property
    def row(self) -> Row:
        """The session's row and the facts of the decision."""
        return self.rehearsal.row

    @property
    def held(self) -> list[Position]:
        """What is open, as the ledger has it."""
        trading = self.session.trading_state
        return trading.open_positions if trading else []

    @property
    def now(self) -> datetime:
        """The session's clock."""
        at: datetime = self.row["clock_at"] or self.row["now"]
        return at


def pause(seen: Seen) -> list[str]:
    """Say what a pause does."""
    return [
        "It becomes paused, which is reduce-only: opening orders are cancelled and none is placed.",
        "What protects it goes on: stop, profit, hold time, loss limit, flat-by and expiry.",
        in_flight(seen, "It is quiet once they are settled; the answer lists them.", "It is quiet at once."),
        f"{positions(seen)} What is open stays open.",
        "It stays paused until a person resumes it; no rule does.",
    ]


def resume(seen: Seen) -> list[str]:
    """Say what a resume does."""
    holds = seen.row["holds"]
    return [
        "It becomes active: it may open positions at once, as its rules and limits allow.",
        f"It lifts what holds it: {', '.join(holds)}." if holds else "Nothing else holds it.",
        positions(seen),
    ]


def start(seen: Seen) -> list[str]:
    """Say what a start does."""
    missing, row = seen.row["agents_missing"], seen.row
    if missing:
        wait_s = row["config"]["wait_ready_s"]
        return [
            f"It waits for {', '.join(missing)}, {wait_s:g} s at most; then it starts, or is refused.",
            _limits(row),
        ]
    return [
        f"It becomes active, under epoch {row['epoch'] + 1}: it may open at once, as its rules and limits allow.",
        _limits(row),
    ]


def _limits(row: Row) -> str:
    risk = row["risk_parameters"]
    return (
        f"Trading of account {row['account_id']} stops for the day at a loss of {float(risk['max_daily_risk']):.1%} of "
        f"its equity; that is not the most that can be lost. At most {risk['position_limit']} positions."
    )


def stop(seen: Seen) -> list[str]:
    """Say what a stop does, under the policy that is chosen, else the session's own."""
    config, close = seen.row["config"], bool(seen.policy["close_positions"])
    return [
        "It becomes closing: openings are cancelled and none is placed.",
        "It is closed, for good, once its books match the policy and its last checkpoint is verified.",
        in_flight(seen, "They are cancelled, or filled, first.", ""),
        f"{positions(seen)} {_policy(seen)}",
        closing_cost(seen) if close else "",
        _hours(seen) if close else "",
        f"It raises the alarm if that takes longer than {config['stop_deadline_s']:g} s of option hours.",
    ]


def _policy(seen: Seen) -> str:
    heir = seen.policy["leave_positions_with"] or "nobody who is named"
    what = "closes them" if seen.policy["close_positions"] else f"leaves them to {heir}"
    if seen.chosen:
        return f"As you chose, the stop {what}."
    return f"Unless you choose otherwise, this session's own policy {what}."


def _hours(seen: Seen) -> str:
    calendar = get_calendar(seen.row["config"]["calendar"])
    if not seen.held or calendar.options_open(seen.now):
        return ""
    return (
        "Options are shut now: nothing can be closed before they open. Until then it stays closing, and a person "
        "has to look after what is open."
    )


def suspend(seen: Seen) -> list[str]:
    """Say what a suspension does."""
    return [
        "It becomes suspended, as for a fault of the system: nothing opens, and its agents stop.",
        f"{positions(seen)} The manager's own guard runs the exits.",
        in_flight(seen, "The guard sees to them.", ""),
        "It leaves only by a recovery, which a person has to ask for, or by a stop.",
    ]


def recover(seen: Seen) -> list[str]:
    """Say what a recovery does."""
    lost = ["Its host is lost: it is suspended first."] if seen.session.status == "active" else []
    return [
        *lost,
        f"The agents' memory is put back, under epoch {seen.row['epoch'] + 1}: those of an older one send no more.",
        "Orders, positions, fills, P&L and loss used are never put back: the broker and the ledger hold them.",
        in_flight(seen, "Openings are cancelled, and the broker is asked about the others.", ""),
        f"{positions(seen)} Every difference from the broker is listed, and keeps it from resuming.",
        "It ends paused; a person resumes it.",
    ]


def checkpoint(seen: Seen) -> list[str]:
    """Say what a checkpoint does."""
    return [
        "The state of this moment is kept, read back and verified. Nothing else changes.",
        f"It is {seen.session.status}, of epoch {seen.row['epoch']}. {positions(seen)}",
    ]


def accept(seen: Seen) -> list[str]:
    """Say what accepting differences does: each is named."""
    found = seen.row["recovery_data"].get("differences") or []
    told = [f"Accepts: {sentence(one)}." for one in found]
    if not found:
        told = [
            "Its agents report open positions elsewhere: the stop ends all the same; none of ours looks after them."
        ]
    return [*told, "The broker's word stands, and what the ledger is short of is booked. It is kept with your name."]


def in_flight(seen: Seen, then: str, none: str) -> str:
    """Say which orders are in flight, and what becomes of them."""
    found = seen.row["in_flight"]
    if not found:
        return f"No order is in flight. {none}".strip()
    named = ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
    return f"{len(found)} order{'s are' if len(found) > 1 else ' is'} in flight: {named}. {then}".strip()


def positions(seen: Seen) -> str:
    """Say what is open and what it has gained or lost, as far as marks tell."""
    held, elsewhere = seen.held, seen.session.held_elsewhere
    told = f"It has {positions_told(len(held))}"
    gains = [one.unrealized_pnl for one in held]
    known = [one for one in gains if one is not None]
    if held and len(known) == len(gains):
        told += f", {dollars(sum(known, Decimal(0)))} unrealised at the last marks"
    elif held:
        told += ", of which not all have a mark: what they gained or lost is not known"
    return f"{told}." + (f" Elsewhere: {elsewhere}." if elsewhere else "")


def closing_cost(seen: Seen) -> str:
    """Say what closing everything would cost or bring at the last marks."""
    if not seen.held:
        return ""
    worth = [_worth(one) for one in seen.held]
    known = [one for one in worth if one is not None]
    if len(known) != len(worth):
        return "What closing them costs is not known: not all of them have a mark."
    total = sum(known, Decimal(0))
    what = f"costs about {dollars(-total)}" if total < 0 else f"brings about {dollars(total)}"
    return f"Closing them {what} at the last marks; what it does at the market is not known before."


def _worth(one: Position) -> Decimal | None:
    each = 1 if one.right == "stock" else SHARES_PER_CONTRACT
    return None if one.mark is None else one.mark * one.quantity * each


def withdrawn(change: Change) -> str:
    """Say what that waits for people a command withdraws."""
    approvals, orders = len(change.asked.settled_approvals), len(change.asked.settled_orders)
    told = [f"{approvals} waiting approval{'s' if approvals > 1 else ''}"] * bool(approvals)
    told += [f"{orders} opening{'s' if orders > 1 else ''} by hand"] * bool(orders)
    return f"It withdraws {' and '.join(told)}." if told else ""


def two_people(second: NeedsSecond | None) -> str:
    """Say that a command waits for a second person before anything of it is done; nothing where it does not."""
    return "" if second is None else _TWO.format(needed=second.named()["needed"])


def takes_two_people(action: str, viewer: Viewer) -> tuple[str, ...]:
    """Say it of what a viewer would ask of the desk itself."""
    try:
        authorize(viewer.actor, action)
    except NeedsSecond as error:
        return (two_people(error),)
    except Forbidden:
        pass
    return ()
