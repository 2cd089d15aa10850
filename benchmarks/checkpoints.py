"""Checkpoints and restores of a session of 10 MB in five agents, beside LangGraph's `put` and `get`."""

from uuid import UUID

from sqlalchemy import text

from benchmarks import langgraph_peer as peer
from benchmarks.clients import COUNT, Clients, Place, clients, stores
from benchmarks.desk import Desk
from benchmarks.report import Result, middle
from benchmarks.saves import live_sessions
from benchmarks.states import agent_state
from fntx_sessions.state.checkpoints import create_checkpoint, load_checkpoint, restore_live
from fntx_sessions.state.live import LiveState, Report

AGENTS = [f"Agent{number}" for number in range(5)]
AGENT_BYTES = 2_000_000
ROUNDS = 5
SERIES = 26  # a trading day of 6.5 hours, one each 15 minutes
_BYTES = text("""
SELECT (SELECT coalesce(sum(octet_length(manifest)), 0) FROM checkpoints WHERE session_id = :id)
  + (SELECT coalesce(sum(octet_length(p.data)), 0) FROM parts p WHERE p.session_id = :id AND EXISTS (
    SELECT FROM snapshot_parts sp JOIN checkpoints c ON c.checkpoint_id = sp.snapshot_id
    WHERE sp.session_id = p.session_id AND sp.part_hash = p.part_hash))
""")


def checkpoints(desk: Desk) -> list[Result]:
    """Return milliseconds of a checkpoint and of a restore, by two processes with a session each, and stored bytes."""
    ids = live_sessions(desk, COUNT)
    with clients(desk) as pair:
        _reported(desk, ids, AGENTS, 0)
        pair.results(checkpoint, ids)
        _prepared(pair, ids, AGENTS, 0)
        pair.results(peer.put_prepared, [None] * COUNT)
        rounds = [_round(desk, pair, ids, 1 + number) for number in range(ROUNDS)]
        series = _series(desk, pair)
    whole, put, one, restored, got = (middle(list(times)) * 1000 for times in zip(*rounds, strict=True))
    made, loaded = "LangGraph PostgresSaver.put", "LangGraph PostgresSaver.get_tuple"
    return [
        Result("checkpoint of 10 MB, made and stored", "ms", whole, made, put, 1 / 1.6, fewer=True, rounds=ROUNDS),
        Result("  one of five agents changed", "ms", one, "all changed", whole, 1 / 4, fewer=True, rounds=ROUNDS),
        Result("  restored, verified and live", "ms", restored, loaded, got, 1 / 1.2, fewer=True, rounds=ROUNDS),
        *series,
    ]


def _round(desk: Desk, pair: Clients, ids: list[UUID], number: int) -> tuple[float, ...]:
    _reported(desk, ids, AGENTS, number)
    whole = pair.timed(checkpoint, ids)
    _prepared(pair, ids, AGENTS, number)
    put = pair.timed(peer.put_prepared, [None] * COUNT)
    _reported(desk, ids, AGENTS[:1], number + ROUNDS)
    one = pair.timed(checkpoint, ids)
    restored = pair.timed(restore, ids)
    got = pair.timed(peer.get_all, [[str(one)] for one in ids])
    return whole, put, one, restored, got


def _series(desk: Desk, pair: Clients) -> list[Result]:
    """Return what a day of checkpoints takes in Postgres where one agent changed between each and the next."""
    ids = live_sessions(desk, COUNT)
    for number in range(SERIES):
        changed = AGENTS if number == 0 else AGENTS[:1]
        _reported(desk, ids, changed, number)
        pair.results(checkpoint, ids)
        _prepared(pair, ids, changed, number)
        pair.results(peer.put_prepared, [None] * COUNT)
        if number == 0:
            first = _stored(desk, ids[0])
    ours, theirs = _stored(desk, ids[0]), peer.stored_bytes(pair.place, str(ids[0]))
    step = (ours - first) / (SERIES - 1)
    day = f"{SERIES} checkpoints of 10 MB, one of five agents changes"
    return [
        Result("  stored bytes, one of five agents changed", "B", step, "all changed", first, 1 / 4, fewer=True),
        Result(day, "B", ours, "LangGraph's blobs", theirs, fewer=True),
        Result(day, "B", ours, f"{SERIES} times all", SERIES * first, fewer=True),
    ]


def checkpoint(place: Place, session_id: UUID) -> None:
    """Make one checkpoint, verified."""
    create_checkpoint(*stores(place), session_id, "manual")


def restore(place: Place, session_id: UUID) -> None:
    """Read the newest checkpoint, verify it and make it live."""
    engine, client, settings = stores(place)
    newest = text("SELECT checkpoint_id FROM checkpoints WHERE session_id = :id ORDER BY timestamp DESC LIMIT 1")
    with engine.connect() as connection:
        checkpoint_id = connection.execute(newest, {"id": session_id}).scalar_one()
    restore_live(client, settings, load_checkpoint(engine, settings, checkpoint_id), 1)


def _reported(desk: Desk, ids: list[UUID], agents: list[str], seed: int) -> None:
    live = LiveState(desk.redis, desk.settings)
    for session_id in ids:
        for number, agent in enumerate(agents):
            state = agent_state(agent, AGENT_BYTES, session_id.int % 2**32 + 100 * seed + number)
            live.report(Report(session_id, 1, agent, {f"agent/{agent}": state}))


def _prepared(pair: Clients, ids: list[UUID], changed: list[str], seed: int) -> None:
    pair.results(peer.prepare, [([str(one)], AGENTS, changed, AGENT_BYTES, seed) for one in ids])


def _stored(desk: Desk, session_id: UUID) -> int:
    with desk.engine.connect() as connection:
        return int(connection.execute(_BYTES, {"id": session_id}).scalar_one())
