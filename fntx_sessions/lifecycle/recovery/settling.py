"""The steps after memory is back: openings cancelled, the broker asked, the ledger settled, everything compared."""

from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.lifecycle.reconcile import Reconciled, ask_broker, never_sent, settle_orders
from fntx_sessions.lifecycle.recovery import differences as compared
from fntx_sessions.lifecycle.recovery.differences import Difference, Memory
from fntx_sessions.lifecycle.recovery.facts import Facts
from fntx_sessions.lifecycle.recovery.progress import Progress
from fntx_sessions.state.snapshot import Snapshot
from fntx_sessions.testing import failpoint
from fntx_sessions.trading.broker import Broker

_LOOKS = 3  # an order that fills while we look is not a difference: then we look once more


def settle_with(
    engine: Engine, broker: Broker, facts: Facts, progress: Progress, epoch: int, memory: Snapshot | None
) -> dict[str, Any]:
    """Bring the ledger up to the broker and return what was found, of this attempt and of those before it.

    The answer holds `reconciled` and `differences`; those a person accepted before are left out. Raises StaleEpoch.
    """
    session_id, report = facts.session_id, progress.report
    cancelled = _joined(report.get("cancelled"), broker.cancel_openings(session_id, epoch))
    progress.done("cancel_openings", cancelled=cancelled)
    failpoint("recovery.cancelled")
    statuses = ask_broker(engine, broker, session_id)
    lost = compared.lost_orders(compared.read_ledger(engine, session_id), statuses)
    unsent = _joined(report.get("never_sent"), never_sent(statuses))
    # Noted before it is settled: whoever goes on from here finds these orders rejected, and no trace of why.
    progress.done("ask_broker", never_sent=unsent, lost_orders=_added(report.get("lost_orders"), lost))
    failpoint("recovery.asked")
    late = _settled(engine, broker, session_id, progress, statuses)
    remembered = compared.memory_of(memory.parts, facts.hosted) if memory else Memory()
    found = _differences(engine, broker, facts, remembered)
    progress.done("reconcile", differences=found)
    failpoint("recovery.reconciled")
    accepted = facts.recovery_data.get("accepted", [])
    left = [one for one in [*report["lost_orders"], *found] if one not in accepted]
    return {"reconciled": Reconciled(cancelled, unsent, late).to_dict(), "differences": left}


def _settled(engine: Engine, broker: Broker, session_id: UUID, progress: Progress, statuses: Any) -> list[str]:
    late = _joined(progress.report.get("late_fills"), settle_orders(engine, broker, session_id, statuses))
    progress.done(late_fills=late)
    return late


def _differences(engine: Engine, broker: Broker, facts: Facts, memory: Memory) -> list[Difference]:
    found: list[Difference] = []
    for _ in range(_LOOKS):
        found = compared.compare(compared.read_ledger(engine, facts.session_id), memory, broker, facts.session_id)
        statuses = ask_broker(engine, broker, facts.session_id) if found else {}
        if not found or not settle_orders(engine, broker, facts.session_id, statuses):
            break
    return found


def _joined(before: list[str] | None, now: list[str]) -> list[str]:
    return list(dict.fromkeys([*(before or ()), *now]))


def _added(before: list[Difference] | None, now: list[Difference]) -> list[Difference]:
    return [*(before or ()), *(one for one in now if one not in (before or ()))]
