"""The save of a thousand live sessions, all changed and one in ten changed."""

import time
from uuid import UUID, uuid4

import orjson
import psycopg2
from sqlalchemy import text

from benchmarks.desk import Desk
from benchmarks.report import Result, middle
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.saves import save_due

SESSIONS = 1000
PART_BYTES = 4000
FEW = 10  # one in
ROUNDS = 5
_AGENT = "RiskManagerAgent"
_ADD = text("""
WITH n AS (SELECT * FROM unnest(CAST(:ids AS uuid[])) AS t(id)),
account AS (
  INSERT INTO accounts (account_id, equity) SELECT 'bench:' || id, 100000 FROM n RETURNING account_id
), made AS (
  INSERT INTO sessions (session_id, session_type, status, version, account_id, exclusive_account, broker, status_actor)
  SELECT id, 'paper_trading', 'initializing', 1, 'bench:' || id, true, 'paper', 'bench' FROM n
)
INSERT INTO session_work (session_id, status, epoch, session_type, save_interval_s, checkpoint_interval_s,
  step_interval_s, host_id)
SELECT id, 'active', 1, 'paper_trading', 3600, 3600, 1, 'bench' FROM n
""")
_DUE = text("UPDATE session_work SET next_save_at = now() WHERE session_id = ANY(CAST(:ids AS uuid[]))")
_ALONE = "INSERT INTO bench_saves VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET data = excluded.data"


def saves(desk: Desk) -> list[Result]:
    """Return sessions saved a second: all changed beside a commit a session, and one in ten changed beside all."""
    ids = _live(desk)
    every, few, alone = [], [], []
    for _ in range(ROUNDS):
        every.append(_saved(desk, ids, ids))
        few.append(_saved(desk, ids, ids[::FEW]))
        alone.append(_commit_each(desk, ids))
    return [
        Result(
            f"saves, {SESSIONS} x 4 KB, all changed", "/s", middle(every), "a commit a session, bare", middle(alone),
            rounds=ROUNDS,
        ),
        Result(f"saves, 1 in {FEW} changed", "/s", middle(few), "all changed", middle(every), 4, rounds=ROUNDS),
    ]  # fmt: skip


def _live(desk: Desk) -> list[UUID]:
    ids = sorted(uuid4() for _ in range(SESSIONS))
    with desk.engine.begin() as connection:
        connection.execute(_ADD, {"ids": list(map(str, ids))})
        connection.exec_driver_sql("CREATE TABLE bench_saves (id uuid PRIMARY KEY, data bytea)")
        connection.exec_driver_sql("UPDATE session_work SET next_save_at = NULL")  # only ours are due
    LiveState(desk.redis, desk.settings).raise_fences([(session_id, 1) for session_id in ids])
    _saved(desk, ids, ids)  # the first save of all is no usual one
    return ids


def _saved(desk: Desk, ids: list[UUID], changed: list[UUID]) -> float:
    live = LiveState(desk.redis, desk.settings)
    live.report_many([Report(one, 1, _AGENT, {f"agent/{_AGENT}": _state()}) for one in changed])
    with desk.engine.begin() as connection:
        connection.execute(_DUE, {"ids": list(map(str, ids))})
    began, left = time.perf_counter(), len(ids)
    while left:
        report = save_due(desk.engine, desk.redis, desk.settings)
        done = len(report.saved) + len(report.unchanged)
        if not done:
            raise RuntimeError(report)
        left -= done
    return len(ids) / (time.perf_counter() - began)


def _commit_each(desk: Desk, ids: list[UUID]) -> float:
    few = ids[: len(ids) // 4]
    states = [(str(session_id), psycopg2.Binary(_state())) for session_id in few]
    connection = desk.postgres.connect("fntx")  # autocommit
    began = time.perf_counter()
    with connection.cursor() as cursor:
        for state in states:
            cursor.execute(_ALONE, state)
    took = time.perf_counter() - began
    connection.close()
    return len(few) / took


def _state() -> bytes:
    """Return an agent's state of some 4 KB that compresses as real ones do: names repeat, numbers do not."""
    legs = [{"strike": 400 + number, "bid": uuid4().int % 10_000 / 100, "ask": uuid4().int % 10_000 / 100}
            for number in range(PART_BYTES // 45)]  # fmt: skip
    state = {"agent_id": _AGENT, "last_update": "2024-01-02T14:30:00Z", "internal_state": {"legs": legs}}
    return orjson.dumps(state)
