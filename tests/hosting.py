"""A desk in this process: sessions on a real database and Redis, stepped, watched and finished by hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from owning import as_owner, do
from sqlalchemy import text
from structlog.testing import capture_logs

from fntx_sessions.agents import host
from fntx_sessions.agents.registry import get_agent
from fntx_sessions.automation import hosts, liveness, pending
from fntx_sessions.database.engine import build_engine
from fntx_sessions.lifecycle import commands, execute, orders
from fntx_sessions.lifecycle.arguments import CreateArguments
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.history import opened
from fntx_sessions.lifecycle.recovery.differences import read_ledger
from fntx_sessions.schemas import SessionStatus, Trigger
from fntx_sessions.security import known_secrets
from fntx_sessions.security.actor import Actor, system_actor
from fntx_sessions.settings import Settings
from fntx_sessions.state.payloads import Payloads
from fntx_sessions.state.redis_client import build_redis
from fntx_sessions.state.saves import save_sessions
from fntx_sessions.trading.orders import Contract, Leg, OrderIntent, OrderRequest
from fntx_sessions.trading.paper import PaperBroker

S, T = SessionStatus, Trigger
ANN = Actor("ann", frozenset({"operator", "risk_manager"}))
SYSTEM = system_actor("test")
DAY = date(2018, 1, 9)
# A day after a VIX that leaves premium to sell: sell_put enters at 10:00 and holds for some bars.
FEED = {
    "kind": "replayed",
    "seed": 1,
    "previous": {"date": "2018-01-08", "open": 2742.67, "high": 2748.51, "low": 2737.6, "close": 2747.71, "vix": 22.0},
    "day": {"date": "2018-01-09", "open": 2751.15, "high": 2759.14, "low": 2747.86, "close": 2751.29, "vix": 10.08},
}
PUT = Contract("put", Decimal(270), DAY)


def request(trade: str = "t", *, opening: bool = True, risk: str = "100", limit: str = "0.01") -> OrderRequest:
    """Return an order for one put: an opening that may lose `risk` dollars to its stop, or what closes it."""
    side = "sell" if opening else "buy"
    legs = (Leg(PUT, side, 1, Decimal("0.50")),)
    return OrderRequest(trade, "sell_put", side, legs, opening=opening, limit=Decimal(limit), risk=Decimal(risk))


@dataclass(frozen=True)
class Hosting:
    """One database, one Redis, and everything that acts on sessions there."""

    desk: Desk

    @property
    def broker(self) -> PaperBroker:
        return PaperBroker(self.desk.engine)

    def with_settings(self, **changed: Any) -> "Hosting":
        return Hosting(replace(self.desk, settings=self.desk.settings.model_copy(update=changed)))

    def create(self, kind: str = "paper_trading", **asked: Any) -> UUID:
        """Create a session that steps only when it is told to."""
        config = {"step_interval_s": 3600, "feed": FEED} | asked.pop("config", {})
        arguments = CreateArguments.model_validate({"session_type": kind, "config": config} | asked)
        return execute.create(self.desk, ANN, arguments, uuid4()).raise_for_refusal().session_id

    def started(self, kind: str = "paper_trading", **asked: Any) -> UUID:
        session_id = self.create(kind, **asked)
        self.do(T.START, session_id)
        return session_id

    def do(self, trigger: Trigger, session_id: UUID, *, actor: Actor = ANN, **more: Any) -> Outcome:
        """Do a command that has to be done."""
        outcome = self.ask(trigger, session_id, actor=actor, **more)
        outcome.raise_for_refusal()
        return outcome

    def ask(
        self, trigger: Trigger, session_id: UUID, *, actor: Actor = ANN, command_id: UUID | None = None, **more: Any
    ) -> Outcome:
        arguments = commands.ARGUMENTS[trigger].model_validate({"session_id": session_id} | more)
        return execute.command(self.desk, trigger, actor, arguments, command_id or uuid4())

    def step(self, host_id: str = "h1") -> int:
        """Make every session that is stepped at all due, and step it once."""
        self.run("UPDATE session_work SET next_step_at = now() WHERE next_step_at IS NOT NULL")
        hosts.renew(self.desk.engine, self.desk.settings, host_id, "agents")
        return host.step_due(self.desk, host_id)

    def walk(self, session_id: UUID, until: Callable[[dict[str, Any]], Any], host_id: str = "h1", limit: int = 120):
        """Step until the session's row, with its book, satisfies `until`."""
        row = self.row(session_id)
        for _ in range(limit):
            if until(row):
                return row
            self.step(host_id)
            row = self.row(session_id)
        assert until(row), f"not within {limit} steps: {row}"
        return row

    def holding(self, session_id: UUID) -> UUID:
        """Walk until the session holds a position."""
        self.walk(session_id, lambda _: self.broker.positions(session_id))
        return session_id

    def finish(self) -> dict[str, int]:
        """Take up everything that is pending, due or not."""
        self.run("UPDATE session_work SET pending_due_at = now() WHERE pending_due_at IS NOT NULL")
        return pending.finish_pending(self.desk, SYSTEM)

    def lose(self, *host_ids: str) -> None:
        """Let the leases of hosts run out a moment ago."""
        self.run("UPDATE hosts SET lease_until = now() - interval '1 s' WHERE host_id = ANY(:ids)", ids=list(host_ids))

    def watch(self) -> liveness.Watch:
        return liveness.watch(self.desk, SYSTEM)

    def save(self, session_id: UUID) -> None:
        report = save_sessions(self.desk.engine, self.desk.redis, self.desk.settings, [session_id])
        assert not report.failed, report

    def intent(self, session_id: UUID, sequence: int = 1, epoch: int = 1, **order: Any) -> OrderIntent:
        """Pass an order through the gate."""
        return orders.commit_intent(
            self.desk.engine,
            request(**order),
            session_id=session_id,
            epoch=epoch,
            sequence=sequence,
            trade_date=DAY,
            now=datetime(2018, 1, 9, 15, 0, tzinfo=UTC),
            latency_ms=1.0,
        )

    def row(self, session_id: UUID) -> dict[str, Any]:
        """Return the session's row with its work row's columns where they differ."""
        statement = "SELECT w.*, s.* FROM sessions s JOIN session_work w USING (session_id) WHERE s.session_id = :id"
        return self.rows(statement, id=session_id)[0]

    def rows(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        with self.desk.engine.begin() as connection:
            return [dict(row) for row in connection.execute(text(statement), values).mappings()]

    def run(self, statement: str, **values: Any) -> None:
        do(self.desk.engine, statement, values)

    def events(self, session_id: UUID, event_type: str) -> list[dict[str, Any]]:
        statement = "SELECT * FROM events WHERE session_id = :id AND event_type = :type ORDER BY timestamp"
        payloads = Payloads(self.desk.engine)
        return [opened(payloads, row) for row in self.rows(statement, id=session_id, type=event_type)]

    def fills(self, session_id: UUID) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM fills WHERE session_id = :id ORDER BY timestamp, fill_id", id=session_id)

    def states(self, session_id: UUID) -> dict[str, str]:
        """Return the states of the session's order intents."""
        found = self.rows("SELECT client_order_id, state FROM order_intents WHERE session_id = :id", id=session_id)
        return {row["client_order_id"]: row["state"] for row in found}

    def check_books(self, session_id: UUID) -> None:
        """Check that the ledger holds the broker's fills, each once, its positions, and no order of unknown fate."""
        ledger = {fill["fill_id"] for fill in self.fills(session_id) if fill["reason"] != "reconciliation"}
        held = {(one.trade_id, one.contract.symbol): one.quantity for one in self.broker.positions(session_id)}
        assert read_ledger(self.desk.engine, session_id).positions() == held
        assert ledger == {fill.fill_id for fill in self.broker.executions(session_id)}
        working = {order.intent.client_order_id for order in self.broker.open_orders(session_id)}
        unknown = {name for name, state in self.states(session_id).items() if state in ("intended", "working")}
        assert unknown == working


def shared(home: Path, database_url: str, redis_url: str) -> Settings:
    """Settings over a database that a module's tests share, one after the other."""
    return Settings(
        home=home, database_url=database_url, maintenance_database_url=as_owner(database_url), redis_url=redis_url,
        auth_mode="open",
    )  # fmt: skip


_REST = (
    "UPDATE session_work SET next_step_at = NULL, next_save_at = NULL, next_checkpoint_at = NULL, host_id = NULL, "
    "pending_due_at = NULL, next_recovery_at = NULL, relay_due_at = NULL; DELETE FROM hosts; DELETE FROM sweep_runs"
)


@contextmanager
def make_hosting(settings: Settings) -> Iterator[Hosting]:
    """Yield a desk over the stores `settings` name; nothing of it is left in this process, nor anything due there."""
    engine = build_engine(settings.database_url.get_secret_value(), settings)
    client = build_redis(settings.redis_url.get_secret_value(), settings)
    forget_runtimes()
    # One round of stepping a call: what a step's own commands make due waits for the next.
    settings = settings.model_copy(update={"step_sweep_s": 1e-6})
    try:
        with capture_logs():
            yield (made := Hosting(Desk(engine, client, settings)))
        made.run(_REST)
    finally:
        forget_runtimes()
        client.close()
        engine.dispose()


def forget_runtimes() -> None:
    """Make this process a new one, as far as hosting goes."""
    host._runtimes.clear()
    known_secrets.forget_all()


@contextmanager
def failing(agent: str, error: Exception, when: Callable[[Any], bool] = lambda _: True) -> Iterator[None]:
    """Make an agent raise at the steps `when` its context says so."""
    found = get_agent(agent)
    honest = found.step

    def step(state: Any, context: Any) -> Any:
        if when(context):
            raise error
        return honest(state, context)

    found.step = step  # type: ignore[method-assign]
    try:
        yield
    finally:
        del found.step
