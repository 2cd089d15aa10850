"""Closed sessions with something of everything, to be archived and brought back."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import redis
from lifecycle_harness import S, T
from lifecycle_harness import World as Lifecycle
from owning import do

from fntx_sessions.database.engine import build_engine
from fntx_sessions.settings import Settings
from fntx_sessions.state.checkpoints import create_checkpoint
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.redis_client import build_redis
from fntx_sessions.state.saves import save_sessions

# Which tables are compared, and by what their rows are put in order.
COMPARED = {
    "sessions": "session_id",
    "session_agents": "agent",
    "agent_reports": "agent, kind, report_id",
    "transitions": "version",
    "audit": "seq",
    "events": "timestamp, event_id",
    "order_intents": "seq",
    "fills": "fill_id",
    "session_days": "trade_date",
    "samples": "timestamp",
    "commands": "created_at, command_id",
    "invalid_states": "timestamp",
    "recovery_runs": "run_id",
    "saves": "session_id",
    "parts": "part_hash",
    "snapshot_parts": "snapshot_id, part_hash",
}
# Where a checkpoint's bytes lie may differ; what they are may not.
_CHECKPOINTS = """
SELECT checkpoint_id, epoch, revision, timestamp, checkpoint_type, checksum, identity, size_bytes, verified, note,
  created_by, pinned, manifest FROM checkpoints WHERE session_id = :id ORDER BY timestamp, checkpoint_id
"""
_EVENT = """
INSERT INTO events (event_id, session_id, event_type, event_category, severity, description)
SELECT gen_random_uuid(), :id, 'note', 'test', 'info', E'tab\\there, new\\nline, back\\\\slash, NULL \\\\N'
FROM generate_series(1, 3)
"""
_SAMPLES = """
INSERT INTO samples (session_id, timestamp, epoch, net_pnl, exposure, spot, steps)
SELECT :id, timestamptz '2026-01-05 14:30Z' + n * interval '1 second', 1, n / 7.0, 1000.1, 470 + n / 3.0,
  '{"A": [1, 2.50]}'
FROM generate_series(1, :count) n
"""
_MONEY = """
INSERT INTO order_intents (client_order_id, session_id, epoch, seq, account_id, trade_date, opening, state, payload)
VALUES (:text || '/1/1', :id, 1, 1, 'paper:' || :text, '2026-01-05', true, 'filled',
  '{"limit": 1.50, "none": null, "words": "\\u00e4\\n"}');
INSERT INTO fills (fill_id, session_id, account_id, epoch, client_order_id, trade_id, trade_date, symbol, "right",
  strike, expiry, side, quantity, price, fee, opening, timestamp)
VALUES (:text || '-f', :id, 'paper:' || :text, 1, :text || '/1/1', 't1', '2026-01-05', 'SPY', 'put', 470.5,
  '2026-01-05', 'sell', 2, 1.0500, 0.68, true, '2026-01-05 15:00Z');
INSERT INTO session_days (session_id, trade_date, account_id, realized)
VALUES (:id, '2026-01-05', 'paper:' || :text, 12.34);
INSERT INTO account_days (account_id, trade_date, equity_at_roll) VALUES ('paper:' || :text, '2026-01-05', 100000);
INSERT INTO agent_reports (session_id, agent, kind, report_id, epoch, timestamp, latency_ms, gross_pnl, data)
VALUES (:id, 'TheirPlanner', 'decision', 'd1', 1, '2026-01-05 15:00Z', 1.25, NULL, '\\x00ff'),
  (:id, 'TheirPlanner', 'trade', 't1', 1, '2026-01-05 15:00Z', NULL, 1.2345, '\\x00fe');
INSERT INTO invalid_states (session_id, epoch, revision, problem, blob) VALUES (:id, 1, 9, 'not JSON', '\\x00ff');
INSERT INTO recovery_runs (run_id, session_id, epoch, state) VALUES (gen_random_uuid(), :id, 1, 'done')
"""


@dataclass(frozen=True)
class Desk:
    """One database, one Redis, one cold store, and sessions that came to their end."""

    lifecycle: Lifecycle
    client: redis.Redis
    settings: Settings

    @property
    def engine(self):
        return self.lifecycle.engine

    @property
    def stores(self):
        return self.engine, self.client, self.settings

    @property
    def cold(self):
        return open_cold(self.settings)

    def closed(self, *, checkpoints: int = 2, samples: int = 50, live: bool = True, **asked: Any) -> UUID:
        """Return a session with rows in every table, a save and checkpoints that share a large part, closed."""
        session_id = self.lifecycle.in_status(S.ACTIVE, **asked)
        if live:
            self.live(session_id, checkpoints)
        for statement in (_EVENT, *_MONEY.split(";")):
            self.run(statement, id=session_id, text=str(session_id))
        self.run(_SAMPLES, id=session_id, count=samples)
        for trigger in (T.STOP, T.FINALIZE):
            assert self.lifecycle.do(trigger, session_id).state == "done"
        return session_id

    def live(self, session_id: UUID, checkpoints: int) -> None:
        """Have agents report, then save and checkpoint the session."""
        live = LiveState(self.client, self.settings)
        live.raise_fence(session_id, 1)
        live.report(Report(session_id, 1, "Big", {"agent/Big": agent(notes=noise(1))}))
        for number in range(checkpoints):
            live.report(Report(session_id, 1, "Small", {"agent/Small": agent(number=number)}))
            create_checkpoint(*self.stores, session_id, "manual", note=f"number {number}")
        save_sessions(*self.stores, [session_id])

    def run(self, statement: str, **values: object) -> None:
        """Run a statement and commit."""
        do(self.engine, statement, values)

    def rows(self, statement: str, **values: object) -> list[dict[str, Any]]:
        """Return what a query finds."""
        return self.lifecycle.rows(statement, **values)

    def whole(self, session_id: UUID) -> dict[str, list[dict[str, Any]]]:
        """Return everything Postgres holds of a session, but for what tells of its being restored."""
        found = {
            table: self.rows(f"SELECT * FROM {table} WHERE session_id = :id ORDER BY {order}", id=session_id)
            for table, order in COMPARED.items()
        }
        found["events"] = [row for row in found["events"] if row["event_type"] != "session_restored"]
        for part in found["parts"]:
            part.pop("created_at")
        found["checkpoints"] = self.rows(_CHECKPOINTS, id=session_id)
        account = "SELECT a.* FROM accounts a JOIN sessions s USING (account_id) WHERE s.session_id = :id"
        return {name: _plain(rows) for name, rows in (found | {"accounts": self.rows(account, id=session_id)}).items()}

    def old(self, session_id: UUID) -> None:
        """Make the session's end long ago, so that its rows may go."""
        self.run("UPDATE session_work SET archive_due_at = now() WHERE session_id = :id", id=session_id)


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: bytes(v) if isinstance(v, memoryview) else v for k, v in row.items()} for row in rows]


@contextmanager
def make_desk(settings: Settings, database_url: str | None = None) -> Iterator[Desk]:
    """Yield a desk over the stores `settings` name, or over another database, and leave no connection behind."""
    url = database_url or settings.database_url.get_secret_value()
    engine = build_engine(url, settings)
    client = build_redis(settings.redis_url.get_secret_value(), settings)
    try:
        yield Desk(Lifecycle(engine, settings), client, settings)
    finally:
        client.close()
        engine.dispose()


def agent(**internal: object) -> bytes:
    """Return an agent part."""
    return orjson.dumps({"agent_id": "A", "last_update": "2024-01-02T14:30:00Z", "internal_state": internal})


def noise(seed: int, size: int = 40_000) -> str:
    """Return text that does not compress away."""
    return "".join(f"{(seed * 2_654_435_761 + n * 40_503) % 2**32:08x}" for n in range(size // 8))
