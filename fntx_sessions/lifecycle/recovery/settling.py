"""The steps after memory is back: openings cancelled, the broker asked, the ledger settled, everything compared."""

from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.lifecycle.orders import settle
from fntx_sessions.lifecycle.reconcile import Reconciled, states_of
from fntx_sessions.lifecycle.recovery.differences import Difference, Ledger, compare, lost_orders
from fntx_sessions.lifecycle.recovery.differences import read_ledger as read
from fntx_sessions.lifecycle.recovery.facts import Facts
from fntx_sessions.lifecycle.recovery.memory import Memory, memory_of
from fntx_sessions.lifecycle.recovery.progress import Progress
from fntx_sessions.state.snapshot import Snapshot
from fntx_sessions.testing import failpoint
from fntx_sessions.trading.broker import Broker
from fntx_sessions.trading.orders import Status

_LOOKS = 3  # an order that fills while we look is not a difference: then we look once more
Statuses = dict[str, Status | None]


def settle_with(
    engine: Engine, broker: Broker, facts: Facts, progress: Progress, epoch: int, memory: Snapshot | None
) -> dict[str, Any]:
    """Bring the ledger up to the broker and return what was found, of this attempt and of those before it.

    The answer holds `reconciled` and `differences`; those a person accepted before are left out. Raises StaleEpoch.
    """
    session_id, report = facts.session_id, progress.report
    cancelled = _joined(report.get("cancelled"), broker.cancel_openings(session_id, epoch))
    failpoint("recovery.cancelled")
    ledger = read(engine, session_id)
    statuses = _asked(broker, ledger)
    unsent = _joined(report.get("never_sent"), [name for name, status in statuses.items() if status is None])
    lost = _added(report.get("lost_orders"), lost_orders(ledger, statuses))
    # Noted before it is settled: whoever goes on from here finds these orders rejected, and no trace of why.
    progress.done("cancel_openings", "ask_broker", cancelled=cancelled, never_sent=unsent, lost_orders=lost)
    failpoint("recovery.asked")
    remembered = memory_of(memory.parts, facts.hosted, forked=facts.forked) if memory else Memory()
    late, found = _settled(engine, broker, session_id, ledger, statuses, remembered)
    late = _joined(report.get("late_fills"), late)
    progress.done("reconcile", late_fills=late, differences=found)
    failpoint("recovery.reconciled")
    accepted = facts.recovery_data.get("accepted", [])
    left = [one for one in [*lost, *found] if one not in accepted]
    return {"reconciled": Reconciled(cancelled, unsent, late).to_dict(), "differences": left}


def _asked(broker: Broker, ledger: Ledger) -> Statuses:
    waiting = [name for name, state in ledger.orders.items() if state in ("intended", "working")]
    return {name: broker.order_status(name) for name in waiting}


def _settled(
    engine: Engine, broker: Broker, session_id: UUID, ledger: Ledger, statuses: Statuses, memory: Memory
) -> tuple[list[str], list[Difference]]:
    """Write the orders' fates and the fills the ledger lacks, then compare; looks again while fills still come in."""
    late: list[str] = []
    found: list[Difference] = []
    for _ in range(_LOOKS):
        executions = broker.executions(session_id)
        fresh = [fill for fill in executions if fill.fill_id not in ledger.fill_ids]
        if statuses or fresh:
            settle(engine, states_of(statuses), fresh)
            late += [fill.fill_id for fill in fresh]
            ledger = read(engine, session_id)
        found = compare(ledger, memory, broker, session_id, {fill.fill_id for fill in executions})
        if not found:
            break
        statuses = _asked(broker, ledger)
        if not fresh and all(status == "working" for status in statuses.values()):
            break
    return late, found


def _joined(before: list[str] | None, now: list[str]) -> list[str]:
    return list(dict.fromkeys([*(before or ()), *now]))


def _added(before: list[Difference] | None, now: list[Difference]) -> list[Difference]:
    return [*(before or ()), *(one for one in now if one not in (before or ()))]
