"""What tests of the state need: sessions in Postgres that are due, and agents that report."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import orjson
import psycopg2
import redis
from owning import do
from sqlalchemy import Engine, event, text

from fntx_sessions.database.engine import build_engine
from fntx_sessions.settings import Settings
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.redis_client import build_redis

_ADD = text("""
WITH n AS (SELECT * FROM unnest(CAST(:ids AS uuid[])) AS t(id)),
account AS (
  INSERT INTO accounts (account_id, equity) SELECT 'paper:' || id, 100000 FROM n RETURNING account_id
), made AS (
  INSERT INTO sessions (session_id, session_type, status, version, account_id, exclusive_account, broker, status_actor)
  SELECT id, 'paper_trading', 'initializing', 1, 'paper:' || id, true, 'paper', 'test' FROM n
)
INSERT INTO session_work (session_id, status, epoch, session_type, save_interval_s, next_save_at,
  checkpoint_interval_s, next_checkpoint_at, step_interval_s, host_id)
SELECT id, 'active', 1, 'paper_trading', 3600, now(), 3600, now(), 1, :host FROM n
""")


@dataclass(frozen=True)
class World:
    """One database, one Redis, and what acts on both."""

    engine: Engine
    client: redis.Redis
    settings: Settings

    @property
    def live(self) -> LiveState:
        """The live state of this world."""
        return LiveState(self.client, self.settings)

    @property
    def stores(self) -> tuple[Engine, redis.Redis, Settings]:
        """What most functions of the state take first."""
        return self.engine, self.client, self.settings

    def sessions(self, count: int, *, live: bool = True, host: str = "host-1") -> list[UUID]:
        """Add sessions at epoch 1 that are due for a save and a checkpoint; live: with a fence and one report."""
        ids = sorted(uuid4() for _ in range(count))
        with self.engine.begin() as connection:
            connection.execute(_ADD, {"ids": list(map(str, ids)), "host": host})
        if live:
            for session_id in ids:
                self.live.raise_fence(session_id, 1)
            self.live.report_many([report(session_id) for session_id in ids])
        return ids

    def due(self) -> None:
        """Make every session due again."""
        self.run("UPDATE session_work SET next_save_at = now(), next_checkpoint_at = now()")

    def run(self, statement: str, **values: object) -> None:
        """Run a statement."""
        do(self.engine, statement, values)

    def rows(self, statement: str, **values: object) -> list[dict[str, object]]:
        """Return what a query finds."""
        return do(self.engine, statement, values)


@contextmanager
def make_world(settings: Settings) -> Iterator[World]:
    """Yield a world over the stores `settings` name, and leave no connection behind."""
    assert settings.database_url is not None
    assert settings.redis_url is not None
    engine = build_engine(settings.database_url.get_secret_value(), settings)
    client = build_redis(settings.redis_url.get_secret_value(), settings)
    try:
        yield World(engine, client, settings)
    finally:
        client.close()
        engine.dispose()


@contextmanager
def postgres_away(world: World) -> Iterator[None]:
    """Let no connection of the world's engine through, as if the server had gone; what the process remembers stays."""

    def refuse(*_args: object) -> None:
        msg = "connection refused: Postgres is away"
        raise psycopg2.OperationalError(msg)

    event.listen(world.engine, "do_connect", refuse)
    world.engine.dispose()
    try:
        yield
    finally:
        event.remove(world.engine, "do_connect", refuse)


def agent_bytes(agent: str = "RiskManagerAgent", **internal: object) -> bytes:
    """Return an agent part as an agent would send it."""
    state = {"agent_id": agent, "last_update": "2024-01-02T14:30:00Z", "internal_state": internal}
    return orjson.dumps(state)


def report(session_id: UUID, epoch: int = 1, agent: str = "RiskManagerAgent", **internal: object) -> Report:
    """Return a report of one agent's own part."""
    return Report(session_id, epoch, agent, {f"agent/{agent}": agent_bytes(agent, **internal)})
