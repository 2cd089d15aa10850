"""A desk whose rules are swept: Postgres's own clock set by hand, a market published by hand, due times as told."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
from hosting import ANN, SYSTEM, Hosting, S, T, make_hosting
from owning import do

from fntx_sessions.automation.rules import rows, sweep
from fntx_sessions.database.engine import build_engine, driven
from fntx_sessions.settings import Settings
from fntx_sessions.trading.market_store import MARKET_KEY

NEW_YORK = ZoneInfo("America/New_York")
# A Tuesday with regular hours.
DAY = datetime(2018, 1, 9, tzinfo=NEW_YORK)
START = [
    {"condition": "market_open", "value": True},
    {"condition": "vix_below", "value": 30},
    {"condition": "time_after", "value": "09:35:00"},
]
STOP = [
    {"condition": "daily_loss_exceeded", "value": True},
    {"condition": "market_close", "value": True},
    {"condition": "error_rate_above", "value": 0.1},
]
# Unqualified, these come before Postgres's own for every connection that is made from then on.
_CLOCK = """
CREATE SCHEMA IF NOT EXISTS desk_clock;
CREATE TABLE IF NOT EXISTS desk_clock.stands (at timestamptz);
DELETE FROM desk_clock.stands;
INSERT INTO desk_clock.stands VALUES (NULL);
CREATE OR REPLACE FUNCTION desk_clock.now() RETURNS timestamptz LANGUAGE sql STABLE
  AS 'SELECT coalesce(at, pg_catalog.now()) FROM desk_clock.stands';
CREATE OR REPLACE FUNCTION desk_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
  AS 'SELECT coalesce(at, pg_catalog.clock_timestamp()) FROM desk_clock.stands';
GRANT USAGE ON SCHEMA desk_clock TO PUBLIC;
GRANT SELECT, UPDATE ON desk_clock.stands TO PUBLIC;
DO $$ BEGIN
  EXECUTE format('ALTER DATABASE %I SET search_path = desk_clock, pg_catalog, public', current_database());
END $$;
"""


class RuledDesk(Hosting):
    """A desk in this process whose wall stands still where `at` and `later` last put it."""

    def at(self, clock: str, *, day: datetime = DAY) -> datetime:
        """Set Postgres's clock to a time of the exchange, such as ``09:35:00``."""
        moment = datetime.combine(day.date(), datetime.fromisoformat(f"2018-01-01T{clock}").time(), NEW_YORK)
        self.run("UPDATE desk_clock.stands SET at = :at", at=moment)
        return moment

    def later(self, seconds: float) -> None:
        """Move Postgres's clock on."""
        self.run("UPDATE desk_clock.stands SET at = at + make_interval(secs => :s)", s=seconds)

    def now(self) -> datetime:
        return self.rows("SELECT clock_timestamp() AS now")[0]["now"]

    def publish(self, *, ago_s: float = 0.0, **state: Any) -> None:
        """Publish a market of so long ago."""
        told = {
            "timestamp": (self.now() - timedelta(seconds=ago_s)).isoformat(),
            "spy_price": 270.0,
            "vix_level": 18.0,
            "key_levels": {"previous_close": 270.0},
        }
        self.desk.redis.set(MARKET_KEY, orjson.dumps(told | state))

    def ruled(self, kind: str = "regular", **config: Any) -> UUID:
        """Create a session on the published market with the rules given as start, stop, pause, resume."""
        rules = {f"auto_{name}_conditions": config.pop(name, []) for name in ("start", "stop", "pause", "resume")}
        return self.create(kind, config={"feed": {"kind": "published"}, **rules, **config})

    def running(self, **config: Any) -> UUID:
        """Create such a session and start it."""
        session_id = self.ruled(**config)
        self.do(T.START, session_id)
        return session_id

    def remote(self, agents: Iterable[str] = ("TheirAgent",), **config: Any) -> UUID:
        """Create and start a session without any rule, some or all of whose agents are another service's."""
        session_id = self.ruled(agents=list(agents), **config)
        self.run("UPDATE session_agents SET ready_at = now() WHERE session_id = :id", id=session_id)
        self.do(T.START, session_id)
        return session_id

    def leg(self, quantity: int = -1, *, minutes: float = 5.0, **changes: Any) -> dict[str, Any]:
        """Return a put as an agent reports it, opened so many minutes ago; it expires today."""
        now = self.now()
        return {
            "symbol": "SPY", "right": "put", "strike": 200, "expiry": now.astimezone(NEW_YORK).date().isoformat(),
            "quantity": quantity, "average_price": 0.5, "opened_at": (now - timedelta(minutes=minutes)).isoformat(),
            "trade_id": "t", **changes,
        }  # fmt: skip

    def sweep(self, **settings: Any) -> dict[str, int]:
        """Sweep whose rules are looked at at all, due or not."""
        self.run("UPDATE session_work SET next_rule_at = now() WHERE next_rule_at IS NOT NULL")
        return sweep.evaluate_due(self.with_settings(**settings).desk, SYSTEM)

    def decisions(self, session_id: UUID) -> list[dict[str, Any]]:
        """Return what was decided, oldest first."""
        return rows.decisions(self.desk.engine, session_id, 1000)[::-1]

    def status(self, session_id: UUID) -> S:
        return S(self.row(session_id)["status"])

    def why(self, session_id: UUID) -> str:
        """Return the reason of the last transition."""
        return str(self.row(session_id)["status_reason"])

    def rule_state(self, session_id: UUID) -> dict[str, Any]:
        return self.rows("SELECT * FROM rule_states WHERE session_id = :id", id=session_id)[0]

    def measure(self, session_id: UUID, **measures: Any) -> None:
        """Leave measures as a step of this moment would."""
        self.run(
            "UPDATE session_work SET measures = CAST(:m AS jsonb) || jsonb_build_object('stored_at', now()) "
            "WHERE session_id = :id",
            id=session_id,
            m=orjson.dumps({"position_count": 0, "drawdown": "0"} | measures).decode(),
        )


@contextmanager
def ruled_desk(settings: Settings) -> Iterator[RuledDesk]:
    """Yield a desk over the stores `settings` name, its wall at the real time."""
    url = settings.database_url.get_secret_value()
    engine = build_engine(driven(url), settings)
    do(engine, _CLOCK, {})
    engine.dispose()
    with make_hosting(settings) as made:
        desk = RuledDesk(made.desk)
        desk.run("UPDATE session_work SET next_rule_at = NULL, rule_claimed_until = NULL, next_step_at = NULL")
        yield desk
        desk.run("UPDATE session_work SET next_rule_at = NULL")


__all__ = ["ANN", "DAY", "START", "STOP", "SYSTEM", "RuledDesk", "ruled_desk"]
