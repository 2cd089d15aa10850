"""A run written row by row: fills, samples, intents and a step's measures, as hosts leave them, and what was told."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import orjson
from lifecycle_harness import World

from fntx_sessions.lifecycle.orders import settle
from fntx_sessions.lifecycle.reads.metrics import get_metrics
from fntx_sessions.schemas import SessionMetrics, SessionStatus
from fntx_sessions.state.payloads import REPORT, Payloads, report_name
from fntx_sessions.trading.orders import Contract, Fill

OPEN = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
DAY = date(2026, 1, 5)
PUT, CALL = Contract("put", Decimal(265), DAY), Contract("call", Decimal(275), DAY)
FEE = Decimal("0.68")


def fill(
    session_id: UUID,
    trade: str,
    minute: float,
    side: str,
    price: str,
    contract: Contract = PUT,
    quantity: int = 1,
    *,
    slippage: str = "0",
    day: date = DAY,
) -> Fill:
    """Return one fill of a trade, so many minutes after 10:00 in New York."""
    at = datetime.combine(day, OPEN.time(), UTC) + timedelta(minutes=minute)
    return Fill(
        fill_id=uuid4().hex, session_id=session_id, account_id=f"paper:{session_id}", epoch=1,
        client_order_id=f"{trade}/{minute}", trade_id=f"2026-01-05/sell_put/{trade}", trade_date=day,
        contract=contract, side=side, quantity=quantity, price=Decimal(price), fee=FEE * quantity,  # type: ignore[arg-type]
        slippage=Decimal(slippage), opening=side == "sell", reason="" if side == "sell" else "profit", timestamp=at,
    )  # fmt: skip


class Run:
    """One session: a started one of its own, or the one that is given."""

    def __init__(self, world: World, session_id: UUID | None = None, **asked: Any) -> None:
        self.world = world
        self.id = session_id or world.in_status(SessionStatus.ACTIVE, **asked)

    def fills(self, *fills: Fill) -> None:
        settle(self.world.engine, {}, list(fills))

    def trade(self, trade: str, minute: float, sold: str, bought: str | None = None, **more: Any) -> list[Fill]:
        """Sell, and perhaps buy back two minutes later."""
        made = [fill(self.id, trade, minute, "sell", sold, **more)]
        made += [] if bought is None else [fill(self.id, trade, minute + 2, "buy", bought, **more)]
        self.fills(*made)
        return made

    def sample(self, minute: float, net: Any, **steps: Any) -> None:
        self.world.execute(
            "INSERT INTO samples (session_id, timestamp, epoch, net_pnl, steps) VALUES (:id, :at, 1, :net, :steps)",
            id=self.id, at=OPEN + timedelta(minutes=minute), net=Decimal(net), steps=orjson.dumps(steps).decode(),
        )  # fmt: skip

    def measured(self, minute: float, **measures: Any) -> None:
        """Leave what a step leaves."""
        left = orjson.dumps({"at": OPEN + timedelta(minutes=minute), **measures}).decode()
        self.world.execute("UPDATE session_work SET measures = :left WHERE session_id = :id", left=left, id=self.id)

    def curve(self, minute: float, nets: list[Decimal]) -> None:
        """Sample each of `nets`, a minute apart."""
        self.world.execute(
            "INSERT INTO samples (session_id, timestamp, epoch, net_pnl) SELECT :id, CAST(:at AS timestamptz) + "
            "(n - 1) * interval '1 minute', 1, net FROM unnest(CAST(:nets AS numeric[])) WITH ORDINALITY AS x(net, n)",
            id=self.id, at=OPEN + timedelta(minutes=minute), nets=nets,
        )  # fmt: skip

    def decided(self, *latencies: float) -> None:
        self.world.execute(
            "INSERT INTO order_intents (client_order_id, session_id, epoch, seq, account_id, trade_date, opening, "
            "decision_latency_ms) SELECT gen_random_uuid(), :id, 1, n, 'a', :day, true, latency "
            "FROM unnest(CAST(:latencies AS float8[])) WITH ORDINALITY AS x(latency, n)",
            id=self.id, day=DAY, latencies=list(latencies),
        )  # fmt: skip

    def told(self, kind: str, name: str, agent: str = "TheirAgent", **columns: Any) -> None:
        """Leave what an agent of another service told, as it is kept: columns to count by, its words sealed."""
        words = columns.pop("words", {})
        sealed = Payloads(self.world.engine).seal_some(self.id, REPORT, report_name(agent, kind, name), words)
        row = {"timestamp": columns.get("closed_at") or columns.get("opened_at") or OPEN, "data": sealed, **columns}
        listed = ", ".join(row)
        self.world.execute(
            f"INSERT INTO agent_reports (session_id, agent, kind, report_id, epoch, {listed}) "
            f"VALUES (:id, :agent, :kind, :name, 1, {', '.join(':' + name for name in row)})",
            id=self.id, agent=agent, kind=kind, name=name, **row,
        )  # fmt: skip

    @property
    def metrics(self) -> SessionMetrics:
        return get_metrics(self.world.engine, self.id)


def elsewhere(world: World, **asked: Any) -> Run:
    """Return a run whose agents are all another service's."""
    run = Run(world, **asked)
    world.execute("UPDATE session_agents SET hosted = false WHERE session_id = :id", id=run.id)
    return run
