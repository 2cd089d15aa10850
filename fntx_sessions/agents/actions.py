"""What an agent may do: the desk of a hosted session. Orders pass the gate, then the broker, then the ledger."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from fntx_sessions.agents.memories import noted
from fntx_sessions.agents.runtime import Runtime
from fntx_sessions.agents.saying import Said, event, storable
from fntx_sessions.agents.talking import ask_person, settle
from fntx_sessions.exceptions import Rejected
from fntx_sessions.lifecycle import orders
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.people import Approval, HandOrder, Warrant
from fntx_sessions.memory.slices import MemorySlice
from fntx_sessions.memory.store import Kept
from fntx_sessions.schemas import Severity
from fntx_sessions.security.known_secrets import hide_in
from fntx_sessions.state.parts import GUARD
from fntx_sessions.testing import failpoint
from fntx_sessions.trading.clock import WALL
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.opening import at_worst, filled_risks
from fntx_sessions.trading.orders import OrderRequest, Placed, Working


@dataclass(slots=True)
class Requests:
    """What agents ask of the lifecycle; done after the step, through the ordinary commands. None: not asked.

    stale: nothing but the published market's age, or its date, asks for the suspension.
    """

    pause: str | None = None
    suspend: str | None = None
    to_do: str = ""  # what a person has to do about the suspension
    stale: bool = False
    stop: str | None = None


@dataclass(slots=True)
class HostedDesk:
    """The Desk of one step; see agents/base.py for what each method promises.

    calls, calls_failed: of the broker, for the error rate. said: how much each agent told since events were stored.
    """

    desk: Desk
    runtime: Runtime
    agent: str = ""
    board: Board | None = None
    requests: Requests = field(default_factory=Requests)
    events: list[dict[str, Any]] = field(default_factory=list)
    calls: int = 0
    calls_failed: int = 0
    memories: list[Kept] = field(default_factory=list)
    said: dict[str, Said] = field(default_factory=dict)

    def place(self, request: OrderRequest, warrant: Warrant | None = None) -> Placed:
        """Commit the intent, place it, note what came of it in the ledger, and keep the book in step.

        The gate counts an opening at the worst it may fill at now, whatever its agent says; the ledger at its fill.
        """
        runtime, board = self.runtime, self.board
        assert board is not None  # noqa: S101 - without a board no agent has anything to place
        request = at_worst(request, board, runtime.risk, runtime.rules)
        # What a person decided took as long as it took: no measure of the agents.
        latency = None if warrant else round((time.monotonic_ns() - board.tick.received_ns) / 1e6, 3)
        intent = orders.commit_intent(
            self.desk.engine,
            request,
            session_id=runtime.session_id,
            epoch=runtime.epoch,
            sequence=runtime.sequence,
            trade_date=board.tick.trade_date,
            now=runtime.clock.now,
            latency_ms=latency,
            warrant=warrant,
        )
        runtime.sequence += 1
        if latency is not None:
            runtime.recent.latencies.append(latency)
        with self._called():
            placed = runtime.broker.place(intent, board, runtime.clock.now)
            failpoint("order.placed")
            risks = filled_risks(placed.fills, runtime.risk, runtime.rules)
            orders.settle(self.desk.engine, {placed.client_order_id: placed.status}, placed.fills, risks)
            runtime.book.placed(Working(intent), placed)
        return placed

    def cancel(self, client_order_id: str) -> None:
        """Cancel at the broker; an order that filled meanwhile comes in with the next match."""
        with self._called():
            status = self.runtime.broker.cancel(self.runtime.session_id, self.runtime.epoch, client_order_id)
            if status != "filled":
                # None: the broker never saw it.
                orders.settle(self.desk.engine, {client_order_id: status or "rejected"})
                self.runtime.book.gone(client_order_id)

    def request_approval(self, request: OrderRequest, reference: Decimal | None, reasons: dict[str, Any]) -> str | None:
        """Store the approval at once, whatever becomes of the rest of the step."""
        return ask_person(self.desk, self.runtime, self.agent, request, reference, hide_in(reasons))

    def settle(self, what: Approval | HandOrder, state: str, result: str) -> None:
        """Settle it at once, whatever becomes of the rest of the step."""
        settle(self.desk, self.runtime, what, state, result)

    @contextmanager
    def _called(self) -> Iterator[None]:
        """Count a call of the broker; one that a newer epoch or the broker refuses is no failure, nor an attempt."""
        try:
            with self._unsure():
                yield
        except Rejected:
            raise
        except Exception:
            self.calls += 1
            self.calls_failed += 1
            raise
        self.calls += 1

    @contextmanager
    def _unsure(self) -> Iterator[None]:
        """Remember, should the block fail, that the broker may know more than the ledger and the book."""
        before, self.runtime.unsure = self.runtime.unsure, True
        yield
        self.runtime.unsure = before

    def emit(
        self,
        event_type: str,
        category: str,
        severity: Severity,
        description: str,
        data: dict[str, Any] | None = None,
        *,
        requires_action: bool = False,
    ) -> None:
        """Keep an event for the end of the step, its data as it is now."""
        found = self.said.setdefault(self.agent, Said()).add(data, self.desk.settings)
        self._keep(event_type, category, severity, description, found, requires_action=bool(requires_action))

    def tell_failure(self, description: str, failures: int) -> None:
        """Keep the event that the agent in turn failed, however much it has told."""
        self._keep("agent_failed", "health", Severity.ERROR, description, {"failures": failures})

    def _keep(
        self,
        event_type: str,
        category: str,
        severity: Severity,
        description: str,
        data: dict[str, Any],
        *,
        requires_action: bool = False,
    ) -> None:
        more = {"source_agent": self.agent or None, "requires_action": requires_action}
        data = {**data, "session_time": self.runtime.clock.now.isoformat()}
        self.events.append(event(WALL.now(), event_type, category, severity, description) | more | {"data": data})

    def remember(self, memory: MemorySlice) -> None:
        """Keep a slice for the end of the step."""
        runtime, agent = self.runtime, self.agent.removeprefix(GUARD)
        settings, known = self.desk.settings, self.memories
        known.append(noted(settings, runtime.session_id, runtime.epoch, agent, memory, known))

    def latch_loss(self, reason: str) -> None:
        """Latch the account's day at once, whatever becomes of the rest of the step; ask for a pause."""
        day = self.runtime.book.trade_date
        reason = storable(reason)
        orders.latch(self.desk.engine, self.runtime.account_id, day, f"session {self.runtime.session_id}", reason)
        self.runtime.account = replace(self.runtime.account, latched=reason)
        self.request_pause(reason)

    def request_pause(self, reason: str) -> None:
        """Ask for a pause by rule after this step."""
        self.requests.pause = self.requests.pause or storable(reason)

    def request_suspend(self, reason: str, *, stale: bool = False) -> None:
        """Ask for a suspension after this step."""
        self.requests.stale = stale if self.requests.suspend is None else self.requests.stale and stale
        self.requests.suspend = self.requests.suspend or storable(reason)

    def request_stop(self, reason: str) -> None:
        """Ask for a stop after this step."""
        self.requests.stop = self.requests.stop or storable(reason)
