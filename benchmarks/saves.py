"""The save of a thousand live sessions: beside LangGraph's `put`, beside a commit each, and one in ten changed."""

from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

import psycopg2
from sqlalchemy import text

from benchmarks import langgraph_peer as peer
from benchmarks.clients import COUNT, Clients, Place, clients, stores
from benchmarks.desk import Desk
from benchmarks.report import Result, middle
from benchmarks.states import agent_state
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.saves import save_due

SESSIONS = 1000
SMALL, LARGE = 4_000, 20_000
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
    """Return sessions saved a second by two processes, each kind in turn in every round."""
    ids = live_sessions(desk, SESSIONS)
    with desk.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE bench_saves (id uuid PRIMARY KEY, data bytea)")
    with clients(desk) as pair:
        peer.set_up(desk, pair.place)
        _saved(desk, pair, ids, ids, SMALL, 0)  # the first save of all is no usual one
        rounds = [_round(desk, pair, ids, 1 + number) for number in range(ROUNDS)]
    small, put_small, large, put_large, few, alone = (middle(list(rates)) for rates in zip(*rounds, strict=True))
    put = "LangGraph PostgresSaver.put"
    return [
        Result(f"saves, {SESSIONS} x 4 KB", "/s", small, put, put_small, 4, rounds=ROUNDS),
        Result(f"saves, {SESSIONS} x 20 KB", "/s", large, put, put_large, 2, rounds=ROUNDS),
        Result(f"saves, {SESSIONS} x 4 KB", "/s", small, "a bare commit a session", alone, rounds=ROUNDS),
        Result(f"saves, 4 KB, 1 in {FEW} changed", "/s", few, "all changed", small, 4, rounds=ROUNDS),
    ]


def live_sessions(desk: Desk, count: int) -> list[UUID]:
    """Add sessions that are live and due for nothing else."""
    ids = sorted(uuid4() for _ in range(count))
    with desk.engine.begin() as connection:
        connection.execute(_ADD, {"ids": list(map(str, ids))})
        connection.exec_driver_sql("UPDATE session_work SET next_save_at = NULL, next_checkpoint_at = NULL")
    LiveState(desk.redis, desk.settings).raise_fences([(session_id, 1) for session_id in ids])
    return ids


def _round(desk: Desk, pair: Clients, ids: list[UUID], number: int) -> tuple[float, ...]:
    return (
        _saved(desk, pair, ids, ids, SMALL, number),
        _put(pair, ids, SMALL, number),
        _saved(desk, pair, ids, ids, LARGE, number),
        _put(pair, ids, LARGE, number + ROUNDS),
        _few(desk, pair, ids, number),
        _commit_each(pair, ids),
    )


def _few(desk: Desk, pair: Clients, ids: list[UUID], number: int) -> float:
    _saved(desk, pair, ids, ids, SMALL, number + ROUNDS)  # back to small ones
    return _saved(desk, pair, ids, ids[::FEW], SMALL, number + 2 * ROUNDS)


def _saved(desk: Desk, pair: Clients, ids: list[UUID], changed: list[UUID], size_bytes: int, seed: int) -> float:
    report_states(desk, ids, changed, size_bytes, seed)
    return len(ids) / pair.timed(save_all, [None] * COUNT)


def report_states(desk: Desk, ids: list[UUID], changed: list[UUID], size_bytes: int, seed: int) -> None:
    """Report new states of those that changed, and make all due now."""
    live, part = LiveState(desk.redis, desk.settings), f"agent/{_AGENT}"
    live.report_many([Report(one, 1, _AGENT, {part: _state(one, size_bytes, seed)}) for one in changed])
    with desk.engine.begin() as connection:
        connection.execute(_DUE, {"ids": list(map(str, ids))})


def save_all(place: Place, _share: object) -> None:
    """Save what is due until nothing is."""
    engine, client, settings = stores(place)
    while (report := save_due(engine, client, settings, SESSIONS // 4)).claimed:
        if report.failed or report.skipped:
            raise RuntimeError(report)


def _put(pair: Clients, ids: list[UUID], size_bytes: int, seed: int) -> float:
    threads = [[str(one) for one in ids[number::COUNT]] for number in range(COUNT)]
    pair.results(peer.prepare, [(mine, [_AGENT], [_AGENT], size_bytes, seed) for mine in threads])
    return len(ids) / pair.timed(peer.put_prepared, [None] * COUNT)


def _commit_each(pair: Clients, ids: list[UUID]) -> float:
    few = ids[: len(ids) // 4]
    states = [(str(one), _state(one, SMALL, 0)) for one in few]
    return len(few) / pair.timed(commit_each, [states[number::COUNT] for number in range(COUNT)])


def commit_each(place: Place, states: list[tuple[str, bytes]]) -> None:
    """Store states with a commit each."""
    connection = _alone(place[0].replace("+psycopg2", ""))
    with connection.cursor() as cursor:
        for session_id, state in states:
            cursor.execute(_ALONE, (session_id, psycopg2.Binary(state)))


@lru_cache(maxsize=1)
def _alone(url: str) -> Any:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    return connection


def _state(session_id: UUID, size_bytes: int, seed: int) -> bytes:
    return agent_state(_AGENT, size_bytes, session_id.int % 2**32 + seed)
